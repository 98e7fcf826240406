"""Parcels and digests as messages: many small parcels to one, a large one over several."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice

from ..digest import DIGEST_SIZE_BYTES
from ..errors import InvalidInputError, RemoteConnectionError, RemoteProtocolError
from .proto import hangar_pb2 as pb
from .samples import Parcel
from .sealing import Bulk, OpenedPack

MIB = 1 << 20
PACK_BYTES = 2 * MIB
"""What a Pack is filled to: large enough that a message's own cost (0.2 ms) does not count."""

REQUEST_DIGESTS = MIB // DIGEST_SIZE_BYTES
"""Digests in one request, 1 MiB of them."""

_PARCEL_COST_BYTES = 16  # of its two table entries, at most


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """What either side takes in one message or parcel.

    Parameters
    ----------
    message_bytes
        Of one message: a Pack's data, with the digests of its last parcel, must fit.
    request_digests
        In one request for digests.
    parcel_bytes, parcel_digests
        Of one parcel.
    """

    message_bytes: int = 8 * MIB
    request_digests: int = REQUEST_DIGESTS
    parcel_bytes: int = 1 << 30
    parcel_digests: int = 4 * MIB // DIGEST_SIZE_BYTES


def join_digests(digests: Sequence[bytes], size: int = REQUEST_DIGESTS) -> Iterator[bytes]:
    """Raw digests one after the other, `size` of them at a time."""
    for start in range(0, len(digests), size):
        joined = b"".join(digests[start : start + size])
        if len(joined) != DIGEST_SIZE_BYTES * len(digests[start : start + size]):
            raise InvalidInputError(f"a digest is {DIGEST_SIZE_BYTES} bytes")
        yield joined


def split_digests(joined: bytes, limits: MessageLimits) -> list[bytes]:
    """The digests of one request.

    Raises
    ------
    RemoteProtocolError
        There are more than the limit, or not a whole number of them.
    """
    if len(joined) % DIGEST_SIZE_BYTES:
        raise RemoteProtocolError(f"{len(joined)} bytes are no whole number of digests")
    if len(joined) > limits.request_digests * DIGEST_SIZE_BYTES:
        raise RemoteProtocolError(f"more than {limits.request_digests} digests in one request")
    return _cut(joined)


def _cut(joined: bytes) -> list[bytes]:
    step = DIGEST_SIZE_BYTES
    return [joined[place : place + step] for place in range(0, len(joined), step)]


def pack(parcels: Iterable[Parcel], limits: MessageLimits) -> Iterator[Bulk]:
    """Messages that hold `parcels`, each sent as soon as it is full.

    Raises
    ------
    InvalidInputError
        A parcel is over a limit.
    """
    waiting: list[Parcel] = []
    room = PACK_BYTES
    for parcel in parcels:
        _check(parcel, limits)
        cost = len(parcel.data) + DIGEST_SIZE_BYTES * len(parcel.digests) + _PARCEL_COST_BYTES
        if waiting and cost > room:
            yield _bulk(waiting)
            waiting, room = [], PACK_BYTES
        if len(parcel.data) <= PACK_BYTES:
            waiting.append(parcel)
            room -= cost
        else:
            yield from _pieces(parcel)
    if waiting:
        yield _bulk(waiting)


def _bulk(parcels: list[Parcel]) -> Bulk:
    return Bulk(_table(parcels), [parcel.data for parcel in parcels])


def _check(parcel: Parcel, limits: MessageLimits) -> None:
    if not 0 < len(parcel.digests) <= limits.parcel_digests:
        raise InvalidInputError(
            f"a parcel of {len(parcel.digests)} samples; the remote takes 1 to"
            f" {limits.parcel_digests}"
        )
    if len(parcel.data) > limits.parcel_bytes:
        raise InvalidInputError(
            f"a parcel of {len(parcel.data)} bytes; the remote takes at most {limits.parcel_bytes}"
        )


