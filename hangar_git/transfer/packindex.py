"""The index beside a pack: which digest lies in which byte range. Layout: docs/bucket.md, "Index".

Parsed by looking at it, never by walking over it: a million entries cost milliseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from ..digest import DIGEST_SIZE_BYTES
from ..errors import FormatError, IntegrityError

INDEX_MAGIC = b"HGITPIDX"
INDEX_VERSION = 1
PACK_ID_SIZE_BYTES = 16
PACK_HEADER_SIZE_BYTES = 32
PACK_TRAILER_SIZE_BYTES = 16
FRAME_SIZE_MIN_BYTES = 56

_HEADER = struct.Struct("<8sII16sQII")
_CHECKSUM = struct.Struct("<Q")
_FIXED_SIZE_BYTES = _HEADER.size + 8 + _CHECKSUM.size

DigestArray = np.ndarray[Any, np.dtype[np.bytes_]]
"""Digests of dtype S32. NumPy pads such text with NUL, so items compare as 32 raw bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class PackIndex:
    """Where the samples of one pack lie.

    Parameters
    ----------
    pack_id
        16 bytes, the pack's name.
    digests
        Shape (n,), dtype S32, ascending, no two equal.
    frames
        Shape (n,), uint32: number of the frame that holds each digest.
    offsets
        Shape (m + 1,), uint64: where each of the m frames begins, and where the last one ends.
    """

    pack_id: bytes
    digests: DigestArray
    frames: NDArray[np.uint32]
    offsets: NDArray[np.uint64]

    @property
    def pack_size_bytes(self) -> int:
        """Length that the whole pack must have."""
        return int(self.offsets[-1]) + PACK_TRAILER_SIZE_BYTES

    @classmethod
    def build(
        cls, pack_id: bytes, frames: Mapping[bytes, int], offsets: Sequence[int]
    ) -> PackIndex:
        """The index of a pack whose `frames` maps digest to frame number."""
        digests = digest_array(frames)
        order = np.argsort(digests)
        numbers = np.fromiter(frames.values(), "<u4", len(frames))
        return cls(pack_id, digests[order], numbers[order], np.array(offsets, "<u8"))

    def to_bytes(self) -> bytes:
        """The one text of this index."""
        header = _HEADER.pack(
            INDEX_MAGIC, INDEX_VERSION, 0, self.pack_id, self.pack_size_bytes,
            len(self.digests), len(self.offsets) - 1,
        )  # fmt: skip
        body = header + b"".join(
            [self.digests.tobytes(), self.offsets.tobytes(), self.frames.tobytes()]
        )
        return body + _CHECKSUM.pack(xxh3_64_intdigest(body))

    @classmethod
    def parse(cls, data: bytes, pack_id: bytes, where: str) -> PackIndex:
        """Parse the index of pack `pack_id`.

        Raises
        ------
        FormatError
            A version that this program does not know.
        IntegrityError
            Damaged, cut off, or of another pack; `where` says in the message what it is.
        """
        if len(data) < _FIXED_SIZE_BYTES:
            raise _damaged(where, "it is cut off")
        magic, version, reserved, actual_id, pack_size, n, m = _HEADER.unpack_from(data)
        if magic != INDEX_MAGIC:
            raise _damaged(where, "it is not a pack index")
        if version != INDEX_VERSION or reserved:
            raise FormatError(
                f"{where} has index format {version}, unknown here; update hangar_git"
            )
        # Before anything is made of the counts: they must be those of the bytes at hand.
        if len(data) != _FIXED_SIZE_BYTES + n * (DIGEST_SIZE_BYTES + 4) + m * 8:
            raise _damaged(where, "its length is wrong")
        (checksum,) = _CHECKSUM.unpack_from(data, len(data) - _CHECKSUM.size)
        if xxh3_64_intdigest(memoryview(data)[: -_CHECKSUM.size]) != checksum:
            raise _damaged(where, "its checksum is wrong")
        if actual_id != pack_id:
            raise _damaged(where, f"it is of pack {actual_id.hex()}")
        at = _HEADER.size
        digests: DigestArray = np.frombuffer(data, f"S{DIGEST_SIZE_BYTES}", n, at)
        at += n * DIGEST_SIZE_BYTES
        offsets: NDArray[np.uint64] = np.frombuffer(data, "<u8", m + 1, at)
        frames: NDArray[np.uint32] = np.frombuffer(data, "<u4", n, at + (m + 1) * 8)
        index = cls(actual_id, digests, frames, offsets)
        index._check(pack_size, where)
        return index

    def _check(self, pack_size_bytes: int, where: str) -> None:
        if int(self.offsets[0]) != PACK_HEADER_SIZE_BYTES:
            raise _damaged(where, "the first frame does not follow the header")
        # Compared, not subtracted: unsigned differences would wrap.
        least = self.offsets[:-1] + np.uint64(FRAME_SIZE_MIN_BYTES)
        if (self.offsets[1:] < least).any() or (least < self.offsets[:-1]).any():
            raise _damaged(where, "frames overlap")
        if self.pack_size_bytes != pack_size_bytes:
            raise _damaged(where, "the last frame does not end where the pack does")
        if (self.digests[1:] <= self.digests[:-1]).any():
            raise _damaged(where, "digests are not in ascending order")
        if (self.frames >= len(self.offsets) - 1).any():
            raise _damaged(where, "a digest is in no frame")

    def find(self, wanted: DigestArray) -> tuple[NDArray[np.intp], NDArray[np.uint32]]:
        """Which of `wanted`, ascending and unique, are here: positions in it, and their frames."""
        if not len(wanted) or not len(self.digests):
            return np.empty(0, np.intp), np.empty(0, np.uint32)
        # The longer side is searched, so that many small packs cost no more than one large one.
        if len(wanted) <= len(self.digests):
            at = np.searchsorted(self.digests, wanted)
            at[at == len(self.digests)] = 0
            hits = np.flatnonzero(self.digests[at] == wanted)
            return hits, self.frames[at[hits]]
        at = np.searchsorted(wanted, self.digests)
        at[at == len(wanted)] = 0
        here = np.flatnonzero(wanted[at] == self.digests)
        return at[here], self.frames[here]


def max_index_size_bytes(pack_size_bytes: int) -> int:
    """No index of a pack of this length is longer: each entry stands in the pack, too."""
    return _FIXED_SIZE_BYTES + 2 * pack_size_bytes


def digest_array(digests: Any) -> DigestArray:
    """Digests, of 32 bytes each, as an array in their order."""
    return np.frombuffer(b"".join(digests), f"S{DIGEST_SIZE_BYTES}")


def _damaged(where: str, why: str) -> IntegrityError:
    return IntegrityError(f"{where} is damaged: {why}", where=where)
