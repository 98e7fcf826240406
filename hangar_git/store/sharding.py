"""Shards: one large sample, cut into N-d chunks, so that a part can be read alone.

The binary form is that of Zarr v3's ``sharding_indexed`` codec: encoded chunks, each followed by
its crc32c; then for each chunk of the grid, in C order, its offset and length as little-endian
8-byte integers; then the crc32c of that index. Chunks at the border are padded with zeros to their
full shape.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError, OutOfRangeError
from .codec import Decode, Encode

_CHUNK_BYTES = 1 << 20
_LEADING = 8
"""Leading axes are halved down to this first: people read slabs of slices more often than
columns, and a slab of 16 then touches at most one and a half times its own bytes."""
_CRC_SIZE = 4

ReadRange = Callable[[int, int], bytes]
"""(offset in the shard, or from its end if negative; length) -> bytes."""


def default_chunks(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """The shape of chunks for samples of `shape`: about 1 MiB, whole in the last axes if it can be.

    >>> default_chunks((128, 256, 256), 4)
    (8, 128, 256)
    """
    chunks = list(shape)
    for axis, least in [(a, _LEADING) for a in range(len(chunks))] + [
        (a, 1) for a in range(len(chunks))
    ]:
        while math.prod(chunks) * itemsize > _CHUNK_BYTES and chunks[axis] > least:
            chunks[axis] = max(least, -(-chunks[axis] // 2))
    return tuple(chunks)


def fitted_chunks(chunks: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """`chunks` for samples of `shape`: nowhere larger than the sample."""
    return tuple(min(c, s) for c, s in zip(chunks, shape, strict=True))


def grid_of(shape: Sequence[int], chunks: Sequence[int]) -> tuple[int, ...]:
    """How many chunks there are along each axis."""
    return tuple(-(-s // c) for s, c in zip(shape, chunks, strict=True))


def encode_shard(array: NDArray[Any], chunks: Sequence[int], encode: Encode) -> bytes:
    """One sample as a shard."""
    parts: list[bytes] = []
    index: list[int] = []
    at = 0
    for place in _places(array.shape, chunks):
        part = array[_index(place)]
        if part.shape != tuple(chunks):
            whole = np.zeros(chunks, array.dtype)
            whole[_index(map(slice, part.shape))] = part
            part = whole
        encoded = encode(part.tobytes())
        parts += [encoded, _crc(encoded)]
        index += [at, len(encoded) + _CRC_SIZE]
        at += index[-1]
    table = np.array(index, "<u8").tobytes()
    return b"".join([*parts, table, _crc(table)])


def _places(shape: Sequence[int], chunks: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """What each chunk covers of the sample, in C order of the grid."""
    starts = [range(0, s, c) for s, c in zip(shape, chunks, strict=True)]
    for start in itertools.product(*starts):
        yield tuple(slice(a, a + c) for a, c in zip(start, chunks, strict=True))


def _index(slices: Iterable[slice]) -> Any:
    """An index that gives an array, also of no dimensions."""
    return (*slices, ...)


def _crc(data: bytes) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(_CRC_SIZE, "little")


class ShardReader(NamedTuple):
    """Reads a shard of a sample of `shape` and `dtype`.

    Its methods raise ValueError or the codec's errors if the shard is damaged.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    decode: Decode | None
    read: ReadRange

    def read_index(self) -> NDArray[np.uint64]:
        """Offset and length of every chunk; shape (number of chunks, 2)."""
        count = math.prod(grid_of(self.shape, self.chunks))
        size = 16 * count + _CRC_SIZE
        data = self.read(-size, size)
        if len(data) != size or _crc(data[:-_CRC_SIZE]) != data[-_CRC_SIZE:]:
            raise ValueError("the shard's index does not match its checksum")
        return np.frombuffer(data[:-_CRC_SIZE], "<u8").reshape(count, 2)

    def whole(self, out: NDArray[Any]) -> None:
        """Decode everything into `out`, of this shape and dtype. Chunks are not checked."""
        index = self.read_index()
        if not len(index):
            return
        data = memoryview(self.read(0, int(index.sum(axis=1).max())))
        for (at, length), place in zip(
            index.tolist(), _places(self.shape, self.chunks), strict=True
        ):
            self._decode_into(data[at : at + length - _CRC_SIZE], out[_index(place)])

    def _decode_into(self, encoded: Any, target: NDArray[Any]) -> None:
        if target.shape == self.chunks and target.flags.c_contiguous and self.decode is not None:
            self.decode(bytes(encoded), target.reshape(-1).view(np.uint8))
        else:
            target[...] = self._chunk(encoded)[_index(map(slice, target.shape))]

    def _chunk(self, encoded: Any) -> NDArray[Any]:
        if self.decode is None:
            return np.frombuffer(encoded, self.dtype).reshape(self.chunks)
        chunk = np.empty(self.chunks, self.dtype)
        self.decode(bytes(encoded), chunk.reshape(-1).view(np.uint8))
        return chunk

    def part(self, selection: Sequence[slice]) -> NDArray[Any]:
        """What `selection` (one slice an axis, all steps positive) selects; each chunk checked."""
        axes = [
            _axis_pieces(s, n, c)
            for s, n, c in zip(selection, self.shape, self.chunks, strict=True)
        ]
        sizes = [len(range(*s.indices(n))) for s, n in zip(selection, self.shape, strict=True)]
        out = np.empty(sizes, self.dtype)
        grid = grid_of(self.shape, self.chunks)
        pieces = []
        for piece in itertools.product(*axes):
            number = 0
            for one, n in zip(piece, grid, strict=True):
                number = number * n + one.chunk
            pieces.append((number, piece))
        encoded = self._read_chunks([number for number, _ in pieces], self.read_index())
        for number, piece in pieces:
            data = encoded[number]
            if _crc(bytes(data[:-_CRC_SIZE])) != bytes(data[-_CRC_SIZE:]):
                raise ValueError("a chunk does not match its checksum")
            chunk = self._chunk(data[:-_CRC_SIZE])
            source = chunk[_index(p.source for p in piece)]
            out[_index(p.target for p in piece)] = source
        return out

    def _read_chunks(
        self, numbers: Sequence[int], index: NDArray[np.uint64]
    ) -> dict[int, memoryview]:
        """Encoded chunks by number; neighbours in the file are read at once."""
        found: dict[int, memoryview] = {}
        runs: list[tuple[int, int, list[tuple[int, int, int]]]] = []
        for number in sorted(numbers, key=lambda n: int(index[n, 0])):
            at, length = (int(v) for v in index[number])
            if runs and runs[-1][1] == at:
                start, _, members = runs.pop()
            else:
                start, members = at, []
            runs.append((start, at + length, [*members, (number, at, length)]))
        for start, end, members in runs:
            data = memoryview(self.read(start, end - start))
            if len(data) != end - start:
                raise ValueError("the shard is cut off")
            for number, at, length in members:
                found[number] = data[at - start : at - start + length]
        return found


