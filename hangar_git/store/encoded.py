"""Samples as they are stored: encoded bytes, for who can decode them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..digest import Digest
from .backends import BACKENDS
from .container import ContainerSpec, element_count
from .index import LOCATOR, Index
from .reading import DIRECT_BYTES, SampleReader

_FOUND_AT_ONCE = 1 << 16
_PLAIN_FRAMES = ("none", "blosc", "zstd")
"""Codecs whose chunks are framed in containers as they are everywhere else."""


def common_form(
    index: Index, digests: Sequence[Digest], dtype: np.dtype[Any], shape: tuple[int, ...]
) -> ContainerSpec | None:
    """How samples are encoded that have one chunk each, if all are encoded alike; else None.

    Samples that are not on this machine do not count.
    """
    if element_count(shape) * dtype.itemsize < DIRECT_BYTES:
        return None  # they may share chunks
    specs: dict[str, ContainerSpec] = {}
    seen: set[int] = set()
    for start in range(0, len(digests), _FOUND_AT_ONCE):
        for number in _containers(index, digests[start : start + _FOUND_AT_ONCE]) - seen:
            seen.add(number)
            row = index.container(number)
            if row is None or not _can_pass(row.spec):
                return None
            specs[row.spec.to_json()] = row.spec
        if len(specs) > 1:
            return None
    return next(iter(specs.values()), None)


def _containers(index: Index, digests: Iterable[Digest]) -> set[int]:
    return {LOCATOR.unpack(locator)[1] for locator in index.find(digests).values()}


def _can_pass(spec: ContainerSpec) -> bool:
    backend = BACKENDS[spec.backend]
    if backend.sharded:
        return True
    return not backend.paged and spec.codec.family in _PLAIN_FRAMES and not (
        spec.codec.shuffles_apart
    )  # fmt: skip


def read_encoded(
    reader: SampleReader, digest: Digest, start: int | None = None, stop: int | None = None
) -> bytes:
    """Encoded bytes of a sample that has a chunk of its own, or the slice of them; not verified.

    Raises
    ------
    DataNotLocalError, IntegrityError
        As `SampleReader.read`, but for checksums.
    """
    _, number, length, place, _ = LOCATOR.unpack(
        reader.locators.get(digest) or reader.locate(digest)
    )
    first, last, _ = slice(start, stop).indices(length)
    container = reader.containers.get(number) or reader.open(number, digest)
    return container.pread(max(0, last - first), (place >> 16) + first, digest)
