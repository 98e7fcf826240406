"""Messages as they travel: serialized, with a checksum of all that as their last field.

Corruption that TCP's 16-bit sum lets through would otherwise change a ref's name or a list of
digests unseen. With TLS the checksum costs little and finds nothing.
"""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest

from ..errors import RemoteConnectionError, RemoteProtocolError

_Message = TypeVar("_Message", bound=Message)

_TAG = 15 << 3 | 1  # field 15, fixed64
_SEAL_BYTES = 9


def seal(message: Message) -> bytes:
    """`message` as bytes that carry their checksum."""
    body = message.SerializeToString()
    return b"".join([body, bytes([_TAG]), xxh3_64_intdigest(body).to_bytes(8, "little")])


def unseal(kind: type[_Message], data: bytes) -> _Message:
    """The message that `seal` wrote.

    Raises
    ------
    RemoteConnectionError
        The checksum is wrong: damaged on the way, and worth another try.
    RemoteProtocolError
        It was never such a message.
    """
    body = memoryview(data)[:-_SEAL_BYTES]
    if len(data) < _SEAL_BYTES or data[-_SEAL_BYTES] != _TAG:
        raise RemoteProtocolError(f"a message without seal, where {kind.__name__} was expected")
    if int.from_bytes(data[-8:], "little") != xxh3_64_intdigest(body):
        raise damaged()
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise RemoteProtocolError(f"a malformed {kind.__name__}: {error}") from error


def damaged() -> RemoteConnectionError:
    """The error for what arrived otherwise than it was sent."""
    return RemoteConnectionError("a message was damaged on the way; try again")


def seal_of_metadata(repository: str, authorization: str | None) -> str:
    """The ``hangar-seal`` of a call's metadata."""
    return xxh3_64_hexdigest(f"{repository}\0{authorization or ''}".encode())
