"""A merge that stopped at conflicts: what was chosen so far, and what Git is told of it.

Kept below ``<git common dir>/hangar``, for all worktrees and for bare repositories. A worktree on
the branch is put into the state of a stopped ``git merge``: MERGE_HEAD, the merged files, and the
conflicting record files unmerged in its index, with our side's valid file in place. ``git status``
tells it, ``git commit`` refuses it, and ``git merge --abort`` ends it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..durable import remove_file, replace_file
from ..errors import ConflictError, StateError
from ..keys import key_text
from ..records.gitprogram import run_git
from ..records.gitrepo import HANGAR_DIR, GitRepository, Oid
from ..records.merge import Conflict
from ..records.recordfile import RecordFormat, file_paths
from ..records.snapshot import Snapshot
from ..records.worktrees import Worktree, worktrees_on


@dataclass(slots=True)
class MergeState:
    """A stopped merge.

    Parameters
    ----------
    branch
        The branch that is merged into.
    ours, theirs
        The commits that are merged.
    message
        Of the merge commit.
    choices
        Choice made for each conflict settled, by `conflict_id`: ``ours``, ``theirs``, ``base``,
        ``delete``, or a record value in hex after ``value:``.
    """

    branch: str
    ours: str
    theirs: str
    message: str
    choices: dict[str, str] = field(default_factory=dict)


def conflict_id(conflict: Conflict) -> str:
    """What names a conflict: ``images/#10``, ``images/`` for a schema, ``/key`` for metadata."""
    key = "" if conflict.key is None else key_text(conflict.key)
    return f"{conflict.arrayset or ''}/{key}" + ("" if conflict.key or conflict.arrayset else
                                                   conflict.reason)  # fmt: skip


class MergeStateFile:
    """Where a stopped merge is kept."""

    def __init__(self, git: GitRepository, path: Path) -> None:
        self._git = git
        self._path = path

    def read(self) -> MergeState | None:
        """The stopped merge, or None. One that was ended by git itself is forgotten."""
        try:
            state = MergeState(**json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return None
        trees = worktrees_on(self._git, state.branch)
        if trees and not any(_merge_head(tree) == state.theirs for tree in trees):
            return None
        return state

    def require(self) -> MergeState:
        """The stopped merge; StateError if there is none."""
        state = self.read()
        if state is None:
            raise StateError("no merge is in progress")
        return state

    def write(self, state: MergeState) -> None:
        """Keep `state`."""
        replace_file(self._path, json.dumps(asdict(state)).encode())

    def clear(self) -> None:
        """Forget the merge."""
        remove_file(self._path)


def _merge_head(worktree: Worktree) -> str | None:
    try:
        return (worktree.git_dir / "MERGE_HEAD").read_text().strip()
    except OSError:
        return None


def refuse_staged_code(worktrees: Iterable[Worktree]) -> None:
    """Raise StateError if a worktree's index differs from its HEAD: a merge would mix it in."""
    for tree in worktrees:
        done = run_git("diff", "--cached", "--quiet", git_dir=tree.git_dir, workdir=tree.workdir,
                       check=False)  # fmt: skip
        if done.returncode != 0:
            raise StateError(f"the index of {tree.workdir} holds changes; commit or stash them")


def show_in_worktrees(
    git: GitRepository,
    state: MergeState,
    merged_root: Oid,
    snapshots: tuple[Snapshot, Snapshot, Snapshot],
    conflicts: list[Conflict],
) -> None:
    """Put every worktree on the branch into the state of a stopped ``git merge``.

    Parameters
    ----------
    git, state
        The repository, and the merge.
    merged_root
        Root tree of what merged, with our side of what conflicts.
    snapshots
        Of the base, of ours and of theirs.
    conflicts
        What conflicts.
    """
    entries = _unmerged_entries(snapshots, conflicts)
    summary = "".join(f"#\t{conflict}\n" for conflict in conflicts)
    for tree in worktrees_on(git, state.branch):
        where: dict[str, Any] = {"git_dir": tree.git_dir, "workdir": tree.workdir}
        run_git("read-tree", "-m", "-u", state.ours, str(merged_root), **where)
        run_git("update-index", "-z", "--index-info", stdin=entries, **where)
        (tree.git_dir / "MERGE_MSG").write_text(f"{state.message}\n\n# Conflicts:\n{summary}")
        (tree.git_dir / "MERGE_MODE").write_text("no-ff")
        (tree.git_dir / "MERGE_HEAD").write_text(f"{state.theirs}\n")


def hide_in_worktrees(git: GitRepository, state: MergeState) -> None:
    """Undo `show_in_worktrees`: index and worktree go back to our side."""
    for tree in worktrees_on(git, state.branch):
        if _merge_head(tree) == state.theirs:
            run_git("reset", "--merge", git_dir=tree.git_dir, workdir=tree.workdir)


def _unmerged_entries(
    snapshots: tuple[Snapshot, Snapshot, Snapshot], conflicts: list[Conflict]
) -> bytes:
    """Input of ``git update-index --index-info``: stages 1, 2, 3 of each conflicting file."""
    rows = []
    for path in sorted({_path(snapshots[1], snapshots[2], conflict) for conflict in conflicts}):
        blobs = [snapshot.git.subtree(snapshot.tree, path) for snapshot in snapshots]
        if not any(blobs):
            continue
        full = f"{HANGAR_DIR}/{path}"
        rows.append(f"0 {'0' * 40}\t{full}")
        rows += [f"100644 {blob} {n}\t{full}" for n, blob in enumerate(blobs, 1) if blob]
    return "".join(f"{row}\0" for row in rows).encode()


def _path(ours: Snapshot, theirs: Snapshot, conflict: Conflict) -> str:
    """Path below ``.hangar/`` of the file that a conflict is about."""
    if conflict.arrayset is None:
        if conflict.key is None:
            return conflict.reason.split()[0].removeprefix(f"{HANGAR_DIR}/")
        return f"metadata/{key_text(conflict.key)}.json"
    if conflict.key is None:
        return f"arraysets/{conflict.arrayset}/schema.json"
    side = ours if conflict.arrayset in ours.arrayset_trees else theirs
    form: RecordFormat = side.arrayset(conflict.arrayset).format
    place = file_paths(form.fanout)[form.prefix_of(conflict.key)]
    return f"arraysets/{conflict.arrayset}/records/{place}"


def conflict_error(conflicts: list[Conflict], what: str = "Merge") -> ConflictError:
    """The error for a merge, or the like, that met conflicts."""
    shown = "; ".join(str(conflict) for conflict in conflicts[:5])
    more = f"; and {len(conflicts) - 5} more" if len(conflicts) > 5 else ""
    return ConflictError(f"{what} ABORTED with conflict: {shown}{more}", conflicts)
