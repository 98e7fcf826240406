"""The contract of a backend: a container file, written whole and read by byte range.

A *container* holds many samples and all that is needed to rebuild the index. Its samples lie in
*groups*, and those of a group in *chunks*, each encoded on its own. A backend writes a batch to a
file object, and reads a file's table back; how files reach the disk, and how samples are read, is
the store's business and the same for all.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from ..digest import DIGEST_SIZE_BYTES, Digest
from ..dtypes import canonical_json, dtype_from_json, dtype_to_json
from ..errors import HangarError, IntegrityError
from ..schema import KINDS
from .codec import Codec

CONTAINER_FORMAT = 1

MAX_SHARED_CHUNK_BYTES = 1 << 16
"""Decoded size of chunks that hold several samples, at most: a place in one has 16 bits."""
_PAGE_BYTES = 16 << 10
"""Pages that samples of many shapes share; larger samples have a page of their own."""


@dataclass(frozen=True)
class ContainerSpec:
    """What all samples of one container share.

    Parameters
    ----------
    backend
        Two-character format code.
    kind, dtype
        As in the schema.
    codec
        How its chunks are encoded.
    chunks
        Shape of the chunks that samples are cut into; None where chunks hold whole samples.
    """

    backend: str
    kind: str
    dtype: np.dtype[Any]
    codec: Codec
    chunks: tuple[int, ...] | None = None

    def to_json(self) -> str:
        """The one text of this spec, which every container carries."""
        fields: dict[str, Any] = {
            "format": CONTAINER_FORMAT,
            "backend": self.backend,
            "kind": self.kind,
            "dtype": dtype_to_json(self.dtype),
            "codec": self.codec.to_json(),
        }
        if self.chunks is not None:
            fields["chunks"] = list(self.chunks)
        return canonical_json(fields)

    @classmethod
    def from_json(cls, text: str) -> ContainerSpec:
        """Parse what `to_json` wrote; ValueError if it is not that."""
        fields = json.loads(text)
        try:
            codec, chunks = Codec.parse(fields["codec"]), fields.get("chunks")
            dtype = dtype_from_json(fields["dtype"])
            if fields["kind"] not in KINDS:
                raise ValueError(f"unknown kind {fields['kind']!r}")
            spec = cls(fields["backend"], fields["kind"], dtype, codec,
                       None if chunks is None else tuple(map(int, chunks)))  # fmt: skip
            if spec.chunks is not None and min(spec.chunks, default=1) < 1:
                raise ValueError("chunks are empty")
        except (LookupError, TypeError, AttributeError, HangarError) as error:
            raise ValueError(f"malformed description: {error}") from error
        if spec.to_json() != text:
            raise ValueError(f"not the description of a container of format {CONTAINER_FORMAT}")
        return spec

    @classmethod
    def of_backend(cls, text: object, backend: str) -> ContainerSpec:
        """As `from_json`, for a container that `backend` found; ValueError if of another one."""
        spec = cls.from_json(str(text))
        if spec.backend != backend:
            raise ValueError(f"a container of backend {spec.backend!r}, not {backend!r}")
        return spec


class Table(Protocol):
    """What the checksum of a container's table is taken over."""

    def header(self) -> list[Any]:
        """What tells the group from others of its container, and its chunking, as JSON."""
        ...

    def columns(self) -> dict[str, NDArray[Any]]:
        """Name -> one row for each sample."""
        ...


@dataclass
class Group:
    """Samples of one shape, to be written: every chunk but the last holds as many of them.

    Parameters
    ----------
    shape
        Of every sample.
    samples_per_chunk
        In every chunk but the last.
    chunks
        Encoded bytes of each chunk. Decoded, it is the samples' C-order little-endian bytes one
        after the other; a last chunk that is not full is padded with zeros.
    digests, checksums
        Of each sample: BLAKE3 digest, and xxh3-64 of its bytes.
    """

    shape: tuple[int, ...]
    samples_per_chunk: int
    chunks: list[bytes | memoryview] = field(default_factory=list)
    digests: list[Digest] = field(default_factory=list)
    checksums: list[int] = field(default_factory=list)

    def header(self) -> list[Any]:
        """Shape, and samples to a chunk."""
        return [list(self.shape), self.samples_per_chunk]

    def columns(self) -> dict[str, NDArray[Any]]:
        """Digests, shape (n, 32), and checksums, shape (n,)."""
        digests = np.frombuffer(b"".join(self.digests), np.uint8).reshape(-1, DIGEST_SIZE_BYTES)
        return {"digests": digests, "checksums": np.array(self.checksums, "<u8")}


