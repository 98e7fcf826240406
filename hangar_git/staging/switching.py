"""Switching a worktree, and with it the writer branch, to another branch."""

from __future__ import annotations

from ..errors import DirtyStagingError, RevisionNotFoundError, StateError, did_you_mean
from ..records.branchmove import BranchMover
from ..records.gitprogram import run_git
from ..records.gitrepo import GitRepository
from ..records.refs import HEADS, branch_tip, checked_branch_name, head_branch, list_branches
from ..records.worktrees import drop_initial_files, find_worktree, worktree_name
from .layout import Layout
from .lock import WriterLock
from .staged import read_staged
from .writerbranch import WriterBranchFile


def switch_writer_branch(git: GitRepository, branch: str) -> None:
    """Switch this worktree to `branch`, and make it the writer branch.

    In a bare repository only the writer branch changes.

    Raises
    ------
    WriterLockError
        A writer is at work.
    DirtyStagingError
        Changes are staged.
    RevisionNotFoundError
        There is no such branch, here or on a remote.
    StateError
        Git refused; its message says why. Nothing was changed.
    """
    checked_branch_name(branch)
    layout = Layout.of(git)
    layout.check_format()
    layout.create()
    lock = WriterLock(layout.lock)
    lock.acquire()
    try:
        BranchMover(git, layout.pending_move).recover()
        staged = read_staged(git)
        if staged.edits:
            raise DirtyStagingError(
                f"branch {staged.branch!r} has staged changes; commit them, or drop them with"
                f" 'git hangar reset --staged'"
            )
        if branch != head_branch(git):
            _require_branch(git, branch)
            if git.workdir is not None:
                _git_switch(git, branch)
        WriterBranchFile(git, layout.writer_branch).choose(branch)
    finally:
        lock.release()


def _require_branch(git: GitRepository, branch: str) -> None:
    if HEADS + branch in git.pygit2.references:
        return
    # In a worktree, git switch makes a local branch of a remote's.
    names = [name.partition("/")[2] for name in list_branches(git)]
    if git.workdir is None or branch not in names:
        hint = did_you_mean(branch, [*list_branches(git, remote=False), *names])
        raise RevisionNotFoundError(
            f"no local branch {branch!r}{hint}"
            if hint
            else f"no local branch {branch!r}; make it with 'git hangar branch create {branch}'"
        )


def _git_switch(git: GitRepository, branch: str) -> None:
    tip = branch_tip(git, branch)
    here = find_worktree(git, worktree_name(git))
    if tip is not None and here is not None:
        drop_initial_files(git, here, tip)
    done = run_git(
        "switch", "--quiet", branch, git_dir=git.git_dir, workdir=git.workdir, check=False
    )
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines()]
        said = " ".join(line for line in lines if line not in ("", "Aborting"))
        raise StateError(f"git switch: {said.removeprefix('error: ').removeprefix('fatal: ')}")
