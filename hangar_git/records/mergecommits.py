"""Merging two commits: their merge base, whatever it takes, and everything outside ``.hangar/``."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ConflictError, StateError
from ..keys import SampleKey
from .edits import build_tree
from .gitprogram import run_git
from .gitrepo import HANGAR_DIR, GitRepository, ObjectWriter, Oid, Tree
from .merge import merge_snapshots
from .snapshot import Snapshot

SnapshotOf = Callable[[Oid | None], Snapshot]
Disputed = set[tuple[str | None, SampleKey | None]]


def merge_bases(git: GitRepository, one: Oid, two: Oid) -> list[Oid]:
    """All best common ancestors of two commits."""
    done = run_git("merge-base", "--all", str(one), str(two), git_dir=git.git_dir, check=False)
    return [Oid(hex=line) for line in done.stdout.decode().split()]


def merge_base_snapshot(
    git: GitRepository,
    snapshot_of: SnapshotOf,
    one: Oid,
    two: Oid,
    bases: list[Oid] | None = None,
) -> tuple[Snapshot, Disputed]:
    """What two commits started from, and what is disputed in it.

    A criss-cross history has several merge bases; they are merged first, as Git's recursive merge
    does, and what conflicts between them is disputed. `bases` saves looking for them again.

    Raises
    ------
    StateError
        The commits have no common history.
    """
    bases = merge_bases(git, one, two) if bases is None else bases
    if not bases:
        raise StateError(f"{str(one)[:12]} and {str(two)[:12]} have unrelated histories")
    snapshot, disputed = snapshot_of(bases[0]), Disputed()
    for other in bases[1:]:
        if merge_bases(git, bases[0], other):
            under, more = merge_base_snapshot(git, snapshot_of, bases[0], other)
        else:
            under, more = snapshot_of(None), Disputed()
        merge = merge_snapshots(under, snapshot, snapshot_of(other), disputed=more)
        disputed |= more | {(conflict.arrayset, conflict.key) for conflict in merge.conflicts}
        writer = ObjectWriter(git)
        tree = build_tree(snapshot, merge.edits, writer).oid
        writer.flush()
        snapshot = snapshot.at(tree)
    return snapshot, disputed


def merged_code(git: GitRepository, ours: Oid, theirs: Oid, bases: list[Oid]) -> Tree:
    """The merge of everything outside ``.hangar/``, as root tree entries.

    Raises
    ------
    ConflictError
        Files outside ``.hangar/`` conflict; `conflicts` names them.
    """
    our_code, their_code = _code(git, ours), _code(git, theirs)
    if len(bases) == 1:
        base = _code(git, bases[0])
        if their_code in (base, our_code):
            return our_code
        if our_code == base:
            return their_code
    done = run_git(
        "merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", str(ours), str(theirs),
        git_dir=git.git_dir, check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1):
        said = done.stderr.decode(errors="replace").strip()
        raise StateError(f"git merge-tree failed (Git 2.38 or later is needed): {said}")
    tree, *names = done.stdout.decode(errors="surrogateescape").split("\0")
    conflicts = [name for name in names if name and not name.startswith(f"{HANGAR_DIR}/")]
    if conflicts:
        raise ConflictError(
            f"files outside {HANGAR_DIR}/ conflict: {', '.join(conflicts[:5])}; settle them with"
            f" 'git merge', after 'git hangar install'",
            conflicts,
        )
    return _without_data(git.read_tree(Oid(hex=tree)))


def _code(git: GitRepository, commit: Oid) -> Tree:
    return _without_data(git.read_tree(git.commit(commit).tree_id))


def _without_data(root: Tree) -> Tree:
    return {name: entry for name, entry in root.items() if name != HANGAR_DIR}
