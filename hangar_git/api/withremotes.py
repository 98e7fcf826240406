"""What a repository has to do with other repositories: its remotes, clones, streams."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..errors import AlreadyExistsError
from ..records.gitrepo import GitRepository
from ..store.store import Store
from .initializing import is_initialized, remove_data
from .opened import OpenedRepository

if TYPE_CHECKING:
    from .remotes import Remotes


class WithRemotes(OpenedRepository):
    """Base of `Repository`: remotes, and cloning."""

    @property
    def remote(self) -> Remotes:
        """The remotes: add, list and remove them; fetch from them and push to them."""
        from .remotes import Remotes  # gRPC takes long to import

        return Remotes(self._require())

    def clone(
        self,
        user_name: str,
        user_email: str,
        remote_address: str,
        *,
        remove_old: bool = False,
        data: str | None = None,
    ) -> str:
        """Make the directory a clone of a remote repository: its default branch, without data.

        Parameters
        ----------
        user_name, user_email
            Of the author of new commits, written to the repository's Git configuration.
        remote_address
            ``host:port`` of a Hangar server, or any Git address; it becomes remote ``origin``.
        remove_old
            Remove the data of a former repository, and its history if it holds nothing but data.
        data
            Where data is, if `remote_address` is of a Git host.

        Returns
        -------
        str
            Name of the branch.

        Raises
        ------
        ValueError
            No name or email; a repository is there.
        PermissionError
            `remove_old` would lose other things than data.
        ConnectionError
            The remote cannot be reached, or is none.
        """
        from ..remotes.cloning import branch_of, clone

        old = self._git
        if old is not None:
            if not remove_old:
                raise AlreadyExistsError(
                    f"{self._path} is a Git repository already; clone into another directory"
                )
            if is_initialized(old):
                remove_data(old)
            self._git = None
        self._git = clone(self._path, remote_address, user_name=user_name, user_email=user_email,
                          data=data)  # fmt: skip
        return branch_of(self._git)


def streaming_store(
    git: GitRepository,
    name: str,
    *,
    cache_bytes: int | None,
    keep: bool,
    disk_bytes: int | None,
) -> Store:
    """A store whose missing samples come from remote `name`."""
    from ..remotes.connections import RemoteOfClone
    from ..remotes.streaming import CACHE_BYTES, Stream, StreamedStore
    from ..staging.layout import Layout

    store = StreamedStore(
        Stream(
            str(Layout.of(git).root),
            RemoteOfClone.of(git, name),
            CACHE_BYTES if cache_bytes is None else cache_bytes,
            keep,
            disk_bytes or 0,
            time.time(),
        )
    )
    store.check()
    return store
