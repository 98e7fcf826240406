"""Packs: many parcels in one object, each with its checksum. Layout: docs/bucket.md, "Pack".

A pack is written once, front to back, and never changed. It says by itself all that its index says,
so an index that is lost can be made again; readers that have the index read frames by byte range.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from xxhash import xxh3_64, xxh3_64_intdigest

from ..digest import DIGEST_SIZE_BYTES
from ..errors import FormatError, IntegrityError, InvalidInputError
from .packindex import (
    FRAME_SIZE_MIN_BYTES,
    PACK_HEADER_SIZE_BYTES,
    PACK_ID_SIZE_BYTES,
    PACK_TRAILER_SIZE_BYTES,
    PackIndex,
)
from .samples import Parcel

Buffer: TypeAlias = bytes | bytearray | memoryview

PACK_MAGIC = b"HGITPACK"
PACK_VERSION = 1
PIECE_SIZE_BYTES = 8 << 20

_HEADER = struct.Struct("<8sII16s")
_FRAME = struct.Struct("<4sIQ")
_CHECKSUM = struct.Struct("<Q")
_TRAILER = struct.Struct("<4sIQ")
_FRAME_TAG = b"PRCL"
_TRAILER_TAG = b"PEND"
_FRAME_HEADER_SIZE_BYTES = _FRAME.size + _CHECKSUM.size

assert _HEADER.size == PACK_HEADER_SIZE_BYTES
assert _TRAILER.size == PACK_TRAILER_SIZE_BYTES
assert _FRAME_HEADER_SIZE_BYTES + DIGEST_SIZE_BYTES == FRAME_SIZE_MIN_BYTES


@dataclass
class PackWriter:
    """Makes one pack in memory, as pieces of some MiB, and its index.

    Parameters
    ----------
    pack_id
        16 random bytes, the pack's name.
    """

    pack_id: bytes
    size_bytes: int = 0
    _pieces: list[Buffer] = field(default_factory=list)
    _tail: bytearray = field(default_factory=bytearray)
    _frames: dict[bytes, int] = field(default_factory=dict)
    _offsets: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len(self.pack_id) != PACK_ID_SIZE_BYTES:
            raise InvalidInputError("a pack id has 16 bytes")
        self._checksum = xxh3_64()
        self._append(_HEADER.pack(PACK_MAGIC, PACK_VERSION, 0, self.pack_id))

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, parcel: Parcel) -> int:
        """Append a parcel, unless all its samples are in the pack already. Gives the new samples.

        `parcel.data`, if large, is kept and not copied.
        """
        digests, data = parcel
        if not digests or any(len(digest) != DIGEST_SIZE_BYTES for digest in digests):
            raise InvalidInputError("a parcel needs digests, of 32 bytes each")
        number, before = len(self._offsets), len(self._frames)
        for digest in digests:
            self._frames.setdefault(digest, number)
        if len(self._frames) == before:
            return 0
        self._offsets.append(self.size_bytes)
        start, listed = _FRAME.pack(_FRAME_TAG, len(digests), len(data)), b"".join(digests)
        self._append(start + _frame_checksum(start, listed, data) + listed)
        self._append(data)
        return len(self._frames) - before

    def finish(self) -> tuple[list[Buffer], PackIndex]:
        """The pieces of the whole pack, and its index."""
        end = self.size_bytes
        trailer = _TRAILER_TAG + struct.pack("<I", len(self._offsets))
        self._append(trailer)
        self._flush()
        checksum = _CHECKSUM.pack(self._checksum.intdigest())
        self._pieces.append(checksum)
        self.size_bytes += len(checksum)
        offsets = [*self._offsets, end]
        return self._pieces, PackIndex.build(self.pack_id, self._frames, offsets)

    def _append(self, data: Buffer) -> None:
        self.size_bytes += len(data)
        if len(self._tail) + len(data) <= PIECE_SIZE_BYTES:
            self._tail += data
            return
        self._flush()
        view = memoryview(data)
        for start in range(0, len(view), PIECE_SIZE_BYTES):
            self._piece(view[start : start + PIECE_SIZE_BYTES])

    def _flush(self) -> None:
        if self._tail:
            self._piece(self._tail)
            self._tail = bytearray()

    def _piece(self, piece: Buffer) -> None:
        self._checksum.update(piece)
        self._pieces.append(piece)


def parse_frame(frame: memoryview, where: str) -> Parcel:
    """The parcel in a frame, checked against the frame's checksum.

    Raises
    ------
    IntegrityError
        These bytes are not a whole frame; `where` says in the message whose they are.
    """
    if len(frame) < FRAME_SIZE_MIN_BYTES:
        raise damaged(where, "a parcel is cut off")
    tag, count, size = _FRAME.unpack_from(frame)
    end = _FRAME_HEADER_SIZE_BYTES + count * DIGEST_SIZE_BYTES
    if tag != _FRAME_TAG or not count or end + size != len(frame):
        raise damaged(where, "a parcel does not begin where it should")
    listed, data = bytes(frame[_FRAME_HEADER_SIZE_BYTES:end]), bytes(frame[end:])
    start = bytes(frame[: _FRAME.size])
    if frame[_FRAME.size : _FRAME_HEADER_SIZE_BYTES] != _frame_checksum(start, listed, data):
        raise damaged(where, "the checksum of a parcel is wrong")
    digests = tuple(
        listed[at : at + DIGEST_SIZE_BYTES] for at in range(0, len(listed), DIGEST_SIZE_BYTES)
    )
    return Parcel(digests, data)


def parse_pack(data: Buffer, pack_id: bytes, where: str) -> Iterator[Parcel]:
    """All parcels of a whole pack, without its index.

    Raises
    ------
    FormatError
        A version that this program does not know.
    IntegrityError
        Damaged, cut off, or another pack than `pack_id`. Parcels before the damage have been given.
    """
    view = memoryview(data)
    if len(view) < PACK_HEADER_SIZE_BYTES + PACK_TRAILER_SIZE_BYTES:
        raise damaged(where, "it is cut off")
    check_pack_header(view[:PACK_HEADER_SIZE_BYTES], pack_id, where)
    at, end, count = PACK_HEADER_SIZE_BYTES, len(view) - PACK_TRAILER_SIZE_BYTES, 0
    while at < end:
        if end - at < FRAME_SIZE_MIN_BYTES:
            raise damaged(where, "a parcel is cut off")
        _, digests, size = _FRAME.unpack_from(view, at)
        length = _FRAME_HEADER_SIZE_BYTES + digests * DIGEST_SIZE_BYTES + size
        if length > end - at:
            raise damaged(where, "a parcel is cut off")
        yield parse_frame(view[at : at + length], where)
        at, count = at + length, count + 1
    tag, stated, checksum = _TRAILER.unpack_from(view, end)
    if tag != _TRAILER_TAG or stated != count:
        raise damaged(where, "it does not end as it should")
    if xxh3_64_intdigest(view[: -_CHECKSUM.size]) != checksum:
        raise damaged(where, "its checksum is wrong")


def check_pack_header(header: Buffer, pack_id: bytes, where: str) -> None:
    """Refuse a header that is not that of pack `pack_id`, or of a version we do not know."""
    if len(header) != PACK_HEADER_SIZE_BYTES:
        raise damaged(where, "it is cut off")
    magic, version, reserved, actual = _HEADER.unpack(header)
    if magic != PACK_MAGIC:
        raise damaged(where, "it is not a pack")
    if version != PACK_VERSION or reserved:
        raise FormatError(f"{where} has pack format {version}, unknown here; update hangar_git")
    if actual != pack_id:
        raise damaged(where, f"it holds pack {actual.hex()}")


def damaged(where: str, why: str) -> IntegrityError:
    """The error for an object at a remote that is not what was written."""
    return IntegrityError(f"{where} is damaged: {why}", where=where)


def _frame_checksum(start: bytes, listed: bytes, data: Buffer) -> bytes:
    checksum = xxh3_64(start)
    checksum.update(listed)
    checksum.update(data)
    return _CHECKSUM.pack(checksum.intdigest())
