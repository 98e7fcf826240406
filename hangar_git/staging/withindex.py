"""Committing staged data together with what stands in Git's index: one commit for code and data."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..errors import StateError
from ..records.diff import changed_arraysets, changed_metadata
from ..records.edits import build_tree
from ..records.gitprogram import run_git
from ..records.gitrepo import (
    HANGAR_DIR,
    FileChange,
    GitRepository,
    ObjectWriter,
    Oid,
    blob_oid,
    changed_files,
)
from ..records.refs import head_branch, head_commit
from .session import WriteSession

_NO_OID = "0" * 40


def put_into_index(session: WriteSession, index: Path | None) -> bool:
    """Put the staged data into an index that is about to be committed.

    Parameters
    ----------
    session
        On the branch that HEAD is on.
    index
        The index file; None for the worktree's own.

    Returns
    -------
    bool
        Whether anything was staged.

    Raises
    ------
    StateError
        The index holds other changes to the same record files.
    """
    git, area = session.git, session.area
    edits = session.staged_edits()
    if not edits:
        return False
    tip = head_commit(git)
    if git.hangar_tree(tip) != session.base.tree:
        raise StateError(
            f"the data on branch {session.branch!r} moved since changes were staged; they stay"
            f" staged: merge them, or drop them with 'git hangar reset --staged'"
        )
    area.flush_data()
    writer = ObjectWriter(git)
    built = build_tree(session.base, edits, writer)
    writer.flush()
    changes = data_changes(git, session.base.tree, built.oid)
    _refuse_other_changes(git, index, changes)
    area.begin_commit(built.oid)
    _write_entries(git, index, changes)
    return True


def check_index(session: WriteSession, index: Path | None) -> None:
    """Raise FormatError if the record files in an index are malformed; reads what changed."""
    git = session.git
    done = _git(git, index, "write-tree", "--missing-ok", check=False)
    if done.returncode != 0:
        return  # unmerged: git itself refuses the commit
    root = Oid(hex=done.stdout.decode().strip())
    entry = git.read_tree(root).get(HANGAR_DIR)
    tree = entry.oid if entry is not None else None
    before = session.snapshot_of(head_commit(git))
    if tree is not None and tree != before.tree:
        after = before.at(tree)
        for change in changed_arraysets(before, after):
            change.samples  # noqa: B018  # read and checked
        changed_metadata(before, after)


def settle_after_commit(git: GitRepository) -> None:
    """Bring the index and worktree up to date with a commit that took staged data along.

    After ``git commit PATH`` the index still has the former records, and the worktree has them
    after every commit; the next ``git commit -a`` would revert the data.
    """
    if git.workdir is None:
        return
    commit = head_commit(git)
    if commit is None:
        return
    former = _former_head(git, commit)
    before = git.hangar_tree(former)
    changes = data_changes(git, before, git.hangar_tree(commit))
    if not changes:
        return
    stale = [change for change in changes if _is_ours(git, change)]
    indexed = _index_oids(git, None, [change.path for change in stale])
    _write_entries(git, None, [c for c in stale if indexed.get(c.path) != c.after])
    changed = [change.path for change in stale if change.after is not None]
    for change in stale:
        if change.after is None:
            (git.workdir / change.path).unlink(missing_ok=True)
    if changed:
        _git(git, None, "checkout-index", "-f", "-u", "-q", "-z", "--stdin",
             stdin="\0".join(changed).encode())  # fmt: skip


def _former_head(git: GitRepository, commit: Oid) -> Oid | None:
    """The commit that HEAD was at before it came to `commit`: after an amend, not its parent."""
    done = _git(git, None, "rev-parse", "--quiet", "--verify", "HEAD@{1}^{commit}", check=False)
    if done.returncode == 0:
        return Oid(hex=done.stdout.decode().strip())
    parents = git.commit(commit).parent_ids
    return parents[0] if parents else None


def data_changes(git: GitRepository, before: Oid | None, after: Oid | None) -> list[FileChange]:
    """Files that differ between two ``.hangar`` trees, by path from the worktree's top."""
    return list(changed_files(git, before, after, f"{HANGAR_DIR}/"))


def _is_ours(git: GitRepository, change: FileChange) -> bool:
    """Whether the worktree's file is as one of the two commits has it, or missing."""
    assert git.workdir is not None
    try:
        data = (git.workdir / change.path).read_bytes()
    except OSError:
        return True
    return blob_oid(data) in (str(change.before), str(change.after))


def _refuse_other_changes(
    git: GitRepository, index: Path | None, changes: Sequence[FileChange]
) -> None:
    oids = _index_oids(git, index, [change.path for change in changes])
    for path, before, after in changes:
        if oids.get(path) not in (before, after):
            raise StateError(
                f"the index holds other changes to {path}; undo them with"
                f" 'git restore --staged {path}'"
            )


def _index_oids(git: GitRepository, index: Path | None, paths: list[str]) -> dict[str, Oid]:
    listed = _git(git, index, "ls-files", "-s", "-z", "--", HANGAR_DIR).stdout.decode()
    wanted = set(paths)
    rows = (row.split("\t", 1) for row in listed.split("\0") if row)
    return {path: Oid(hex=stat.split()[1]) for stat, path in rows if path in wanted}


def _write_entries(git: GitRepository, index: Path | None, changes: Sequence[FileChange]) -> None:
    rows = [
        f"0 {_NO_OID}\t{path}" if after is None else f"100644 {after}\t{path}"
        for path, _, after in changes
    ]
    if rows:
        _git(git, index, "update-index", "-z", "--index-info",
             stdin="".join(f"{row}\0" for row in rows).encode())  # fmt: skip


def _git(
    git: GitRepository,
    index: Path | None,
    *arguments: str,
    stdin: bytes | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[bytes]:
    environment = {"GIT_INDEX_FILE": str(index)} if index is not None else None
    return run_git(*arguments, git_dir=git.git_dir, workdir=git.workdir, stdin=stdin,
                   environment=environment, check=check)  # fmt: skip


def commit_with_index(git: GitRepository, message: str) -> str:
    """Commit what stands in Git's index together with the staged data.

    Returns
    -------
    str
        Oid of the commit.

    Raises
    ------
    StateError
        HEAD is detached or not on the writer branch's name; git refused the commit.
    """
    branch = head_branch(git)
    if branch is None or git.workdir is None:
        raise StateError("HEAD is on no branch of a worktree here: git switch BRANCH first")
    session = WriteSession(git, branch)
    try:
        session.refuse_unfinished()
        put_into_index(session, None)
        check_index(session, None)
    finally:
        session.close()
    _git(git, None, "commit", "--quiet", "--no-verify", "--cleanup=verbatim", "-F", "-",
         stdin=message.encode())  # fmt: skip
    finish_commit(git)
    return str(head_commit(git))


def finish_commit(git: GitRepository) -> None:
    """What is to be done after any commit: clear what it holds, bring index and worktree along."""
    branch = head_branch(git)
    if branch is None:
        return
    session = WriteSession(git)  # opening one clears staged data that the branch holds
    session.close()
    settle_after_commit(git)
