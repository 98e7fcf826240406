"""Checking a store: what its containers hold, and whether the index and the bytes agree."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from blake3 import blake3

from ..digest import Digest, digest_prefix
from ..errors import IntegrityError
from ..threads import cpu_count, shared_pool
from .backends import BACKENDS
from .codec import DECODE_ERRORS
from .container import ContainerSpec, StoredGroup, element_count, page_elements
from .index import LOCATOR, Index, locators
from .sharding import ShardReader, fitted_chunks

_TASK_BYTES = 8 << 20


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
        file_map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    # Not closed: views of it may be alive in a thread that failed.
    view = memoryview(file_map)
    tasks = [
        (group, first, last)
        for group in container.groups
        for first, last in _tasks(group)
    ]  # fmt: skip

    def run(task: tuple[StoredGroup, int, int]) -> int:
        return _verify_chunks(container, view, *task)

    alone = (threads or cpu_count()) == 1 or len(tasks) == 1
    for size in map(run, tasks) if alone else shared_pool().map(run, tasks):
        progress(size)


def _tasks(group: StoredGroup) -> Iterator[tuple[int, int]]:
    """Chunks of a group, in parts of some MiB: first and last plus one."""
    ends = np.cumsum(group.lengths)
    first = 0
    while first < len(ends):
        done = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _TASK_BYTES)))
        yield first, last
        first = last


def _verify_chunks(
    container: ScannedContainer, view: memoryview, group: StoredGroup, first: int, last: int
) -> int:
    """Hash the samples in some chunks of a group; bytes read."""
    order = np.argsort(group.chunks, kind="stable")
    bounds = np.searchsorted(group.chunks[order], np.arange(first, last + 1))
    for at, chunk in enumerate(range(first, last)):
        samples = order[bounds[at] : bounds[at + 1]].tolist()
        offset, length = int(group.offsets[chunk]), int(group.lengths[chunk])
        encoded = view[offset : offset + length]
        try:
            if len(encoded) != length:
                raise ValueError("cut off")
            decoded = _decoded(container.spec, encoded, group.shapes[samples[0]].tolist())
        except DECODE_ERRORS:
            container.corrupt.update(group.digests[sample].tobytes() for sample in samples)
            continue
        for sample in samples:
            digest = group.digests[sample].tobytes()
            shape = tuple(group.shapes[sample].tolist())
            if not _is_whole(container.spec, decoded, int(group.places[sample]), shape, digest):
                container.corrupt.add(digest)
    return int(group.lengths[first:last].sum())


def _decoded(spec: ContainerSpec, encoded: memoryview, shape: list[int]) -> memoryview:
    """A decoded chunk; `shape` is that of its first sample."""
    decode = spec.codec.decoder(spec.dtype.itemsize)
    if spec.chunks is not None:
        return _decoded_shard(spec, encoded, tuple(shape))
    if decode is None:
        return encoded
    if spec.codec.needs_size:
        return _decoded_of_size(spec, encoded, element_count(shape))
    return memoryview(decode(bytes(encoded)))


def _decoded_shard(spec: ContainerSpec, encoded: memoryview, shape: tuple[int, ...]) -> memoryview:
    assert spec.chunks is not None

    def read(at: int, size: int) -> bytes:
        start = at if at >= 0 else len(encoded) + at
        return bytes(encoded[start : start + size])

    out = np.empty(shape, spec.dtype)
    decode = spec.codec.decoder(spec.dtype.itemsize)
    ShardReader(shape, spec.dtype, fitted_chunks(spec.chunks, shape), decode, read).whole(out)
    return memoryview(out.reshape(-1).view(np.uint8).data)


def _decoded_of_size(spec: ContainerSpec, encoded: memoryview, count: int) -> memoryview:
    itemsize = spec.dtype.itemsize
    if BACKENDS[spec.backend].paged:
        count = page_elements(count * itemsize, itemsize)
    out = bytearray(count * itemsize)
    decode = spec.codec.decoder(itemsize)
    assert decode is not None
    decode(bytes(encoded), out)
    return memoryview(out)


def _is_whole(
    spec: ContainerSpec, decoded: memoryview, place: int, shape: tuple[int, ...], digest: Digest
) -> bool:
    size = element_count(shape) * spec.dtype.itemsize
    data = decoded[place : place + size]
    hasher = blake3(digest_prefix(spec.kind, spec.dtype, shape))
    hasher.update(data)
    return len(data) == size and hasher.digest() == digest


def scan_all(directory: Path) -> tuple[list[ScannedContainer], list[tuple[Path, IntegrityError]]]:
    """All containers of a directory, and those whose table cannot be trusted."""
    whole, damaged = [], []
    for path in containers_of(directory):
        try:
            whole.append(scanned(path))
        except IntegrityError as error:
            damaged.append((path, error))
    return whole, damaged
