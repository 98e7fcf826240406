"""Taking in samples that came: verified, kept encoded where that fits, made containers of."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeAlias

import numpy as np
from xxhash import xxh3_64_intdigest

from ..digest import Digest
from ..errors import IntegrityError
from ..store.backends import BACKENDS
from ..store.chunks import EncodedChunk, chunk_size_bytes
from ..store.codec import NONE
from ..store.container import ContainerSpec, Group, PagedGroup, element_count
from ..store.growing import samples_per_chunk
from ..store.rewriting import Gathering, Target
from ..store.store import FLUSH_BYTES, Store
from ..transfer.samples import Parcel

_FLUSH_SAMPLES = 1 << 15
"""Each may change a page of the index, which stays in memory until all are written: 4 KiB."""

_GroupKey: TypeAlias = tuple[ContainerSpec, tuple[int, ...], int]
"""What all chunks of a group have in common: the last is their number of samples."""


def opened(parcel: Parcel) -> tuple[EncodedChunk, memoryview]:
    """The chunk that came, and what it decodes to; each sample was hashed.

    Raises
    ------
    IntegrityError
        It does not hold what it says.
    """
    chunk = EncodedChunk.parse(parcel.data)
    if chunk.digests != tuple(parcel.digests):
        raise IntegrityError("a parcel that holds other samples than it says")
    return chunk, memoryview(chunk.verified())


class Intake:
    """Collects chunks that came, and makes containers of them while others come.

    A context manager: at its end everything that was taken is durable, also if an error ends it.

    Parameters
    ----------
    store
        Where the containers go.

    Attributes
    ----------
    count
        Samples that were taken, those included that were there.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._groups: dict[_GroupKey, Group] = {}
        self._others = Gathering()
        self._held: set[Digest] = set()
        self._held_bytes = 0
        # One at a time: what waits beside it is all the memory that this takes.
        self._writer = ThreadPoolExecutor(1, "hangar-intake")
        self._writing: Future[None] | None = None
        self._being_written: set[Digest] = set()
        self.count = 0

    def take(self, parcel: Parcel) -> None:
        """Verify one parcel, and keep it for the next containers.

        Raises
        ------
        IntegrityError
            It does not hold what it says.
        StorageError
            The disk refused what came before it.
        """
        chunk, decoded = opened(parcel)
        self.count += len(chunk.digests)
        held, being_written = self._held, self._being_written
        lacking = self._store.missing(chunk.digests)
        new = [d for d in lacking if d not in held and d not in being_written]
        if not new:
            return
        self._held.update(new)
        per_chunk = _samples_per_chunk(chunk) if len(new) == len(chunk.digests) else 0
        if per_chunk:
            self._keep(chunk, decoded, per_chunk)
        else:
            self._repack(chunk, decoded, set(new))
        self._held_bytes += chunk.size_bytes
        if self._held_bytes > FLUSH_BYTES or len(self._held) > _FLUSH_SAMPLES:
            self._flush()

    def _keep(self, chunk: EncodedChunk, decoded: memoryview, per_chunk: int) -> None:
        """Take a chunk in as it is."""
        sizes = chunk.sizes_bytes()
        group = self._group_for(chunk, per_chunk)
        if isinstance(group, PagedGroup):
            itemsize = chunk.spec.dtype.itemsize
            before = len(group.chunks) * group.shape[0]
            group.starts += [before + place // itemsize for place in chunk.places]
            group.shapes += chunk.shapes
        payloads = [
            decoded[place : place + size] for place, size in zip(chunk.places, sizes, strict=True)
        ]
        if per_chunk == len(payloads) or chunk.spec.backend == "10":  # which joins them anyway
            group.chunks.append(chunk.data)
        else:  # it is not encoded: its samples are chunks themselves
            group.chunks += payloads
        group.digests += chunk.digests
        group.checksums += map(xxh3_64_intdigest, payloads)

    def _group_for(self, chunk: EncodedChunk, per_chunk: int) -> Group:
        spec = chunk.spec
        if BACKENDS[spec.backend].paged:
            shape: tuple[int, ...] = (chunk.size_bytes // spec.dtype.itemsize,)
            key = spec, shape, 0
            return self._groups.setdefault(key, PagedGroup(shape, 1))
        shape = chunk.shapes[0]
        return self._groups.setdefault((spec, shape, per_chunk), Group(shape, per_chunk))

    def _repack(self, chunk: EncodedChunk, decoded: memoryview, wanted: set[Digest]) -> None:
        """Take those of its samples in that are wanted, to be encoded anew with others."""
        for number, digest in enumerate(chunk.digests):
            if digest in wanted:
                schema = Target().schema(chunk.spec, chunk.shapes[number])
                payload = np.frombuffer(chunk.payload(decoded, number), chunk.spec.dtype)
                self._others.put(schema, digest, payload.reshape(chunk.shapes[number]))

    def _flush(self) -> None:
        """Begin to make containers of all that was taken, once the ones before are made."""
        self._wait()
        by_spec: defaultdict[ContainerSpec, list[tuple[ContainerSpec, list[Group]]]]
        by_spec = defaultdict(list)
        for (spec, _, _), group in self._groups.items():
            backend = BACKENDS[spec.backend]
            held = by_spec[spec]
            if held and (backend.paged or backend.sharded):
                held[0][1].append(group)
            else:
                held.append((spec, [group]))
        parts = [part for held in by_spec.values() for part in held] + self._others.take()
        self._being_written, self._held = self._held, set()
        self._groups = {}
        self._held_bytes = 0
        if parts:
            self._writing = self._writer.submit(self._store.take_in, parts)

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        try:
            if writing is not None:
                writing.result()
                self._store.close()  # so that what was looked up before is looked up again
        finally:
            self._being_written = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._flush()
            self._wait()
        finally:
            self._writer.shutdown()


def _samples_per_chunk(chunk: EncodedChunk) -> int:
    """How many samples a chunk of the container may have that takes this one in; 0: none may.

    Not 0 if it is as our own writers make them, or can be parted into such.
    """
    spec, itemsize = chunk.spec, chunk.spec.dtype.itemsize
    count = len(chunk.digests)
    if spec.chunks is not None:
        return count
    if BACKENDS[spec.backend].paged:
        aligned = all(place % itemsize == 0 for place in chunk.places)
        whole = chunk.size_bytes == chunk_size_bytes(spec, chunk.shapes, 0)
        return count if spec.codec != NONE and aligned and whole else 0
    shape = chunk.shapes[0]
    size = element_count(shape) * itemsize
    in_order = all(place == number * size for number, place in enumerate(chunk.places))
    if not in_order or set(chunk.shapes) != {shape} or chunk.size_bytes != count * size:
        return 0
    natural = samples_per_chunk(spec.backend, size, spec.codec)
    return natural if count == natural or (natural == 1 and spec.codec == NONE) else 0
