"""Writing a commit: record tree, root tree and commit object; no ref moves here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pygit2
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

_NOT_RETOLD = (b"tree", b"parent", b"gpgsig", b"gpgsig-sha256", b"mergetag")


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


def retold_commit(
    git: GitRepository,
    source: GitRepository,
    oid: Oid,
    tree: Oid,
    parents: Sequence[Oid],
    *,
    committed_now: bool = False,
) -> bytes:
    """The text of commit `oid` of `source` with another tree and other parents.

    Author, message and their encoding stay; signatures, which would not be valid, do not. With
    `committed_now` the committer is whoever runs this, as after a rebase.
    """
    head, _, message = source.pygit2.odb.read(oid)[1].partition(b"\n\n")
    lines = [b"tree %s" % str(tree).encode()]
    lines += [b"parent %s" % str(parent).encode() for parent in parents]
    kept = True
    for line in head.split(b"\n"):
        if not line.startswith(b" "):  # or else it continues the line before
            kept = line.partition(b" ")[0] not in _NOT_RETOLD
            if committed_now and line.startswith(b"committer "):
                line = b"committer " + _signature_text(git.signature("COMMITTER"))  # noqa: PLW2901
        if kept:
            lines.append(line)
    return b"\n".join(lines) + b"\n\n" + message


def dated_commit(
    git: GitRepository, message: str, tree: Oid, parents: Sequence[Oid], authored_s: int
) -> bytes:
    """The text of a commit whose author date is `authored_s`, in seconds since 1970."""
    author = git.signature("AUTHOR")
    author = pygit2.Signature(author.name, author.email, authored_s, author.offset)
    lines = [b"tree %s" % str(tree).encode()]
    lines += [b"parent %s" % str(parent).encode() for parent in parents]
    lines += [
        b"author " + _signature_text(author),
        b"committer " + _signature_text(git.signature("COMMITTER")),
    ]
    return b"\n".join(lines) + b"\n\n" + message.encode(errors="surrogateescape")


def _signature_text(signature: pygit2.Signature) -> bytes:
    sign, minutes = "-" if signature.offset < 0 else "+", abs(signature.offset)
    when = f"{signature.time} {sign}{minutes // 60:02d}{minutes % 60:02d}"
    return f"{signature.name} <{signature.email}> {when}".encode()
