"""The contract of a backend: a container file, written whole and read by byte range.

A *container* holds many samples and all that is needed to rebuild the index. Its samples lie in
*groups* of one shape; a group's samples lie in chunks of `samples_per_chunk` (fewer in the last).
A backend writes a batch to a file object, and reads a file's table back; how files reach the disk,
and how samples are read, is the store's business and the same for all.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from ..digest import DIGEST_SIZE_BYTES, Digest
from ..dtypes import canonical_json, dtype_from_json, dtype_to_json
from ..errors import HangarError, IntegrityError
from .codec import Codec

CONTAINER_FORMAT = 1


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
    """

    backend: str
    kind: str
    dtype: np.dtype[Any]
    codec: Codec

    def to_json(self) -> str:
        """The one text of this spec, which every container carries."""
        return canonical_json(
            {
                "format": CONTAINER_FORMAT,
                "backend": self.backend,
                "kind": self.kind,
                "dtype": dtype_to_json(self.dtype),
                "codec": self.codec.to_json(),
            }
        )

    @classmethod
    def from_json(cls, text: str, backend: str) -> ContainerSpec:
        """Parse what `to_json` wrote for a container of `backend`; ValueError if it is not that."""
        fields = json.loads(text)
        try:
            codec = Codec.parse(fields["codec"])
            spec = cls(backend, fields["kind"], dtype_from_json(fields["dtype"]), codec)
        except (LookupError, TypeError, AttributeError, HangarError) as error:
            raise ValueError(f"malformed description: {error}") from error
        if spec.to_json() != text:
            raise ValueError(f"not a container of backend {backend}, format {CONTAINER_FORMAT}")
        return spec


@dataclass
class Group:
    """Samples of one shape, to be written.

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
    chunks: list[bytes] = field(default_factory=list)
    digests: list[Digest] = field(default_factory=list)
    checksums: list[int] = field(default_factory=list)

    def table(self) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
        """Digests, shape (n, 32), and checksums, shape (n,), as containers store them."""
        digests = np.frombuffer(b"".join(self.digests), np.uint8).reshape(-1, DIGEST_SIZE_BYTES)
        return digests, np.array(self.checksums, "<u8")


@dataclass(frozen=True)
class StoredGroup:
    """A group as it lies in a container file.

    Parameters
    ----------
    shape, samples_per_chunk
        As in `Group`.
    offsets, lengths
        Place in the file, in bytes, of each chunk.
    digests, checksums
        Shapes (n, 32) and (n,).
    """

    shape: tuple[int, ...]
    samples_per_chunk: int
    offsets: NDArray[np.uint64]
    lengths: NDArray[np.uint64]
    digests: NDArray[np.uint8]
    checksums: NDArray[np.uint64]

    def __post_init__(self) -> None:
        n = len(self.digests)
        if len(self.checksums) != n or len(self.offsets) != -(-n // self.samples_per_chunk):
            raise ValueError("the table does not fit the number of chunks")


class Backend(ABC):
    """One container format."""

    code: str
    suffix: str

    @abstractmethod
    def write(self, file: BinaryIO, spec: ContainerSpec, groups: list[Group]) -> None:
        """Write a container to `file`, which is empty, readable and seekable."""

    @abstractmethod
    def scan(self, path: Path) -> tuple[ContainerSpec, list[StoredGroup]]:
        """What a container file holds, from its own table.

        Raises
        ------
        IntegrityError
            The file is cut off or damaged, so that its table cannot be trusted.
        """


def table_checksum(spec_json: str, groups: list[tuple[tuple[int, ...], int, Any, Any]]) -> int:
    """xxh3-64 over a container's table: spec; then shape, chunking, digests, checksums."""
    parts = [spec_json.encode()]
    for shape, samples_per_chunk, digests, checksums in groups:
        parts.append(canonical_json([list(shape), samples_per_chunk]).encode())
        parts += [digests.tobytes(), checksums.tobytes()]
    return xxh3_64_intdigest(b"\0".join(parts))


def stored_checksum(spec: ContainerSpec, groups: list[StoredGroup]) -> int:
    """`table_checksum` of what was read back."""
    return table_checksum(
        spec.to_json(), [(g.shape, g.samples_per_chunk, g.digests, g.checksums) for g in groups]
    )


def damaged(path: Path, why: object) -> IntegrityError:
    """The error for a container whose table cannot be read."""
    return IntegrityError(f"container {path} is damaged: {why}", where=str(path))
