"""A remote's data for processes that have no clone: all they need to reach it, and it pickles."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from ..errors import RemoteAuthenticationError, RemotePermissionError, StateError
from ..records.gitrepo import GitRepository
from ..transfer.address import Address
from ..transfer.bucket import open_bucket
from ..transfer.client import GrpcStore
from ..transfer.credentials import TOKEN_VARIABLE, Credentials, token_of_environment
from ..transfer.samples import Parcel, SampleStore
from ..transfer.serveraddress import ServerAddress
from .opening import judge, server_of
from .remoteconfig import data_address, find_remote

_opened = threading.local()


@dataclass(frozen=True)
class RemoteAccess(SampleStore):
    """The data of a remote; a `SampleStore` that pickles, and is opened where it is used.

    Each thread that uses it has a connection of its own, which it keeps. To call it opens another
    one, as streams do, which see to their connections themselves.

    Parameters
    ----------
    address
        Of the data.
    push
        Whether samples are to be sent.
    anonymous
        Send no credentials: the address was committed, and not confirmed.
    credentials
        Passed on purpose, and pickled; None: those in the environment of the process that opens it.
        Git's credential helpers are not asked: they may wait for a user.
    """

    address: str
    push: bool = False
    anonymous: bool = False
    credentials: Credentials | None = None

    @classmethod
    def of(
        cls, git: GitRepository, name: str, *, push: bool = False, token: str | None = None
    ) -> RemoteAccess:
        """The access to remote `name` of a clone.

        Raises
        ------
        NotFoundError
            There is no such remote.
        StateError
            Its data has no address.
        NotPermittedError
            Its address was committed, and has to be confirmed for this.
        """
        remote = find_remote(git, name)
        if remote.data is None:
            raise StateError(
                f"the data of remote {name!r} is in a repository of this machine ({remote.where}),"
                f" which workers have no address of; set one they can reach:"
                f" git config remote.{name}.hangarUrl ADDRESS"
            )
        credentials = Credentials(token) if token else None
        anonymous = judge(git, remote, push=push, credentials=credentials is not None)
        return cls(remote.where, push, anonymous, credentials)

    # -- as a store ----------------------------------------------------------------------------

    def missing(self, digests: Collection[bytes]) -> list[bytes]:
        """Those of `digests` that the remote lacks."""
        return self._store().missing(digests)

    def export(self, digests: Collection[bytes]) -> Iterator[Parcel]:
        """Parcels that together hold all of `digests`."""
        return self._store().export(digests)

    def receive(self, parcels: Iterable[Parcel]) -> int:
        """Store samples; they are durable when it returns."""
        return self._store().receive(parcels)

    def _store(self) -> SampleStore:
        """What this thread has opened; a fork opens its own."""
        if getattr(_opened, "process", None) != os.getpid():
            _opened.process, _opened.stores = os.getpid(), {}
        stores: dict[RemoteAccess, SampleStore] = _opened.stores
        if self not in stores:
            stores[self] = self()
        return stores[self]

    def __call__(self) -> SampleStore:
        """A connection; its errors say what a worker lacks."""
        data = data_address(self.address)
        server = server_of(data)
        if server is not None:
            return self._open_server(server)
        assert isinstance(data, Address)
        return open_bucket(data, anonymous=self.anonymous)

    def _open_server(self, server: ServerAddress) -> GrpcStore:
        known = None if self.anonymous else self.credentials or token_of_environment(server)
        store = GrpcStore(server, known)
        right = "write" if self.push else "read"
        try:
            hello = store.hello()
            if right in hello.rights:
                return store
            if known is not None:
                raise RemotePermissionError(
                    f"{server.endpoint}: {hello.user} has no right to {right} in"
                    f" {server.repository or 'the default repository'}"
                )
            raise RemoteAuthenticationError(f"{server.endpoint} asks for credentials")
        except BaseException as error:
            store.close()
            if isinstance(error, RemoteAuthenticationError):
                raise RemoteAuthenticationError(
                    f"{error}; set {TOKEN_VARIABLE} in the environment of the workers"
                ) from None
            raise
