"""Checking a store: what its containers hold, and whether the index and the bytes agree."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from operator import methodcaller
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from blake3 import blake3

from ..digest import Digest, digest_prefix
from ..errors import IntegrityError
from ..threads import cpu_count, shared_pool
from .backends import BACKENDS
from .codec import DECODE_ERRORS
from .container import ContainerSpec, StoredGroup, element_count, page_elements
from .index import LOCATOR, Index, locators
from .sharding import decode_shard

_TASK_BYTES = 8 << 20
# Without populating, each page is mapped at its first use, which takes as long as hashing it.
_MAP_FLAGS = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)


@dataclass
class ScannedContainer:
    """What one container holds, by its own table.

    Attributes
    ----------
    corrupt
        Digests whose bytes are damaged; empty before `verify`.
    """

    path: Path
    spec: ContainerSpec
    groups: list[StoredGroup]
    size_bytes: int
    corrupt: set[Digest] = field(default_factory=set)

    def digests(self) -> Iterator[Digest]:
        """Of all its samples."""
        for group in self.groups:
            raw = group.digests.tobytes()
            yield from (raw[i : i + 32] for i in range(0, len(raw), 32))

    def shapes(self) -> Iterator[tuple[int, ...]]:
        """Of all its samples, in the order of `digests`."""
        for group in self.groups:
            yield from map(tuple, group.shapes.tolist())

    def stored_sizes(self) -> Iterator[float]:
        """Encoded bytes of each sample, in the order of `digests`: its share of its chunk."""
        for group in self.groups:
            in_chunk = np.bincount(group.chunks.astype(np.int64), minlength=len(group.lengths))
            chunks = group.chunks.astype(np.int64)
            yield from (group.lengths[chunks] / in_chunk[chunks]).tolist()


def containers_of(directory: Path) -> list[Path]:
    """Container files in a directory, by name; others are ignored."""
    return [
        path
        for path in sorted(directory.iterdir())
        if path.name[:2] in BACKENDS and path.name.endswith(BACKENDS[path.name[:2]].suffix)
    ]


def scanned(path: Path) -> ScannedContainer:
    """What a container holds; IntegrityError if its table cannot be trusted."""
    spec, groups = BACKENDS[path.name[:2]].scan(path)
    return ScannedContainer(path, spec, groups, path.stat().st_size)


class IndexFault(NamedTuple):
    """A sample that the index gets wrong: it lacks it, or points to where it is not."""

    digest: Digest
    what: str


def index_faults(index: Index, containers: list[ScannedContainer]) -> list[IndexFault]:
    """Where the index differs from what the containers say of themselves."""
    names = index.names()
    places: dict[Digest, set[tuple[str, bytes]]] = {}
    for container in containers:
        for group in container.groups:
            for digest, locator in locators(0, group):
                places.setdefault(digest, set()).add((container.path.name, locator[5:]))
    faults = []
    for digest, locator in index.all():
        known = places.pop(digest, None)
        number = LOCATOR.unpack(locator)[1] if len(locator) == LOCATOR.size else -1
        if known is None:
            faults.append(IndexFault(digest, "is in no container"))
        elif (names.get(number, ""), locator[5:]) not in known:
            faults.append(IndexFault(digest, "is not where the index says"))
    return faults + [IndexFault(digest, "is not in the index") for digest in places]


def verify(
    container: ScannedContainer, progress: Callable[[int], None], *, threads: int | None = None
) -> None:
    """Hash every sample of a container, and note those that are not what they were.

    Parameters
    ----------
    progress
        Told the bytes of the file that have been read since it was last called.
    threads
        How many hash at once; None for one a processor.
    """
    if not container.size_bytes:
        return
    with container.path.open("rb") as file:
        view = memoryview(mmap.mmap(file.fileno(), 0, _MAP_FLAGS, mmap.PROT_READ))
    tasks = [_Task(container, view, *part) for group in container.groups for part in _parts(group)]
    alone = (threads or cpu_count()) == 1 or len(tasks) == 1
    run = methodcaller("run")
    for size in map(run, tasks) if alone else shared_pool().map(run, tasks):
        progress(size)


def _parts(group: StoredGroup) -> Iterator[tuple[StoredGroup, int, int]]:
    """A group's samples in the order of their chunks, in parts of some MiB: first, last plus one.

    Samples of one chunk are never parted.
    """
    order = np.argsort(group.chunks, kind="stable")
    if np.any(order[1:] < order[:-1]):
        group = replace(
            group,
            **{
                name: getattr(group, name)[order]
                for name in ("digests", "checksums", "chunks", "places", "shapes")
            },
        )
    ends = np.cumsum(group.lengths)
    first, first_chunk = 0, 0
    while first_chunk < len(ends):
        done = int(ends[first_chunk - 1]) if first_chunk else 0
        last_chunk = max(first_chunk + 1, int(np.searchsorted(ends, done + _TASK_BYTES)))
        last = int(np.searchsorted(group.chunks, last_chunk))
        yield group, first, last
        first, first_chunk = last, last_chunk


class _Task:
    """Some samples of a group to be hashed, from number `first` up to `last`."""

    def __init__(
        self,
        container: ScannedContainer,
        view: memoryview,
        group: StoredGroup,
        first: int,
        last: int,
    ) -> None:
        self._container, self._view = container, view
        part = slice(first, last)
        raw = group.digests[part].tobytes()
        self._digests = [raw[i : i + 32] for i in range(0, len(raw), 32)]
        chunks = group.chunks[part]
        self._offsets = group.offsets[chunks].tolist()
        self._lengths = group.lengths[chunks].tolist()
        self._places = group.places[part].tolist()
        self._shapes = list(map(tuple, group.shapes[part].tolist()))

    def run(self) -> int:
        """Hash them all, and note what is corrupt; bytes read."""
        spec, view, corrupt = self._container.spec, self._view, self._container.corrupt
        plain = spec.codec.complib == "none" and spec.chunks is None
        decoded, decoded_at, read = memoryview(b""), -1, 0
        seeds: dict[tuple[int, ...], tuple[Any, int]] = {}
        rows = zip(self._digests, self._offsets, self._lengths, self._places, self._shapes,
                   strict=True)  # fmt: skip
        for digest, offset, length, place, shape in rows:
            if shape not in seeds:
                size = element_count(shape) * spec.dtype.itemsize
                seeds[shape] = blake3(digest_prefix(spec.kind, spec.dtype, shape)), size
            seed, size = seeds[shape]
            if plain:
                data = view[offset + place : offset + place + size]
            else:
                if offset != decoded_at:
                    decoded, decoded_at = (
                        self._decode(view[offset : offset + length], shape),
                        offset,
                    )
                    read += length
                data = decoded[place : place + size]
            # A copy of the seed, and one call that lets go of the interpreter lock.
            hasher = seed.copy()
            hasher.update(data)
            if hasher.digest() != digest or len(data) != size:
                corrupt.add(digest)
        return read or sum(self._lengths)

    def _decode(self, encoded: memoryview, shape: tuple[int, ...]) -> memoryview:
        """A decoded chunk, empty if it cannot be decoded; `shape` is that of its first sample."""
        try:
            return _decoded(self._container.spec, encoded, list(shape))
        except DECODE_ERRORS:
            return memoryview(b"")


def _decoded(spec: ContainerSpec, encoded: memoryview, shape: list[int]) -> memoryview:
    """A decoded chunk; `shape` is that of its first sample."""
    decode = spec.codec.decoder(spec.dtype.itemsize)
    if spec.chunks is not None:
        array = decode_shard(encoded, tuple(shape), spec.dtype, spec.chunks, decode)
        return array.reshape(-1).view(np.uint8).data
    if decode is None:
        return encoded
    if spec.codec.needs_size:
        return _decoded_of_size(spec, encoded, element_count(shape))
    return memoryview(decode(bytes(encoded)))


def _decoded_of_size(spec: ContainerSpec, encoded: memoryview, count: int) -> memoryview:
    itemsize = spec.dtype.itemsize
    if BACKENDS[spec.backend].paged:
        count = page_elements(count * itemsize, itemsize)
    out = bytearray(count * itemsize)
    decode = spec.codec.decoder(itemsize)
    assert decode is not None
    decode(bytes(encoded), out)
    return memoryview(out)


def scan_all(directory: Path) -> tuple[list[ScannedContainer], list[tuple[Path, IntegrityError]]]:
    """All containers of a directory, and those whose table cannot be trusted."""
    whole, damaged = [], []
    for path in containers_of(directory):
        try:
            whole.append(scanned(path))
        except IntegrityError as error:
            damaged.append((path, error))
    return whole, damaged
