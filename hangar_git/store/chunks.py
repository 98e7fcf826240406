"""Encoded chunks with all that is needed to store their samples elsewhere.

Text: docs/format.md, "Parcels".
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from blake3 import blake3

from ..digest import DIGEST_SIZE_BYTES, Digest, digest_prefix
from ..dtypes import canonical_json
from ..errors import IntegrityError
from .backends import BACKENDS
from .codec import DECODE_ERRORS
from .container import MAX_SHARED_CHUNK_BYTES, ContainerSpec, element_count, page_elements
from .sharding import decode_shard

_HEAD = struct.Struct("<4sI")
_MAGIC = b"HGP1"
_MAX_HEADER_BYTES = 16 << 20
_MAX_RATIO = 4096
_ALWAYS_ALLOWED_BYTES = 64 << 20
"""Chunks may always decode to this much, and beyond it to so many times their encoded size."""


@dataclass(frozen=True)
class EncodedChunk:
    """One encoded chunk, and the samples in it.

    Parameters
    ----------
    spec
        How it is encoded.
    digests, shapes, places
        Of each sample; places are in bytes, in the decoded chunk.
    size_bytes
        Of the decoded chunk.
    data
        Encoded.
    """

    spec: ContainerSpec
    digests: tuple[Digest, ...]
    shapes: tuple[tuple[int, ...], ...]
    places: tuple[int, ...]
    size_bytes: int
    data: bytes | memoryview

    def to_bytes(self) -> bytes:
        """As it travels."""
        header = canonical_json(
            [self.spec.to_json(), [list(s) for s in self.shapes], self.places, self.size_bytes]
        ).encode()
        return b"".join([_HEAD.pack(_MAGIC, len(header)), header, *self.digests, self.data])

    @classmethod
    def parse(cls, data: bytes) -> EncodedChunk:
        """Inverse of `to_bytes`; IntegrityError if it is not that."""
        try:
            return cls._parse(data)
        except (ValueError, TypeError, KeyError, struct.error, RecursionError) as error:
            raise IntegrityError(f"malformed samples: {error}") from error

    @classmethod
    def _parse(cls, data: bytes) -> EncodedChunk:
        magic, header_size = _HEAD.unpack_from(data)
        if magic != _MAGIC or header_size > _MAX_HEADER_BYTES:
            raise ValueError("no header")
        at = _HEAD.size + header_size
        spec_json, shapes, places, size = json.loads(data[_HEAD.size : at])
        spec = _spec(spec_json)
        if spec.backend not in BACKENDS or BACKENDS[spec.backend].sharded != bool(spec.chunks):
            raise ValueError(f"unknown backend {spec.backend!r}")
        end = at + DIGEST_SIZE_BYTES * len(shapes)
        raw = data[at:end]
        digests = tuple(raw[i : i + 32] for i in range(0, len(raw), 32))
        same = shapes[:1] * len(shapes) == shapes
        checked = (_shape(shapes[0]),) * len(shapes) if same and shapes else map(_shape, shapes)
        chunk = cls(
            spec, digests, tuple(checked), tuple(map(_size, places)), _size(size),
            memoryview(data)[end:],
        )  # fmt: skip
        chunk._check()
        return chunk

    def _check(self) -> None:
        if not self.shapes or len(self.places) != len(self.shapes) != len(self.digests):
            raise ValueError("no samples, or not a place for each")
        shared = len(self.shapes) > 1
        if shared and (self.size_bytes > MAX_SHARED_CHUNK_BYTES or self.spec.chunks is not None):
            raise ValueError("too large a chunk for several samples")
        if self.size_bytes > max(_ALWAYS_ALLOWED_BYTES, _MAX_RATIO * len(self.data)):
            raise ValueError(f"{len(self.data)} bytes that claim to be {self.size_bytes}")
        for size, place in zip(self.sizes_bytes(), self.places, strict=True):
            if place + size > self.size_bytes:
                raise ValueError("a sample beyond the end of its chunk")

    def sizes_bytes(self) -> list[int]:
        """Of each sample, decoded."""
        itemsize = self.spec.dtype.itemsize
        known = {shape: element_count(shape) * itemsize for shape in set(self.shapes)}
        return [known[shape] for shape in self.shapes]

    def decoded(self) -> bytes | memoryview:
        """The decoded chunk; IntegrityError if it cannot be decoded to its size."""
        try:
            decoded = self._decoded()
        except DECODE_ERRORS as error:
            raise IntegrityError(f"samples that cannot be decoded: {error}") from error
        if memoryview(decoded).nbytes != self.size_bytes:
            raise IntegrityError("samples that decode to another size than they say")
        return decoded

    def _decoded(self) -> bytes | memoryview:
        spec = self.spec
        decode = spec.codec.decoder(spec.dtype.itemsize)
        if spec.chunks is not None:
            array = decode_shard(self.data, self.shapes[0], spec.dtype, spec.chunks, decode)
            return array.reshape(-1).view(np.uint8).data
        if decode is None:
            return self.data
        if not self.size_bytes:
            return b""  # which codecs encode, and then do not decode
        _refuse_bomb(spec.codec.family, self.data, self.size_bytes)
        target = bytearray(self.size_bytes)
        decode(self.data, target)
        return memoryview(target)

    def verified(self) -> bytes | memoryview:
        """As `decoded`; IntegrityError also if a sample is not what its digest names."""
        decoded = memoryview(self.decoded())
        spec = self.spec
        seeds = {s: blake3(digest_prefix(spec.kind, spec.dtype, s)) for s in set(self.shapes)}
        for digest, shape, place, size in zip(
            self.digests, self.shapes, self.places, self.sizes_bytes(), strict=True
        ):
            hasher = seeds[shape].copy()
            hasher.update(decoded[place : place + size])
            if hasher.digest() != digest:
                raise IntegrityError(f"data that is not that of digest {digest.hex()}",
                                     expected=digest.hex())  # fmt: skip
        return decoded

    def payload(self, decoded: memoryview | bytes, number: int) -> bytes:
        """Bytes of one of its samples."""
        size = element_count(self.shapes[number]) * self.spec.dtype.itemsize
        place = self.places[number]
        return bytes(decoded[place : place + size])


Loose: TypeAlias = tuple[Digest, tuple[int, ...], bytes | memoryview]
"""A sample out of its chunk: digest, shape, payload."""

JOINED_BYTES = 64 << 10
"""Samples that are not encoded travel together up to this size."""


def join(spec: ContainerSpec, samples: Sequence[Loose]) -> EncodedChunk:
    """Samples one after the other, not encoded."""
    places, at = [], 0
    for _, _, data in samples:
        places.append(at)
        at += len(data)
    return EncodedChunk(
        spec, tuple(d for d, _, _ in samples), tuple(s for _, s, _ in samples), tuple(places), at,
        b"".join(data for _, _, data in samples),
    )  # fmt: skip


def joined(spec: ContainerSpec, samples: Iterable[Loose]) -> Iterator[EncodedChunk]:
    """Samples that are not encoded, several together where they are small."""
    part: list[Loose] = []
    size = 0
    for sample in samples:
        length = len(sample[2])
        if part and size + length > JOINED_BYTES:
            yield join(spec, part)
            part, size = [], 0
        part.append(sample)
        size += length
    if part:
        yield join(spec, part)


def _refuse_bomb(family: str, data: bytes | memoryview, size: int) -> None:
    """Raise ValueError if the header of an encoded chunk tells another decoded size."""
    if family == "blosc" and int.from_bytes(data[4:8], "little") != size:
        raise ValueError("it claims another size")


def chunk_size_bytes(spec: ContainerSpec, shapes: Sequence[tuple[int, ...]], end: int) -> int:
    """Decoded size of a chunk whose samples end at byte `end`."""
    itemsize = spec.dtype.itemsize
    if spec.backend == "00" and spec.codec.complib != "none":
        size = max(element_count(shape) for shape in shapes) * itemsize
        return page_elements(size, itemsize) * itemsize
    return end


@lru_cache(256)
def _spec(text: str) -> ContainerSpec:
    return ContainerSpec.from_json(text)


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 48:
        raise ValueError(f"{value!r} is no size")
    return value


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > 64:
        raise TypeError(f"{value!r} is no shape")
    return tuple(map(_size, value))