def _table(parcels: list[Parcel]) -> pb.Pack:
    return pb.Pack(
        digest_counts=[len(parcel.digests) for parcel in parcels],
        sizes=[len(parcel.data) for parcel in parcels],
        digests=b"".join([digest for parcel in parcels for digest in parcel.digests]),
    )


def _pieces(parcel: Parcel) -> Iterator[Bulk]:
    size = len(parcel.data)
    step = -(-size // -(-size // PACK_BYTES))
    view = memoryview(parcel.data)
    for start in range(0, size, step):
        yield Bulk(pb.Pack() if start else _table([parcel]), [view[start : start + step]])


class MemoryBudget:
    """Bytes that parcels in the making may take up, over all callers."""

    def __init__(self, limit_bytes: int, patience_s: float = 30.0) -> None:
        self._free = self._limit = limit_bytes
        self._patience_s = patience_s
        self._freed = threading.Condition()

    @contextmanager
    def hold(self, size_bytes: int) -> Iterator[None]:
        """Take `size_bytes` for the length of the block, waiting for others to give them back.

        Raises
        ------
        RemoteConnectionError
            They did not become free in time.
        """
        wanted = min(size_bytes, self._limit)  # one parcel alone may always pass
        with self._freed:
            if not self._freed.wait_for(lambda: self._free >= wanted, self._patience_s):
                raise RemoteConnectionError("the server's memory is taken; try again later")
            self._free -= wanted
        try:
            yield
        finally:
            with self._freed:
                self._free += wanted
                self._freed.notify_all()


def unpack(
    packs: Iterator[OpenedPack], limits: MessageLimits, memory: MemoryBudget | None = None
) -> Iterator[Parcel]:
    """The parcels that `packs` hold, each as soon as it is whole.

    Raises
    ------
    RemoteProtocolError
        A message contradicts itself or a limit.
    RemoteConnectionError
        The last parcel is not whole.
    """
    for head, data in packs:
        sizes = list(head.sizes)
        digests = _digests_of_parcels(head, limits)
        if max(sizes) > limits.parcel_bytes:
            raise RemoteProtocolError(f"a parcel of {max(sizes)} bytes is over the limit")
        if len(data) == sum(sizes):
            place = 0
            for names, size in zip(digests, sizes, strict=True):
                yield Parcel(names, bytes(data[place : place + size]))
                place += size
        elif len(sizes) == 1 and 0 < len(data) < sizes[0]:
            with memory.hold(sizes[0]) if memory else nullcontext():
                yield Parcel(digests[0], _gather(data, sizes[0], packs))
        else:
            raise RemoteProtocolError("a pack whose data does not fit its parcels")


def _digests_of_parcels(head: pb.Pack, limits: MessageLimits) -> list[tuple[bytes, ...]]:
    counts = list(head.digest_counts)
    if not counts or len(counts) != len(head.sizes):
        raise RemoteProtocolError("a pack whose table is incomplete")
    if min(counts) < 1 or max(counts) > limits.parcel_digests:
        raise RemoteProtocolError("a parcel of no samples, or of more than the limit")
    if sum(counts) * DIGEST_SIZE_BYTES != len(head.digests):
        raise RemoteProtocolError("a pack whose digests do not fit its table")
    digests = iter(_cut(head.digests))
    return [tuple(islice(digests, count)) for count in counts]


def _gather(data: memoryview, size: int, packs: Iterator[OpenedPack]) -> bytes:
    pieces = [data]
    left = size - len(data)
    while left:
        message = next(packs, None)
        if message is None:
            raise RemoteConnectionError("the stream ended in the middle of a parcel; try again")
        head, data = message
        if head.sizes or head.digest_counts or not 0 < len(data) <= left:
            raise RemoteProtocolError("a pack that does not continue the parcel before it")
        pieces.append(data)
        left -= len(data)
    return b"".join(pieces)
