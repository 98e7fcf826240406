"""Making a commit: objects first, then the ref by compare-and-swap, then index and worktree."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from pygit2.enums import FileMode

from ..errors import HangarError, StateError
from ..failpoints import failpoint
from .gitrepo import HANGAR_DIR, GitRepository, ObjectWriter, Oid, TreeEntry
from .refs import HEADS, move_ref
from .worktree import WorktreeUpdates

log = logging.getLogger(__name__)

_UNFINISHED = {
    "MERGE_HEAD": "a merge",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "BISECT_LOG": "a bisect",
}


def refuse_unfinished(git_dir: Path) -> None:
    """Raise StateError while the worktree at `git_dir` is in a merge, rebase, or the like."""
    for name, what in _UNFINISHED.items():
        if (git_dir / name).exists():
            raise StateError(f"{what} is in progress here; finish or abort it first")


def root_tree(git: GitRepository, writer: ObjectWriter, tip: Oid | None, hangar_tree: Oid) -> Oid:
    """The tree of commit `tip` with its ``.hangar`` replaced; all else stays as it is."""
    entries = git.read_tree(git.commit(tip).tree_id) if tip is not None else {}
    entries[HANGAR_DIR] = TreeEntry(FileMode.TREE, hangar_tree)
    return writer.tree(entries)


def write_commit(
    git: GitRepository,
    writer: ObjectWriter,
    hangar_tree: Oid,
    message: str,
    parents: Sequence[Oid],
) -> Oid:
    """Write `writer`'s objects and a commit of them, durably; no ref moves yet.

    The first parent gives everything outside ``.hangar/``.
    """
    signature = git.signature()
    tree = root_tree(git, writer, parents[0] if parents else None, hangar_tree)
    writer.flush()
    failpoint("commit.objects-written")
    text: object = git.pygit2.create_commit_string(
        signature, signature, message, tree, list(parents)
    )
    commit = writer.commit(str(text).encode())
    writer.flush()
    return commit


def advance_branch(
    git: GitRepository, updates: WorktreeUpdates, branch: str, old: Oid | None, new: Oid, why: str
) -> None:
    """Move `branch` from `old` to `new`, with the index and worktree of whoever is on it.

    Raises
    ------
    StateError
        The branch moved meanwhile, a worktree is in use or has local edits under ``.hangar/``;
        nothing was changed.
    """
    pending = updates.prepare(branch, old, new)
    try:
        move_ref(git, HEADS + branch, old, new, why)
    except BaseException:
        updates.abandon(pending)
        raise
    failpoint("commit.ref-moved")
    try:
        updates.install(pending)
    except (HangarError, OSError) as error:
        # The commit stands, and the written-down update is finished by the next command.
        log.warning(
            "branch %s was committed, but its worktree is not up to date: %s", branch, error
        )
