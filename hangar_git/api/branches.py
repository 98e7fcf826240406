"""Making and removing branches."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..errors import NotPermittedError, RevisionNotFoundError, StateError, did_you_mean
from ..records import refs
from ..records.gitrepo import GitRepository, Oid
from ..records.worktrees import worktrees_on
from ..staging.layout import Layout
from ..staging.lock import WriterLock


class BranchHead(NamedTuple):
    """A branch, and the commit it is at."""

    name: str
    digest: str


def create_branch(
    git: GitRepository, name: str, base_commit: str | None, writer_branch: str
) -> BranchHead:
    """As `Repository.create_branch`; by default at the tip of `writer_branch`."""
    refs.checked_branch_name(name)
    if base_commit is None:
        base = refs.branch_tip(git, writer_branch)
        if base is None:
            raise StateError("a branch starts at a commit, and there is none yet")
    else:
        base = refs.resolve(git, base_commit)
    refs.create_branch(git, name, base)
    return BranchHead(name, str(base))


def remove_branch(
    git: GitRepository, name: str, writer_branch: Callable[[], str], *, force: bool
) -> BranchHead:
    """As `Repository.remove_branch`; the writer branch is asked for under the writer lock."""
    local = refs.list_branches(git, remote=False)
    if name not in local:
        raise RevisionNotFoundError(f"no local branch {name!r}{did_you_mean(name, local)}")
    if len(local) == 1:
        raise NotPermittedError(f"branch {name!r} is the only one, and cannot be removed")
    lock = WriterLock(Layout.of(git).lock)
    lock.acquire()
    try:
        if name == writer_branch():
            raise NotPermittedError(
                f"branch {name!r} is the writer branch; 'git hangar checkout' another first"
            )
        if worktrees := worktrees_on(git, name):
            raise NotPermittedError(f"branch {name!r} is checked out in {worktrees[0].workdir}")
        tip = refs.require_tip(git, name)
        if not force and not _is_merged(git, name, tip):
            raise StateError(
                f"The branch {name} is not fully merged. If you are sure you want to delete"
                f" it, re-run with force-remove parameter set."
            )
        refs.remove_branch(git, name)
    finally:
        lock.release()
    return BranchHead(name, str(tip))


def _is_merged(git: GitRepository, name: str, tip: Oid) -> bool:
    others = (n for n in refs.list_branches(git) if n != name)
    return any(refs.is_ancestor(git, tip, refs.require_tip(git, n)) for n in others)
