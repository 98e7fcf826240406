"""The samples of a repository on a Hangar server, as a store."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from threading import Lock
from types import TracebackType
from typing import Self

import numpy as np

from ..errors import RemoteConnectionError, RemoteProtocolError
from ..version import __version__
from .channel import ClientOptions, Connection
from .credentials import Credentials
from .packing import MessageLimits, join_digests, pack, unpack
from .proto import hangar_pb2 as pb
from .samples import Parcel
from .sealing import OpenedPack, open_pack, opener
from .serveraddress import ServerAddress
from .sharing import merged, spread

PROTOCOL = 1


@dataclass(frozen=True, slots=True)
class Hello:
    """What a server says of itself and of the caller.

    Parameters
    ----------
    protocol
        Version that both speak.
    server
        Name and version of its program.
    capabilities
        What it can do beyond the first version.
    limits
        What it takes.
    rights
        Of the caller, in this repository: ``read``, ``write``, ``force``.
    user
        Name of the caller; empty if anonymous.
    exists
        Whether the repository is there; False also where the caller may not know.
    """

    protocol: int
    server: str
    capabilities: frozenset[str]
    limits: MessageLimits
    rights: frozenset[str]
    user: str
    exists: bool


class GrpcStore:
    """The samples of one repository on a server; a `SampleStore`.

    Nothing is sent before the first call. Safe to use from several threads.

    Parameters
    ----------
    address
        Such as ``hangar://host:50051/repo``.
    credentials
        Who is calling; None: anonymous.
    options
        How to connect; by default as the environment says.
    """

    def __init__(
        self,
        address: ServerAddress | str,
        credentials: Credentials | None = None,
        options: ClientOptions | None = None,
    ) -> None:
        self.address = ServerAddress.parse(address) if isinstance(address, str) else address
        self._connection = Connection(self.address, credentials, options)
        self._streams = self._connection.options.streams_to(self.address)
        self._hello: Hello | None = None
        self._broken: list[str] = []
        self._lock = Lock()

    @property
    def connection(self) -> Connection:
        """The connection, over which Git's own protocol can be spoken, too."""
        return self._connection

    def hello(self) -> Hello:
        """Ask the server who it is and what the caller may do.

        Raises
        ------
        RemoteConnectionError
            It cannot be reached.
        RemoteProtocolError
            It is no Hangar server, or of another version.
        RemoteAuthenticationError
            The credentials are wrong.
        """
        request = pb.HelloRequest(protocol=PROTOCOL, client=f"hangar_git {__version__}")
        try:
            reply = self._connection.ask("Hello", request, pb.HelloReply)
        except RemoteProtocolError:
            # The name of the method, which nothing seals, may have been damaged on the way.
            reply = self._connection.ask("Hello", request, pb.HelloReply)
        if reply.protocol != PROTOCOL:
            raise RemoteProtocolError(
                f"{self.address.endpoint} speaks protocol {reply.protocol}, this program"
                f" {PROTOCOL}; update the older of the two"
            )
        limits = reply.limits
        self._hello = Hello(
            protocol=reply.protocol,
            server=reply.server,
            capabilities=frozenset(reply.capabilities),
            limits=MessageLimits(
                limits.message_bytes,
                limits.request_digests,
                limits.parcel_bytes,
                limits.parcel_digests,
            ),
            rights=frozenset(reply.rights),
            user=reply.user,
            exists=reply.exists,
        )
        return self._hello

    def ping(self) -> float:
        """Seconds that a request and its reply take, once connected."""
        self._known()
        started = time.perf_counter()
        self.hello()
        return time.perf_counter() - started

    def _known(self) -> Hello:
        return self._hello or self.hello()

    def missing(self, digests: Collection[bytes]) -> list[bytes]:
        """Those of `digests` that the server lacks, in order.

        After an upload that broke off, what it brought is counted as there.
        """
        limits = self._known().limits
        asked = list(digests)
        with self._lock:
            broken = list(self._broken)
        size = limits.request_digests
        joined = join_digests(asked, size)
        requests = (
            pb.MissingRequest(digests=some, settle=() if number else broken)
            for number, some in enumerate(joined)
        )
        lacking: list[bytes] = []
        place = 0
        for reply in self._connection.stream("Missing", requests, opener(pb.MissingReply)):
            some = asked[place : place + size]
            place += size
            bits = np.frombuffer(reply.missing, np.uint8)
            if not some or len(bits) != -(-len(some) // 8):
                raise RemoteProtocolError("a reply that does not fit the digests asked about")
            flags = np.unpackbits(bits, count=len(some), bitorder="little")
            lacking += [some[index] for index in np.flatnonzero(flags)]
        if place < len(asked):
            raise self._ended_early("not all digests were answered for")
        if asked:
            with self._lock:
                self._broken = [upload for upload in self._broken if upload not in broken]
        return lacking

    def export(
        self, digests: Collection[bytes], *, budget_bytes: int | None = None
    ) -> Iterator[Parcel]:
        """Parcels that together hold all of `digests`, or the first of them that fit a budget.

        Parameters
        ----------
        digests
            What is wanted, in the order in which it is wanted.
        budget_bytes
            The server ends before the parcel that would exceed it.

        Raises
        ------
        DataNotLocalError
            The server lacks one of them.
        RemoteConnectionError
            The connection broke off; ask for the rest again.
        """
        wanted = list(digests)
        left = set(wanted)
        streams = min(self._streams, len(wanted))
        if budget_bytes is not None or streams < 2 or "shares" not in self._known().capabilities:
            parcels = self._download(wanted, budget_bytes)
        else:
            shares = [partial(self._download, wanted, None, n, streams) for n in range(streams)]
            parcels = merged(shares)
        with closing(parcels):
            for parcel in parcels:
                left.difference_update(parcel.digests)
                yield parcel
        if left and budget_bytes is None:
            raise self._ended_early(f"{len(left)} samples did not come")

    def _download(
        self, wanted: list[bytes], budget_bytes: int | None, share: int = 0, shares: int = 0
    ) -> Generator[Parcel]:
        limits = self._known().limits
        requests = (
            pb.DownloadRequest(digests=some)
            if number
            else pb.DownloadRequest(
                digests=some, budget_bytes=budget_bytes, share=share, shares=shares
            )
            for number, some in enumerate(join_digests(wanted, limits.request_digests))
        )
        left = set(wanted) if budget_bytes is not None else set()
        with closing(self._connection.stream("Download", requests, open_pack)) as replies:
            within = _WithinBudget(replies)
            for parcel in unpack(within, limits):
                left.difference_update(parcel.digests)
                yield parcel
        if left and not within.reached:
            raise self._ended_early(f"{len(left)} samples did not come")

    def receive(self, parcels: Iterable[Parcel]) -> int:
        """Send `parcels`; they are durable on the server when this returns. Gives their samples.

        Raises
        ------
        RemoteConnectionError
            The connection broke off. The server keeps what arrived: ask what is `missing`, and
            send only that.
        RemotePermissionError, RemoteAuthenticationError
            The caller may not write.
        IntegrityError
            A parcel does not hold what it says.
        """
        if self._streams < 2:
            return self._upload(parcels)
        return sum(spread(parcels, self._upload, self._streams))

    def _upload(self, parcels: Iterable[Parcel]) -> int:
        limits = self._known().limits
        upload = secrets.token_hex(16)
        taken = _Counted(parcels)
        durable = samples = 0
        try:
            for reply in self._connection.stream(
                "Upload", pack(taken, limits), opener(pb.UploadReply), (("hangar-upload", upload),)
            ):
                durable, samples = reply.parcels, reply.samples
        except BaseException:
            with self._lock:
                self._broken.append(upload)
            raise
        if durable != taken.count:
            with self._lock:
                self._broken.append(upload)
            raise self._ended_early(f"{durable} parcels of {taken.count} were stored")
        return samples

    def _ended_early(self, what: str) -> RemoteConnectionError:
        # A damaged flag can make either side believe that the other one has finished.
        return RemoteConnectionError(f"{self.address.endpoint} ended early: {what}; try again")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _WithinBudget(Iterator[OpenedPack]):
    """Messages up to the one that says that the budget is reached."""

    def __init__(self, replies: Iterator[OpenedPack]) -> None:
        self._replies = replies
        self.reached = False

    def __next__(self) -> OpenedPack:
        message = next(self._replies)
        if message.head.budget_reached:
            self.reached = True
            raise StopIteration
        return message


class _Counted(Iterator[Parcel]):
    """Parcels, and how many were taken."""

    def __init__(self, parcels: Iterable[Parcel]) -> None:
        self._parcels = iter(parcels)
        self.count = 0

    def __next__(self) -> Parcel:
        parcel = next(self._parcels)
        self.count += 1
        return parcel
