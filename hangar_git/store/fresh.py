"""Samples that were just encoded, as they travel: what has gone into no container."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..digest import Digest
from .chunks import EncodedChunk, Loose, joined
from .codec import NONE
from .container import ContainerSpec, Group, PagedGroup, element_count


class _Placed(NamedTuple):
    """A sample, and where it lies in its decoded chunk, in bytes."""

    digest: Digest
    shape: tuple[int, ...]
    place: int


def encoded_chunks(spec: ContainerSpec, groups: Sequence[Group]) -> Iterator[EncodedChunk]:
    """The chunks of groups as `SampleWriter.take` gives them; unencoded small ones are joined."""
    if spec.codec == NONE and spec.chunks is None:
        yield from joined(spec, _plain(spec, groups))
        return
    for group in groups:
        size = group.samples_per_chunk * element_count(group.shape) * spec.dtype.itemsize
        for number, samples in _by_chunk(spec, group):
            digests, shapes, places = zip(*samples, strict=True)
            yield EncodedChunk(spec, digests, shapes, places, size, group.chunks[number])


def _plain(spec: ContainerSpec, groups: Sequence[Group]) -> Iterator[Loose]:
    itemsize = spec.dtype.itemsize
    for group in groups:
        for number, samples in _by_chunk(spec, group):
            chunk = group.chunks[number]
            for digest, shape, place in samples:
                yield digest, shape, chunk[place : place + element_count(shape) * itemsize]


def _by_chunk(spec: ContainerSpec, group: Group) -> list[tuple[int, list[_Placed]]]:
    """Numbers of a group's chunks, and the samples in each."""
    found: defaultdict[int, list[_Placed]] = defaultdict(list)
    if not isinstance(group, PagedGroup):
        size = element_count(group.shape) * spec.dtype.itemsize
        for row, digest in enumerate(group.digests):
            number, before = divmod(row, group.samples_per_chunk)
            found[number].append(_Placed(digest, group.shape, before * size))
        return sorted(found.items())
    (page,) = group.shape
    rows = zip(group.digests, group.shapes, group.starts, strict=True)
    for row, (digest, shape, start) in enumerate(rows):
        number, before = divmod(start, page) if page else (row, 0)
        found[number].append(_Placed(digest, shape, before * spec.dtype.itemsize))
    return sorted(found.items())
