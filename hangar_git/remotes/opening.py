"""Opening the data of a remote: whether its address may be used, and as whom."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import NotPermittedError, RemoteAuthenticationError
from ..records.gitrepo import GitRepository
from ..staging.layout import Layout
from ..transfer.address import Address
from ..transfer.client import GrpcStore, Hello
from ..transfer.credentials import Credentials, ask_git, check_may_send, tell_git
from ..transfer.credentials import token_of_environment as token_of
from ..transfer.samples import SampleStore
from ..transfer.serveraddress import ServerAddress
from ..transfer.trust import judge_committed
from .remoteconfig import Remote, local_git, trusted


def open_data(
    git: GitRepository,
    remote: Remote,
    *,
    push: bool = False,
    credentials: Credentials | None = None,
) -> SampleStore:
    """The data of a remote, to be read or, with `push`, to be sent to.

    Parameters
    ----------
    credentials
        Who is calling; by default as the environment or Git's credential helpers say, and only
        where the caller is asked.

    Raises
    ------
    NotPermittedError
        Its address was committed, and has to be confirmed for this.
    RemoteError
        It cannot be reached, or does not let us.
    """
    if remote.data is None:
        from .localstore import LocalSamples

        return LocalSamples(Layout.of(local_git(remote)).root)
    anonymous = judge(git, remote, push=push, credentials=credentials is not None)
    server = server_of(remote.data)
    if server is not None:
        return open_server(server, push=push, credentials=credentials, anonymous=anonymous)
    from ..transfer.bucket import open_bucket

    assert isinstance(remote.data, Address)
    cache = Layout.of(git).root / "remotes" / remote.name
    return open_bucket(remote.data, cache, anonymous=anonymous, create=push)


@contextmanager
def opened_data(
    git: GitRepository,
    remote: Remote,
    *,
    push: bool = False,
    credentials: Credentials | None = None,
) -> Iterator[SampleStore]:
    """As `open_data`, for the length of the block."""
    store = open_data(git, remote, push=push, credentials=credentials)
    try:
        yield store
    finally:
        if isinstance(store, GrpcStore):
            store.close()


def server_of(data: Address | ServerAddress) -> ServerAddress | None:
    """The server that a data address means; None for a directory or bucket."""
    if isinstance(data, ServerAddress):
        return data
    return ServerAddress.parse(str(data)) if data.is_server else None


def judge(git: GitRepository, remote: Remote, *, push: bool, credentials: bool) -> bool:
    """Whether the address may be used without credentials only.

    Raises
    ------
    NotPermittedError
        Not even so, before it is confirmed.
    """
    if not remote.committed:
        return False
    confirmed = trusted(git)
    if remote.where in confirmed:
        return False
    assert isinstance(remote.data, Address)
    resolved = _resolved(remote.data.host) if remote.data.is_server else []
    verdict = judge_committed(
        remote.data, confirmed, push=push, credentials=credentials, resolved=resolved
    )
    if not verdict.allowed:
        raise NotPermittedError(
            f"the data address {remote.where} was committed in .hangar/config, and"
            f" {verdict.reason}; to use it: git hangar remote trust {remote.name}"
        )
    return True


def _resolved(host: str) -> list[str]:
    with suppress(OSError):
        return [str(found[4][0]) for found in socket.getaddrinfo(host, None)]
    return []


def open_server(
    address: ServerAddress,
    *,
    push: bool,
    credentials: Credentials | None = None,
    anonymous: bool = False,
) -> GrpcStore:
    """A repository on a Hangar server, as a caller who may do what is wanted, if one is known."""
    known = credentials or (None if anonymous else token_of(address))
    if known is not None or anonymous:
        return GrpcStore(address, known)
    if address.user is None:
        store = GrpcStore(address)
        if _may(store, push=push):
            return store
        store.close()
    check_may_send(address)
    asked = ask_git(address)
    store = GrpcStore(address, asked)
    try:
        store.hello()
    except RemoteAuthenticationError:
        tell_git(address, asked, accepted=False)
        raise
    tell_git(address, asked, accepted=True)
    return store


def _may(store: GrpcStore, *, push: bool) -> bool:
    try:
        hello: Hello = store.hello()
    except RemoteAuthenticationError:
        return False
    return ("write" if push else "read") in hello.rights
