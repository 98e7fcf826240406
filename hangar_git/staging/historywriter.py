"""Writing whole histories: commits beside all branches, to which one branch is moved in the end."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from ..errors import DirtyStagingError
from ..records.branchmove import BranchMover
from ..records.commit import refuse_unfinished, root_entries
from ..records.counts import RecordCounts
from ..records.edits import Edits, build_tree
from ..records.gitrepo import GitRepository, ObjectWriter, Oid, Tree
from ..records.refs import branch_tip
from ..records.snapshot import Snapshot
from ..records.worktrees import drop_initial_files, git_dirs_using, worktrees
from ..store.store import Store
from .layout import Layout
from .lock import WriterLock
from .staged import read_staged

_KEPT_SNAPSHOTS = 8


class HistoryWriter:
    """The one writer of a repository, at work beside its branches and its staging area.

    Parameters
    ----------
    git
        The repository.
    branch
        The branch that is to be moved in the end.

    Raises
    ------
    WriterLockError
        Another writer is at work.
    DirtyStagingError
        Edits are staged for this branch.
    StateError
        It is in the middle of a merge, rebase, or the like.

    Attributes
    ----------
    store
        Where samples are put.
    tip
        The commit that the branch is at; None if there is none.
    """

    def __init__(self, git: GitRepository, branch: str) -> None:
        self._git = git
        self._branch = branch
        layout = Layout.of(git)
        layout.check_format()
        layout.create()
        self._lock = WriterLock(layout.lock)
        self._mover = BranchMover(git, layout.pending_move)
        self._counts = RecordCounts(layout.counts)
        self._objects = ObjectWriter(git)
        self._snapshots: dict[Oid | None, Snapshot] = {}
        self._lock.acquire()
        try:
            self._mover.recover()
            staged = read_staged(git)
            if staged.edits and staged.branch == branch:
                raise DirtyStagingError(
                    f"branch {branch!r} has staged changes; commit them, or drop them with"
                    f" 'git hangar reset --staged'"
                )
            for git_dir in git_dirs_using(git, branch):
                refuse_unfinished(git_dir)
            self.store = Store(layout.root, writable=True)
            self.tip = branch_tip(git, branch)
        except BaseException:
            self._lock.release()
            raise

    def snapshot(self, tree: Oid | None) -> Snapshot:
        """What a ``.hangar`` tree holds, one that was just made included."""
        found = self._snapshots.pop(tree, None)
        if found is None:
            if tree is not None and not self._git.has(tree):
                self._objects.flush()
            found = Snapshot(self._git, tree, self._counts)
        self._snapshots[tree] = found
        if len(self._snapshots) > _KEPT_SNAPSHOTS:
            del self._snapshots[next(iter(self._snapshots))]
        return found

    def hangar_tree(self, base: Oid | None, edits: Edits) -> Oid:
        """The ``.hangar`` tree of `base` with `edits` made."""
        built = build_tree(self.snapshot(base), edits, self._objects)
        self.snapshot(built.oid).remember_counts(built.counts)
        return built.oid

    def root(self, code: Tree, hangar_tree: Oid) -> Oid:
        """The root tree of `code` and a ``.hangar`` tree."""
        return self._objects.tree(root_entries(code, hangar_tree))

    def commit(self, text: bytes) -> Oid:
        """Take in a commit, by its text; nothing leads to it yet."""
        return self._objects.commit(text)

    def flush(self) -> None:
        """Make all samples and objects durable against power loss, samples first."""
        self._lock.check()
        self.store.flush()
        self._objects.flush()

    def move(self, new: Oid, why: str) -> None:
        """Move the branch to commit `new`; `why` is for the reflog.

        Raises
        ------
        StateError
            The branch moved meanwhile, or its worktree has changes in the way. Nothing is changed.
        """
        self.flush()
        self._lock.check()
        # Also where another branch is checked out: the user will want to switch to this one.
        for worktree in worktrees(self._git):
            drop_initial_files(self._git, worktree, new)
        self._mover.move(self._branch, self.tip, new, why)
        self.tip = new

    def keep(self, ref: str, commits: Sequence[Oid]) -> None:
        """Have refs below `ref` lead to `commits`, and to nothing else, so that gc spares them."""
        references = self._git.pygit2.references
        wanted = {f"{ref}/{commit}": commit for commit in commits}
        for name in [name for name in references if name.startswith(f"{ref}/")]:
            if wanted.pop(name, None) is None:
                references.delete(name)
        for name, commit in wanted.items():
            references.create(name, commit)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.store.close()
        self._lock.release()
