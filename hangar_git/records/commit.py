"""Writing a commit: record tree, root tree and commit object; no ref moves here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pygit2.enums import FileMode

from ..errors import StateError
from ..failpoints import failpoint
from .gitrepo import HANGAR_DIR, GitRepository, ObjectWriter, Oid, Tree, TreeEntry

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


def root_entries(code: Tree, hangar_tree: Oid) -> Tree:
    """The entries of a root tree: `code`, and ``.hangar``."""
    return {**code, HANGAR_DIR: TreeEntry(FileMode.TREE, hangar_tree)}


def write_commit(
    git: GitRepository,
    writer: ObjectWriter,
    hangar_tree: Oid,
    message: str,
    parents: Sequence[Oid],
    code: Tree | None = None,
) -> Oid:
    """Write `writer`'s objects and a commit of them, durably; no ref moves yet.

    Parameters
    ----------
    git, writer, message, parents
        As they say.
    hangar_tree
        The commit's ``.hangar``.
    code
        Everything else, as root tree entries; by default as in the first parent.
    """
    author, committer = git.signature("AUTHOR"), git.signature("COMMITTER")
    root = dict(code) if code is not None else {}
    if code is None and parents:
        root = git.read_tree(git.commit(parents[0]).tree_id)
    tree = writer.tree(root_entries(root, hangar_tree))
    writer.flush()
    failpoint("commit.objects-written")
    text: object = git.pygit2.create_commit_string(author, committer, message, tree, list(parents))
    commit = writer.commit(str(text).encode())
    writer.flush()
    return commit
