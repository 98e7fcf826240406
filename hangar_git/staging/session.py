"""A writing session: lock, recovery, staged edits, commit, reset."""

from __future__ import annotations

import logging

from ..errors import (
    DirtyStagingError,
    RevisionNotFoundError,
    StateError,
    StorageError,
    did_you_mean,
)
from ..failpoints import failpoint
from ..keys import SampleKey
from ..records.branchmove import BranchMover
from ..records.commit import refuse_unfinished, write_commit
from ..records.counts import RecordCounts
from ..records.edits import Edits, build_tree
from ..records.gitrepo import GitRepository, ObjectWriter, Oid
from ..records.recordfile import RecordValue
from ..records.refs import HEADS, branch_tip, checked_branch_name, head_branch, list_branches
from ..records.snapshot import Snapshots
from ..records.worktrees import git_dirs_using
from ..store.store import Store
from .area import StagingArea
from .layout import Layout
from .lock import WriterLock
from .mergestate import MergeStateFile
from .staged import is_committed
from .writerbranch import WriterBranchFile

log = logging.getLogger(__name__)


class WriteSession:
    """The one writer of a repository, from opening to `close`.

    Parameters
    ----------
    git
        The repository.
    branch
        The branch to write to; None for the writer branch.

    Raises
    ------
    WriterLockError
        Another writer is at work.
    DirtyStagingError
        Edits are staged for another branch.

    Attributes
    ----------
    area
        The staged edits.
    base
        The snapshot they are edits to.
    store
        Where samples are.
    """

    def __init__(self, git: GitRepository, branch: str | None = None) -> None:
        self.git = git
        self._layout = Layout.of(git)
        self._layout.check_format()
        self._layout.create()
        self.snapshot_of = Snapshots(git, RecordCounts(self._layout.counts))
        self._lock = WriterLock(self._layout.lock)
        self._writer_branch = WriterBranchFile(git, self._layout.writer_branch)
        self.merge_state = MergeStateFile(git, self._layout.merge_state)
        self._mover = BranchMover(git, self._layout.pending_move)
        self._lock.acquire()
        try:
            self._mover.recover()
            self.store = Store(self._layout.root, writable=True)
            self.area = StagingArea(self._layout.journal, self.store)
            self.area.load()
            if self.store.lost:
                self._drop_lost()
            if self._lock.was_forced:
                self.area.detach()
            self._settle(branch)
        except BaseException:
            self._lock.release()
            raise

    # -- opening -------------------------------------------------------------------------------

    def _drop_lost(self) -> None:
        """Stage no longer what a loss of power took."""
        if self.area.branch is not None and (count := self.area.drop_lost()):
            log.warning("%d staged samples were lost with the power; stage them again", count)
        self.store.settle()

    def _settle(self, wanted: str | None) -> None:
        """Choose the branch, and bring what was staged into line with where it is now."""
        git, area = self.git, self.area
        self._clear_committed()
        staged_for = area.branch if self._staged_edits() else None
        branch = wanted or self._writer_branch.current(staged=staged_for is not None)
        tip = branch_tip(git, checked_branch_name(branch))
        if HEADS + branch not in git.pygit2.references and branch != head_branch(git):
            hint = "; changes are staged for it: make it again, or 'git hangar reset --staged'"
            if branch != staged_for:
                hint = did_you_mean(branch, list_branches(git, remote=False))
            raise RevisionNotFoundError(f"no local branch {branch!r}{hint}")
        if staged_for not in (None, branch):
            raise DirtyStagingError(
                f"branch {staged_for!r} has staged changes; commit them, or drop them with"
                f" 'git hangar reset --staged', before writing to branch {branch!r}"
            )
        if staged_for is None:
            if (area.branch, area.base) != (branch, tip) or area.edits:
                area.begin(branch, tip)
        elif git.hangar_tree(tip) == git.hangar_tree(area.base):
            area.base = tip
        self.base = self.snapshot_of(area.base)
        self.base.config.check_writable()
        self._writer_branch.choose(branch)

    def _staged_edits(self) -> Edits:
        """The staged edits that change something in their base."""
        area = self.area
        return area.edits.effective(self.snapshot_of(area.base)) if area.edits else area.edits

    def _clear_committed(self) -> None:
        """Drop staged edits that the branch is seen to hold: their commit was not finished."""
        area = self.area
        if area.branch is not None and is_committed(self.git, area):
            area.begin(area.branch, branch_tip(self.git, area.branch))

    # -- state ---------------------------------------------------------------------------------

    @property
    def branch(self) -> str:
        """The branch that is written to."""
        assert self.area.branch is not None
        return self.area.branch

    def staged_edits(self) -> Edits:
        """The staged edits that change something in the base."""
        return self.area.edits.effective(self.base)

    def record(self, arrayset: str, key: SampleKey) -> RecordValue | None:
        """The record of a sample, with the staged edits; None if there is none."""
        edits = self.area.edits.arraysets.get(arrayset)
        if edits is not None and (edits.fresh or key in edits.values):
            return edits.values.get(key)
        return self.base.arrayset(arrayset).get(key)

    def check(self) -> None:
        """Raise WriterLockError if the lock was taken away by force."""
        self._lock.check()

    # -- ending --------------------------------------------------------------------------------

    def commit(self, message: str) -> Oid:
        """Commit the staged edits; durable against power loss once it returns.

        Raises
        ------
        StateError
            Nothing is staged; the branch's data moved meanwhile; its worktree is in the middle of
            a merge or the like, in use, or has local edits under ``.hangar/``. Nothing was changed.
        """
        self.check()
        git, area, branch = self.git, self.area, self.branch
        area.flush_data()
        failpoint("commit.data-flushed")
        edits = self.staged_edits()
        if not edits:
            raise StateError("no changes were made in the staging area; there is nothing to commit")
        tip = branch_tip(git, branch)
        if git.hangar_tree(tip) != self.base.tree:
            raise StateError(
                f"the data on branch {branch!r} moved to commit {tip} since these changes were"
                f" staged; commit them to a branch at {area.base} and merge it, or drop them with"
                f" 'git hangar reset --staged'"
            )
        self.refuse_unfinished()
        writer = ObjectWriter(git)
        built = build_tree(self.base, edits, writer)
        new = write_commit(git, writer, built.oid, message, [] if tip is None else [tip])
        area.begin_commit(built.oid)
        self.check()
        summary = message.split("\n", 1)[0]
        self._mover.move(branch, tip, new, f"hangar commit: {summary}")
        self.base = self.base.at(built.oid)
        self.base.remember_counts(built.counts)
        self._begin(new)
        failpoint("commit.staging-cleared")
        return new

    def refuse_unfinished(self) -> None:
        """Raise StateError while the branch is in a merge, rebase, or the like."""
        if self.merge_state.read() is not None:
            raise StateError(
                "a merge is in progress; end it with 'git hangar merge --continue' or '--abort'"
            )
        for git_dir in git_dirs_using(self.git, self.branch):
            refuse_unfinished(git_dir)

    def move_to(self, new: Oid, why: str) -> None:
        """Move the branch to commit `new`, with nothing staged; `why` is for the reflog."""
        self.check()
        self._mover.move(self.branch, branch_tip(self.git, self.branch), new, why)
        self.base = self.snapshot_of(new)
        self._begin(new)

    def _begin(self, tip: Oid) -> None:
        """Start over at `tip`, which the branch is at already."""
        try:
            self.area.begin(self.branch, tip)
        except StorageError as error:
            # The commit stands. The journal says which tree it was to hold, so that whoever reads
            # it next drops what it stages.
            log.warning("%s was committed, but staging is not cleared yet: %s", tip, error)

    def reset(self) -> Oid | None:
        """Drop all staged edits; the commit the branch is at.

        Raises
        ------
        StateError
            Nothing is staged.
        """
        self.check()
        if not self.staged_edits():
            raise StateError("no changes were made in the staging area; there is nothing to reset")
        self.store.drop_held()
        tip = branch_tip(self.git, self.branch)
        self.area.begin(self.branch, tip)
        self.base = self.snapshot_of(tip)
        return tip

    def close(self) -> None:
        """Give up the lock and the files; what was staged stays staged."""
        try:
            if self._lock.is_held():
                self.area.flush()
        finally:
            self.area.close()
            self.store.close()
            self._lock.release()
