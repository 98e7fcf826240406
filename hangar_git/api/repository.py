"""The repository: where every use of this package begins."""

from __future__ import annotations

import os
from typing import Any

from ..errors import InvalidInputError, ReadOnlyError
from ..records import refs
from ..records.gitprogram import run_git
from ..records.gitrepo import HANGAR_DIR, GitRepository, Oid
from ..staging.layout import Layout
from ..staging.lock import force_release
from ..staging.resolving import Chooser, Policy
from ..staging.session import WriteSession
from ..store.store import Store
from .branches import BranchHead, create_branch, remove_branch
from .checkout import ReaderCheckout, WriterCheckout
from .diff import DiffAndConflicts, commit_diff
from .history import log_contents, log_lines, summary_lines
from .initializing import disk_usage, remove_data, write_initial_files
from .maintenance import Maintenance
from .withremotes import WithRemotes, streaming_store


class Repository(WithRemotes):
    """A Git repository, with the tensor data it versions.

    Parameters
    ----------
    path
        A directory: the top of a Git repository, or anywhere inside one that has been initialized,
        or where one is to be made.
    exists
        Whether to warn if there is no repository yet.

    Raises
    ------
    TypeError
        `path` is not a path.
    NotADirectoryError
        It is not a directory.

    Warns
    -----
    UserWarning
        No repository is there, and `exists` is True: call `init`.
    """

    def __repr__(self) -> str:
        return (
            f"Hangar Repository\n    Repository Path : {self.path}\n"
            f"    Initialized     : {self.initialized}\n"
        )

    # -- state ---------------------------------------------------------------------------------

    @property
    def maintenance(self) -> Maintenance:
        """Checks and cleans the data: fsck, gc, repack, du."""
        return Maintenance(self._require())

    def init(self, user_name: str, user_email: str, *, remove_old: bool = False) -> str:
        """Make the directory a repository; in one that is, only the name and email are set.

        A Git repository that is there, with whatever code, is used; otherwise one is made.

        Parameters
        ----------
        user_name, user_email
            Of the author of new commits, written to the repository's Git configuration.
        remove_old
            Remove the data of a former repository, and its history if it holds nothing but data.

        Returns
        -------
        str
            The directory that records are committed in: ``.hangar`` at the top of the worktree.

        Raises
        ------
        ValueError
            No name or no email.
        PermissionError
            The directory cannot be written to; or `remove_old` would lose other things than data.
        """
        for value in (user_name, user_email):
            if not isinstance(value, str) or not value.strip() or "\n" in value:
                raise InvalidInputError(f"a user name and email are needed, got {value!r}")
        if remove_old and self._git is not None:
            remove_data(self._git)
            if not self._git.git_dir.exists():
                self._git = None
        if self._git is None:
            if not os.access(self._path, os.W_OK):
                raise ReadOnlyError(f"{self._path} cannot be written to")
            self._git = GitRepository.create(self._path)
        git = self._git
        Layout.of(git).create()
        for name, value in (("user.name", user_name), ("user.email", user_email)):
            run_git("config", name, value, git_dir=git.git_dir)
        Store(Layout.of(git).root, writable=True).close()
        top = git.workdir
        if top is None:
            return str(Layout.of(git).root)
        if self._head_tree(git) is None:
            write_initial_files(top / HANGAR_DIR)
        return str(top / HANGAR_DIR)

    @staticmethod
    def _head_tree(git: GitRepository) -> Oid | None:
        return git.hangar_tree(refs.head_commit(git))

    # -- checkouts -----------------------------------------------------------------------------

    def checkout(
        self,
        write: bool = False,
        *,
        branch: str = "",
        commit: str = "",
        stream: str = "",
        stream_cache_bytes: int | None = None,
        stream_keep: bool = False,
        stream_disk_bytes: int | None = None,
    ) -> ReaderCheckout | WriterCheckout:
        """Open a commit for reading, or a branch for writing.

        Parameters
        ----------
        write
            Whether to write; one writer can be open at a time.
        branch
            The branch to write to, or to read; by default the writer branch.
        commit
            The commit to read, or any Git revision; goes before `branch`.
        stream
            A remote that samples which are not on this machine are read from, when asked for.
        stream_cache_bytes
            Those are kept in memory up to so many bytes; by default 256 MiB.
        stream_keep
            Whether they are stored in the clone, too, as fetched ones are.
        stream_disk_bytes
            They are kept on disk up to so many bytes, apart from the clone's own; by default none.
            When it is full, what was there before this checkout was opened makes room.

        Raises
        ------
        ValueError
            `write` is not a bool; `commit` or `stream` with `write`; no such branch or commit;
            changes are staged for another branch.
        PermissionError
            Another writer is open.
        """
        git = self._require()
        if not isinstance(write, bool):
            raise InvalidInputError(f"write must be True or False, not {write!r}")
        if write:
            if commit or stream:
                raise InvalidInputError("a commit or a stream is read; give a branch to write to")
            return WriterCheckout(WriteSession(git, branch or None))
        start = self._start(git, branch, commit)
        Layout.of(git).check_format()
        store = (
            streaming_store(
                git, stream, cache_bytes=stream_cache_bytes, keep=stream_keep,
                disk_bytes=stream_disk_bytes,
            )
            if stream
            else Store(Layout.of(git).root, writable=False)
        )  # fmt: skip
        return self._reader(git, start, store)

    def _reader(self, git: GitRepository, commit: Oid, store: Store) -> ReaderCheckout:
        snapshots = self._snapshots(git)
        return ReaderCheckout(snapshots(commit), snapshots, store, commit)

    # -- branches ------------------------------------------------------------------------------

    def list_branches(self) -> list[str]:
        """Names of all branches: local ones, then remote-tracking ones (``origin/main``)."""
        git = self._require()
        names = refs.list_branches(git)
        # Like a branch, the one that awaits its first commit has a name already.
        return names or [self._writer_branch(git)]

    def create_branch(self, name: str, base_commit: str | None = None) -> BranchHead:
        """Make a branch at a commit.

        Parameters
        ----------
        name
            Any name that Git allows.
        base_commit
            Any Git revision; by default the tip of the writer branch.

        Raises
        ------
        ValueError
            A name that is not valid or taken; no such revision.
        RuntimeError
            There is no commit yet.
        """
        git = self._require()
        return create_branch(git, name, base_commit, self._writer_branch(git))

    def remove_branch(self, name: str, *, force_delete: bool = False) -> BranchHead:
        """Remove a branch; the commits stay.

        Parameters
        ----------
        name
            Of a local branch.
        force_delete
            Remove it even if no other branch holds its commits.

        Raises
        ------
        ValueError
            There is no local branch of this name.
        PermissionError
            It is the only branch, the writer branch, or checked out; or a writer is at work.
        RuntimeError
            Its commits are in no other branch, and `force_delete` is not set.
        """
        git = self._require()
        return remove_branch(git, name, lambda: self._writer_branch(git), force=force_delete)

    def force_release_writer_lock(self) -> bool:
        """Take the writer lock away from whoever holds it, who then fails at the next write.

        Needed only for a writer that is alive and stuck: a lock ends with its process.

        Returns
        -------
        bool
            True.
        """
        return force_release(Layout.of(self._require()).lock)

    # -- differences and merges ----------------------------------------------------------------

    def diff(self, master: str, dev: str) -> DiffAndConflicts:
        """What merging revision `dev` into `master` would change, and the conflicts it would meet.

        Parameters
        ----------
        master, dev
            Branches, or any Git revisions.

        Raises
        ------
        ValueError
            There is no such revision.
        """
        git = self._require()
        one, two = refs.resolve(git, master), refs.resolve(git, dev)
        return commit_diff(git, self._snapshots(git), one, two)

    def merge(
        self,
        message: str,
        master_branch: str,
        dev_branch: str,
        *,
        resolve: Policy | str | Chooser | None = None,
    ) -> str:
        """Merge one branch into another; arrays need not be on this machine.

        Parameters
        ----------
        message
            Of the merge commit; a fast-forward makes none.
        master_branch
            The branch to merge into.
        dev_branch
            The branch to merge, or any Git revision.
        resolve
            Settles conflicts; see `WriterCheckout.merge`.

        Returns
        -------
        str
            Oid of the commit that `master_branch` is at then.

        Raises
        ------
        ValueError
            There is no such branch; or conflicts, and nothing was changed.
        PermissionError
            A writer is open.
        """
        checkout = WriterCheckout(WriteSession(self._require(), master_branch))
        try:
            return checkout.merge(message, dev_branch, resolve=resolve)
        finally:
            checkout.close()

    # -- history -------------------------------------------------------------------------------

    def log(
        self,
        branch: str | None = None,
        commit: str | None = None,
        *,
        return_contents: bool = False,
        show_time: bool = False,
        show_user: bool = False,
    ) -> dict[str, Any] | None:
        """Print the commit graph, or return it.

        Parameters
        ----------
        branch, commit
            Where to start; by default at the writer branch. `commit` may be any Git revision.
        return_contents
            Return a dict of head, ancestors, specs, order and branch_heads, and print nothing.
        show_time, show_user
            Print each commit's time and author, too.
        """
        git = self._require()
        if not branch and not commit and refs.branch_tip(git, self._writer_branch(git)) is None:
            return None
        start = self._start(git, branch, commit)
        if return_contents:
            return log_contents(git, start)
        for line in log_lines(git, start, show_time=show_time, show_user=show_user):
            print(line)
        return None

    def summary(self, *, branch: str = "", commit: str = "") -> None:
        """Print the contents of a commit.

        Parameters
        ----------
        branch, commit
            Which; by default the tip of the writer branch. `commit` may be any Git revision.
        """
        git = self._require()
        if not branch and not commit and refs.branch_tip(git, self._writer_branch(git)) is None:
            print("No commits made")
            return
        start = self._start(git, branch, commit)
        layout = Layout.of(git)
        lines = summary_lines(
            git, self._snapshots(git)(start), start, self.path, disk_usage(layout.root)
        )
        for line in lines:
            print(line)