def decode_shard(
    data: bytes | memoryview,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    chunks: tuple[int, ...],
    decode: Decode | None,
) -> NDArray[Any]:
    """The sample of a shard that is in memory; ValueError or the codec's errors if damaged."""

    def read(at: int, size: int) -> bytes:
        start = at if at >= 0 else len(data) + at
        return bytes(data[start : start + size])

    out = np.empty(shape, dtype)
    ShardReader(shape, dtype, fitted_chunks(chunks, shape), decode, read).whole(out)
    return out


class _Piece(NamedTuple):
    """Of one axis of a selection, what lies in one chunk."""

    chunk: int
    source: slice
    target: slice


def _axis_pieces(selection: slice, size: int, chunk_size: int) -> list[_Piece]:
    start, stop, step = selection.indices(size)
    count = len(range(start, stop, step))
    pieces, done = [], 0
    while done < count:
        at = start + done * step
        chunk = at // chunk_size
        first = at - chunk * chunk_size
        n = min(count - done, -(-(chunk_size - first) // step))
        pieces.append(
            _Piece(chunk, slice(first, first + (n - 1) * step + 1, step), slice(done, done + n))
        )
        done += n
    return pieces


class Selection(NamedTuple):
    """A basic NumPy index of ints, slices and an ellipsis, made plain.

    Parameters
    ----------
    slices
        One for each axis; all steps positive.
    after
        Index that makes of these slices' result what was asked for.
    """

    slices: tuple[slice, ...]
    after: tuple[Any, ...]

    @classmethod
    def of(cls, index: object, shape: tuple[int, ...]) -> Selection:
        """The selection that `index` asks for in a sample of `shape`.

        Raises
        ------
        InvalidInputError
            Anything but ints, slices and one ellipsis; more of them than axes.
        OutOfRangeError
            An int that is out of range.
        """
        parts = list(index) if isinstance(index, tuple) else [index]
        ellipses = [i for i, part in enumerate(parts) if part is Ellipsis]
        if len(ellipses) > 1 or len(parts) - len(ellipses) > len(shape):
            raise InvalidInputError(f"index {index!r} does not fit a sample of shape {shape}")
        at = ellipses[0] if ellipses else len(parts)
        free = len(shape) - (len(parts) - len(ellipses))
        parts[at : at + 1] = [slice(None)] * free
        slices, after = [], []
        for part, size in zip(parts, shape, strict=True):
            one, then = _plain_slice(part, size)
            slices.append(one)
            after.append(then)
        return cls(tuple(slices), tuple(after))


def _plain_slice(part: object, size: int) -> tuple[slice, Any]:
    if isinstance(part, slice):
        try:
            start, stop, step = part.indices(size)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"{part!r} is not a slice of integers: {error}") from error
        if step > 0:
            return slice(start, stop, step), slice(None)
        taken = range(start, stop, step)
        if not taken:
            return slice(0, 0, 1), slice(None)
        return slice(taken[-1], taken[0] + 1, -step), slice(None, None, -1)
    if isinstance(part, int | np.integer) and not isinstance(part, bool):
        number = int(part)
        if not -size <= number < size:
            raise OutOfRangeError(f"index {number} is out of range for an axis of size {size}")
        number %= size
        return slice(number, number + 1), 0
    raise InvalidInputError(f"samples are sliced by ints, slices and '...', not {part!r}")