@dataclass
class PagedGroup(Group):
    """Samples of many shapes, to be written: they follow each other in *pages*, the chunks.

    `shape` is that of a page, in elements, or ``(0,)`` if there are no pages: then the samples lie
    unencoded one after the other, and each is a chunk. A page is padded with zeros at its end.

    Parameters
    ----------
    starts
        First element of each sample, counted over all pages.
    shapes
        Of each sample.
    """

    starts: list[int] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Besides digests and checksums: starts, shape (n,), and shapes, shape (n, rank)."""
        shapes = np.array(self.shapes, "<u8").reshape(len(self.shapes), -1)
        return {**super().columns(), "starts": np.array(self.starts, "<u8"), "shapes": shapes}


@dataclass(frozen=True)
class StoredGroup:
    """A group as it lies in a container file.

    Parameters
    ----------
    offsets, lengths
        Place in the file, in bytes, of each chunk.
    digests, checksums
        Of each sample; shapes (n, 32) and (n,).
    chunks, places
        Of each sample: number of its chunk, and its first byte in the decoded chunk; shape (n,).
    shapes
        Of each sample; shape (n, rank).
    """

    offsets: NDArray[np.uint64]
    lengths: NDArray[np.uint64]
    digests: NDArray[np.uint8]
    checksums: NDArray[np.uint64]
    chunks: NDArray[np.uint64]
    places: NDArray[np.uint64]
    shapes: NDArray[np.uint64]

    def __post_init__(self) -> None:
        n = len(self.digests)
        if any(len(column) != n for column in (self.checksums, self.chunks, self.shapes)):
            raise ValueError("the columns of its table differ in length")
        if len(self.offsets) != len(self.lengths) or int(self.chunks.max(initial=0)) >= max(
            len(self.offsets), 1
        ):
            raise ValueError("its table does not fit its chunks")

    @classmethod
    def fixed(
        cls,
        shape: Sequence[int],
        samples_per_chunk: int,
        sample_size_bytes: int,
        offsets: NDArray[np.uint64],
        lengths: NDArray[np.uint64],
        columns: dict[str, NDArray[Any]],
    ) -> StoredGroup:
        """What became of a `Group`."""
        n = len(columns["digests"])
        if samples_per_chunk < 1 or len(offsets) != -(-n // samples_per_chunk):
            raise ValueError("its table does not fit the number of chunks")
        number = np.arange(n, dtype=np.uint64)
        return cls(
            offsets,
            lengths,
            columns["digests"],
            columns["checksums"],
            number // np.uint64(samples_per_chunk),
            number % np.uint64(samples_per_chunk) * np.uint64(sample_size_bytes),
            np.broadcast_to(np.array(shape, np.uint64), (n, len(shape))),
        )


class Backend(ABC):
    """One container format."""

    code: str
    suffix: str
    paged = False
    """Whether its groups are `PagedGroup`, for samples of many shapes."""
    sharded = False
    """Whether samples are cut into chunks, so that a part can be read: see `sharding`."""

    @abstractmethod
    def write(self, file: BinaryIO, spec: ContainerSpec, groups: Sequence[Group]) -> None:
        """Write a container to `file`, which is empty, readable and seekable."""

    @abstractmethod
    def scan(self, path: Path) -> tuple[ContainerSpec, list[StoredGroup]]:
        """What a container file holds, from its own table.

        Raises
        ------
        IntegrityError
            The file is cut off or damaged, so that its table cannot be trusted.
        """


def table_checksum(spec_json: str, tables: Sequence[tuple[list[Any], dict[str, Any]]]) -> int:
    """xxh3-64 over a container's table: spec; then header and columns of each group."""
    parts = [spec_json.encode()]
    for header, columns in tables:
        parts.append(canonical_json(header).encode())
        parts += [columns[name].tobytes() for name in sorted(columns)]
    return xxh3_64_intdigest(b"\0".join(parts))


def page_elements(size_bytes: int, itemsize: int) -> int:
    """The size of the page, in elements, that a sample of `size_bytes` lies in.

    Small samples share pages of 16 KiB. Others have a page of their own, of the next size in steps
    of a quarter of a power of two, so that there are few sizes and little padding.
    """
    if size_bytes <= _PAGE_BYTES // 2:
        return max(1, _PAGE_BYTES // itemsize)
    count = size_bytes // itemsize
    step = 1 << max(0, count.bit_length() - 3)
    return -(-count // step) * step


def shape_name(shape: Sequence[int]) -> str:
    """The name that groups of a container have: ``28x31``, or ``scalar``."""
    return "x".join(map(str, shape)) or "scalar"


def element_count(shape: Sequence[int]) -> int:
    """Number of elements of a sample."""
    return math.prod(shape)


def damaged(path: Path, why: object) -> IntegrityError:
    """The error for a container whose table cannot be read."""
    return IntegrityError(f"container {path} is damaged: {why}", where=str(path))
