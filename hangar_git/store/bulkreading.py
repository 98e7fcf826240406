"""Reading many samples at once: in the order of the file, neighbours with one system call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from ..digest import Digest
from ..errors import DataNotLocalError, IntegrityError
from ..threads import shared_pool
from .container import element_count
from .index import LOCATOR_DTYPE
from .reading import DIRECT_BYTES, MISMATCH, OpenContainer, SampleReader, damaged_sample

_RUN_BYTES = 1 << 20
_GAP_BYTES = 4 << 10
"""Chunks that lie this near in a file are read with one system call, up to 1 MiB together."""

Array = NDArray[Any]
_Place: TypeAlias = tuple[int, int, int, int, int, int]
"""Container, chunk offset, chunk length, place in the chunk, checksum, number in the batch."""


class BulkReader:
    """Reads batches; shares what `reader` keeps.

    Its methods raise what `SampleReader.read` does; and `threads` says how many decode at once,
    where samples are large enough for that to help.
    """

    def __init__(self, reader: SampleReader) -> None:
        self.reader = reader

    def read_many(
        self,
        digests: Sequence[Digest],
        dtype: np.dtype[Any],
        shapes: Sequence[tuple[int, ...]],
        threads: int = 1,
    ) -> list[Array]:
        """As `SampleReader.read`, for samples of these digests and shapes."""
        batch = _Separate(digests, dtype, shapes)
        self._fill(batch, threads)
        return batch.found

    def read_stacked(
        self,
        digests: Sequence[Digest],
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        threads: int = 1,
    ) -> Array:
        """Samples of one shape, as one array of shape (n, *shape)."""
        batch = _Stacked(digests, dtype, shape)
        self._fill(batch, threads)
        return batch.stacked

    def _fill(self, batch: _Separate | _Stacked, threads: int) -> None:
        try:
            self._fill_once(batch, threads)
        except (IntegrityError, DataNotLocalError):
            self.reader.again(lambda: self._fill_once(batch, threads))

    def _fill_once(self, batch: _Separate | _Stacked, threads: int) -> None:
        places, sizes = self._places(batch.digests), batch.sizes
        sharded = {
            number
            for number, digest in {p[0]: batch.digests[p[5]] for p in places}.items()
            if self._container(number, digest).sharded
        }
        if not sharded and max(sizes, default=0) < DIRECT_BYTES:
            self._gather_small(places, batch)
            return
        large = [p for p in places if sizes[p[5]] >= DIRECT_BYTES or p[0] in sharded]
        small = [p for p in places if sizes[p[5]] < DIRECT_BYTES and p[0] not in sharded]
        self._gather_small(small, batch)

        def read(part: Iterable[_Place]) -> None:
            for place in part:
                self._read_large(place, batch)

        if threads <= 1 or len(large) < 2:
            read(large)
            return
        step = -(-len(large) // threads)
        parts = [large[i : i + step] for i in range(0, len(large), step)]
        for future in [shared_pool().submit(read, part) for part in parts]:
            future.result()

    def _places(self, digests: Sequence[Digest]) -> list[_Place]:
        """Where samples lie, in the order of the files."""
        reader, known = self.reader, self.reader.locators
        unknown = {digest for digest in digests if digest not in known}
        if unknown:
            reader.remember_many(reader.index.find(sorted(unknown)))
        rows = np.frombuffer(
            b"".join([known.get(digest) or reader.locate(digest) for digest in digests]),
            LOCATOR_DTYPE,
        )
        place = rows["place"]
        order = np.lexsort((place, rows["container"]))
        columns = (
            rows["container"], place >> np.uint64(16), rows["length"], place & np.uint64(0xFFFF),
            rows["xxh3"],
        )  # fmt: skip
        return list(
            zip(*(column[order].tolist() for column in columns), order.tolist(), strict=True)
        )

    def _container(self, number: int, digest: Digest) -> OpenContainer:
        return self.reader.containers.get(number) or self.reader.open(number, digest)

    # -- large samples, each with a chunk of its own -------------------------------------------

    def _read_large(self, place: _Place, batch: _Separate | _Stacked) -> None:
        number, offset, length, start, checksum, sample = place
        digest, shape = batch.digests[sample], batch.shape_of(sample)
        container = self._container(number, digest)
        raw = self.reader.large(
            container, offset, length, start, digest, batch.dtype, shape, batch.target(sample)
        )
        if xxh3_64_intdigest(raw.data) != checksum:
            raise damaged_sample(container.path, offset, digest, MISMATCH)
        batch.take_large(sample, raw)

    # -- small samples, which share chunks -----------------------------------------------------

    def _gather_small(self, places: Sequence[_Place], batch: _Separate | _Stacked) -> None:
        reader, digests, sizes, take = self.reader, batch.digests, batch.sizes, batch.take_small
        chunks, checksum_of = reader.chunks, xxh3_64_intdigest
        ahead: dict[tuple[int, int], bytes] = {}
        chunk, at_hand = b"", (-1, -1)
        for at, (number, offset, _, place, checksum, sample) in enumerate(places):
            size = sizes[sample]
            if not size:
                take(sample, b"")
                continue
            if (number, offset) != at_hand:  # neighbours often share a chunk
                at_hand = number, offset
                found = chunks.get(at_hand)
                if found is None:
                    container = self._container(number, digests[sample])
                    if at_hand not in ahead:
                        ahead = self._read_run(container, places, at, digests[sample])
                    found = ahead[at_hand]
                    if container.decode is not None:
                        found = reader.decoded_chunk(
                            container, number, offset, found, size, digests[sample]
                        )
                chunk = found
            data = chunk[place : place + size]
            if checksum_of(data) != checksum or len(data) != size:
                path = self._container(number, digests[sample]).path
                raise damaged_sample(path, offset, digests[sample], MISMATCH)
            take(sample, data)

    def _read_run(
        self, container: OpenContainer, places: Sequence[_Place], at: int, digest: Digest
    ) -> dict[tuple[int, int], bytes]:
        """Encoded chunks of the samples from number `at` on, as far as they lie together."""
        number, start, length, _, _, _ = places[at]
        end = start + length
        members = {start: length}
        last = start
        while (at := at + 1) < len(places):
            other_number, offset, length, _, _, _ = places[at]
            if offset == last and other_number == number:
                continue  # neighbours often share a chunk
            last = offset
            if other_number != number or offset > end + _GAP_BYTES or end - start > _RUN_BYTES:
                break
            if offset not in members and (number, offset) not in self.reader.chunks:
                members[offset] = length
                end = max(end, offset + length)
        data = container.pread(end - start, start, digest)
        return {(number, o): data[o - start : o - start + n] for o, n in members.items()}


class _Separate:
    """A batch read into arrays of their own."""

    def __init__(
        self, digests: Sequence[Digest], dtype: np.dtype[Any], shapes: Sequence[tuple[int, ...]]
    ) -> None:
        self.digests, self.dtype, self._shapes = digests, dtype, shapes
        itemsize = dtype.itemsize
        self.sizes = [element_count(shape) * itemsize for shape in shapes]
        self.found: list[Any] = [None] * len(digests)

    def shape_of(self, sample: int) -> tuple[int, ...]:
        return self._shapes[sample]

    def target(self, sample: int) -> None:  # noqa: ARG002
        return None

    def take_small(self, sample: int, data: bytes) -> None:
        self.found[sample] = np.frombuffer(data, self.dtype).reshape(self._shapes[sample]).copy()

    def take_large(self, sample: int, raw: NDArray[np.uint8]) -> None:
        self.found[sample] = raw.view(self.dtype).reshape(self._shapes[sample])


class _Stacked:
    """A batch of one shape, read into one array."""

    def __init__(
        self, digests: Sequence[Digest], dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> None:
        self.digests, self.dtype, self._shape = digests, dtype, shape
        self._size = element_count(shape) * dtype.itemsize
        self.sizes = [self._size] * len(digests)
        self.stacked = np.empty((len(digests), *shape), dtype)
        self._rows = self.stacked.reshape(-1).view(np.uint8).reshape(len(digests), self._size)
        self._bytes = self._rows.reshape(-1).data

    def shape_of(self, sample: int) -> tuple[int, ...]:  # noqa: ARG002
        return self._shape

    def target(self, sample: int) -> NDArray[np.uint8]:
        row: NDArray[np.uint8] = self._rows[sample]
        return row

    def take_small(self, sample: int, data: bytes) -> None:
        at = sample * self._size
        self._bytes[at : at + self._size] = data

    def take_large(self, sample: int, raw: NDArray[np.uint8]) -> None:
        row = self._rows[sample]
        if not np.may_share_memory(raw, row):
            row[:] = raw
