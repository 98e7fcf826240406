"""Messages as they travel: serialized, with a checksum of all that as their last field.

Corruption that TCP's 16-bit sum lets through would otherwise change a ref's name or a list of
digests unseen. With TLS the checksum costs little and finds nothing.

Messages with much data are put together and taken apart here, not by protobuf, which would copy
the data three times on each side: uploads would run at 43 % of a bare stream's rate instead of 65 %
(2 cores, loopback, 2,000 parcels of 147 KiB, 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message
from xxhash import xxh3_64, xxh3_64_hexdigest, xxh3_64_intdigest

from ..errors import RemoteConnectionError, RemoteProtocolError
from .proto import hangar_pb2 as pb

_Message = TypeVar("_Message", bound=Message)

_SEAL_TAG = 15 << 3 | 1  # field 15, fixed64
_SEAL_BYTES = 9
_DATA_TAG = pb.Pack.DATA_FIELD_NUMBER << 3 | 2  # of variable length


class DamagedError(RemoteConnectionError):
    """Something arrived otherwise than it was sent.

    The connection is not to be used again: both sides keep tables of headers that they have seen
    on it, and a damaged entry damages every later call.
    """

    kind = "remote-damaged"

    def __init__(self, message: str = "a message was damaged on the way; try again") -> None:
        super().__init__(message)


class Bulk(NamedTuple):
    """A Pack that is sent.

    Parameters
    ----------
    head
        All but its data.
    data
        Pieces of its data, which are not copied.
    """

    head: pb.Pack
    data: Sequence[bytes | memoryview]


class OpenedPack(NamedTuple):
    """A Pack that was received.

    Parameters
    ----------
    head
        All but its data.
    data
        Of the message itself, not copied.
    """

    head: pb.Pack
    data: memoryview


def seal(message: Message | Bulk) -> bytes:
    """`message` as bytes that carry their checksum."""
    if isinstance(message, Bulk):
        size = sum(map(len, message.data))
        head = message.head.SerializeToString() + bytes([_DATA_TAG]) + _varint(size)
        hasher = xxh3_64(head)
        for piece in message.data:
            hasher.update(piece)
        checksum = hasher.intdigest()
        parts = [head, *message.data]
    else:
        parts = [message.SerializeToString()]
        checksum = xxh3_64_intdigest(parts[0])
    parts += [bytes([_SEAL_TAG]), checksum.to_bytes(8, "little")]
    return b"".join(parts)


def unseal(kind: type[_Message], data: bytes) -> _Message:
    """The message that `seal` wrote.

    Raises
    ------
    DamagedError
        The checksum is wrong or missing: another try, on another connection, may do better.
    RemoteProtocolError
        It was never such a message.
    """
    _check(data)
    return _parse(kind, data)


def opener(kind: type[_Message]) -> Callable[[bytes], _Message]:
    """`unseal` for messages of `kind`."""
    return partial(unseal, kind)


def open_pack(data: bytes) -> OpenedPack:
    """The Pack that `seal` wrote; raises as `unseal` does."""
    end = _check(data)
    start, bulk_start, bulk_end = _find_data(data, end)
    head = _parse(pb.Pack, data[:start] + data[bulk_end:])
    return OpenedPack(head, memoryview(data)[bulk_start:bulk_end])


def _check(data: bytes) -> int:
    end = len(data) - _SEAL_BYTES
    if end < 0 or data[end] != _SEAL_TAG:
        raise DamagedError
    if int.from_bytes(data[-8:], "little") != xxh3_64_intdigest(memoryview(data)[:end]):
        raise DamagedError
    return end


def _parse(kind: type[_Message], data: bytes) -> _Message:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise RemoteProtocolError(f"a malformed {kind.__name__}: {error}") from error


def _find_data(data: bytes, end: int) -> tuple[int, int, int]:
    """Where the data field of a Pack begins, where its content does, and where that ends."""
    place = 0
    found = end, end, end
    while place < end:
        start = place
        tag, place = _read_varint(data, place)
        if tag & 7 == 0:
            _, place = _read_varint(data, place)
        elif tag & 7 == 2:
            size, place = _read_varint(data, place)
            if tag == _DATA_TAG and found[0] != end:
                raise RemoteProtocolError("a Pack with its data in two parts")
            if tag == _DATA_TAG:
                found = start, place, place + size
            place += size
        else:
            place += {1: 8, 5: 4}.get(tag & 7, end)
    if place != end:
        raise RemoteProtocolError("a malformed Pack")
    return found


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    number = 0
    for index, byte in enumerate(data[place : place + 10]):
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number, place + index + 1
    raise RemoteProtocolError("a malformed Pack")


def seal_of_metadata(repository: str, authorization: str | None) -> str:
    """The ``hangar-seal`` of a call's metadata."""
    return xxh3_64_hexdigest(f"{repository}\0{authorization or ''}".encode())
