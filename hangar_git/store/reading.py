"""Reading samples: locate, pread, decode, verify. The container libraries are not needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from ..digest import Digest
from ..errors import DataNotLocalError, IntegrityError, StorageError
from .backends import BACKENDS
from .codec import DECODE_ERRORS
from .container import ContainerSpec, element_count, page_elements
from .index import LOCATOR, LOCATOR_VERSION, Index
from .sharding import Selection, ShardReader, fitted_chunks

_CHUNK_CACHE_BYTES = 64 << 20
_OPEN_CONTAINERS = 128
_KEPT_LOCATORS = 1 << 18
DIRECT_BYTES = 16 << 10
"""From this size on, decoding straight into the array saves more than it costs."""

T = TypeVar("T")
Array = NDArray[Any]


class OpenContainer:
    """A container open for reading by byte range."""

    __slots__ = ("decode", "fd", "needs_size", "paged", "path", "sharded", "spec")

    def __init__(self, path: Path, spec: ContainerSpec) -> None:
        self.path = path
        self.spec = spec
        self.decode = spec.codec.decoder(spec.dtype.itemsize)
        self.needs_size = spec.codec.needs_size
        backend = BACKENDS[spec.backend]
        self.paged, self.sharded = backend.paged, backend.sharded
        self.fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def pread(self, size: int, offset: int, digest: Digest) -> bytes:
        """Bytes of the file, in which sample `digest` is; fewer at its end."""
        try:
            return os.pread(self.fd, size, offset)
        except (OSError, OverflowError, MemoryError) as error:
            raise damaged_sample(self.path, offset, digest, str(error)) from error

    def pread_into(self, target: NDArray[np.uint8], offset: int, digest: Digest) -> None:
        """Fill `target` from the file."""
        try:
            read = os.preadv(self.fd, [target.data], offset)
        except (OSError, OverflowError) as error:
            raise damaged_sample(self.path, offset, digest, str(error)) from error
        if read != target.nbytes:
            raise damaged_sample(self.path, offset, digest, "the file is cut off")

    def shard(
        self, offset: int, length: int, digest: Digest, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> ShardReader:
        """The shard of a sample."""
        assert self.spec.chunks is not None

        def read(at: int, size: int) -> bytes:
            return self.pread(size, offset + (at if at >= 0 else length + at), digest)

        chunks = fitted_chunks(self.spec.chunks, shape)
        return ShardReader(shape, dtype, chunks, self.decode, read)

    def __del__(self) -> None:
        fd = getattr(self, "fd", -1)
        if fd >= 0:
            os.close(fd)


class SampleReader:
    """Reads samples by digest. Safe under threads; after fork, files are shared for reading.

    Parameters
    ----------
    directory
        Where the containers are.
    index
        Digest -> locator.

    Attributes
    ----------
    locators, containers, chunks
        Kept: those looked up, those open, and decoded chunks of small samples by container and
        offset.
    """

    def __init__(self, directory: Path, index: Index) -> None:
        self._directory = directory
        self.index = index
        self.locators: dict[Digest, bytes] = {}
        self.containers: dict[int, OpenContainer] = {}
        self.chunks: dict[tuple[int, int], bytes] = {}
        self._chunks_size = 0

    # -- one sample ----------------------------------------------------------------------------

    def read(self, digest: Digest, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        """The sample of `digest`: a fresh, writable, C-contiguous array, verified.

        Raises
        ------
        DataNotLocalError
            The sample is not on this machine.
        IntegrityError
            The stored bytes are not what was stored; names file, offset and digest.
        """
        try:
            return self._read(digest, dtype, shape)
        except (IntegrityError, DataNotLocalError):
            return self.again(lambda: self._read(digest, dtype, shape))

    def again(self, read: Callable[[], T]) -> T:
        """What `read` returns, after what was looked up has been forgotten."""
        # It may be outdated: an index rebuilt, containers replaced.
        self.forget()
        self.index.forget_lookup()
        return read()

    def _read(self, digest: Digest, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        locator = self.locators.get(digest)
        if locator is None:
            locator = self.locate(digest)
        _, number, length, place, checksum = LOCATOR.unpack(locator)
        container = self.containers.get(number) or self.open(number, digest)
        start, offset = place & 0xFFFF, place >> 16
        size = dtype.itemsize
        for dimension in shape:
            size *= dimension
        if not size:  # empty text is whole, whatever became of its chunk
            return np.empty(shape, dtype)
        if container.sharded or size >= DIRECT_BYTES:
            raw = self.large(container, offset, length, start, digest, dtype, shape)
            if xxh3_64_intdigest(raw.data) != checksum:
                raise damaged_sample(container.path, offset, digest, MISMATCH)
            return raw.view(dtype).reshape(shape)
        if container.decode is None:
            data = container.pread(size, offset + start, digest)
        else:
            chunk = self.chunks.get((number, offset))
            if chunk is None:
                encoded = container.pread(length, offset, digest)
                chunk = self.decoded_chunk(container, number, offset, encoded, size, digest)
            data = chunk[start : start + size]
        if xxh3_64_intdigest(data) != checksum or len(data) != size:
            raise damaged_sample(container.path, offset, digest, MISMATCH)
        return np.frombuffer(data, dtype).reshape(shape).copy()

    def large(
        self,
        container: OpenContainer,
        offset: int,
        length: int,
        start: int,
        digest: Digest,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        out: Array | None = None,
    ) -> NDArray[np.uint8]:
        """The bytes of a sample that has a chunk of its own, not verified; in `out` if given."""
        size = element_count(shape) * dtype.itemsize
        try:
            if container.decode is None and not container.sharded:
                target = np.empty(size, np.uint8) if out is None else out
                container.pread_into(target, offset + start, digest)
                return target
            if container.sharded:
                array = np.empty(shape, dtype) if out is None else out.view(dtype).reshape(shape)
                container.shard(offset, length, digest, dtype, shape).whole(array)
                return array.reshape(-1).view(np.uint8)
            chunk_size = size
            if container.paged:
                itemsize = container.spec.dtype.itemsize
                chunk_size = page_elements(size, itemsize) * itemsize
            encoded = container.pread(length, offset, digest)
            target = out if out is not None and chunk_size == size else np.empty(chunk_size, "u1")
            assert container.decode is not None
            container.decode(encoded, target)
            return target[:size]
        except DECODE_ERRORS as error:
            if isinstance(error, IntegrityError):
                raise
            raise damaged_sample(container.path, offset, digest, str(error)) from error

    def locate(self, digest: Digest) -> bytes:
        """The locator of a sample, which is kept."""
        locator = self.index.get(digest)
        if locator is None:
            self.index.forget_lookup()
            locator = self.index.get(digest)
            if locator is None:
                raise _not_local(digest)
        self.remember(digest, locator)
        return locator

    def remember(self, digest: Digest, locator: bytes) -> None:
        """Keep a locator that was looked up."""
        self.remember_many({digest: locator})

    def remember_many(self, found: dict[Digest, bytes]) -> None:
        """Keep locators that were looked up."""
        size = LOCATOR.size
        for digest, locator in found.items():
            if len(locator) != size or locator[0] != LOCATOR_VERSION:
                raise IntegrityError(f"index: malformed locator of digest {digest.hex()}")
        if len(self.locators) + len(found) > _KEPT_LOCATORS:
            self.locators.clear()
        self.locators.update(found)

    def decoded_chunk(
        self,
        container: OpenContainer,
        number: int,
        offset: int,
        encoded: bytes,
        size: int,
        digest: Digest,
    ) -> bytes:
        """Decode a chunk of small samples, and keep it for the others in it."""
        assert container.decode is not None
        try:
            if container.needs_size:
                itemsize = container.spec.dtype.itemsize
                page = page_elements(size, itemsize) * itemsize if container.paged else size
                chunk = bytes(container.decode(encoded, bytearray(page)))
            else:
                chunk = container.decode(encoded)
        except DECODE_ERRORS as error:
            raise damaged_sample(container.path, offset, digest, str(error)) from error
        chunks = self.chunks
        chunks[number, offset] = chunk
        self._chunks_size += len(chunk)
        while self._chunks_size > _CHUNK_CACHE_BYTES and len(chunks) > 1:
            # Threads may race here, which costs a chunk too many or too few, never a wrong one.
            self._chunks_size -= len(chunks.pop(next(iter(chunks)), b""))
        return chunk

    # -- a part of one sample ------------------------------------------------------------------

    def read_part(
        self, digest: Digest, dtype: np.dtype[Any], shape: tuple[int, ...], selection: Selection
    ) -> Array:
        """What `selection` selects of a sample; of a sharded one, only the chunks it touches.

        Raises
        ------
        DataNotLocalError, IntegrityError
            As `read`; of a sharded sample, only the chunks touched are verified.
        """
        try:
            return self._read_part(digest, dtype, shape, selection)
        except (IntegrityError, DataNotLocalError):
            return self.again(lambda: self._read_part(digest, dtype, shape, selection))

    def _read_part(
        self, digest: Digest, dtype: np.dtype[Any], shape: tuple[int, ...], selection: Selection
    ) -> Array:
        locator = self.locators.get(digest) or self.locate(digest)
        _, number, length, place, _ = LOCATOR.unpack(locator)
        container = self.containers.get(number) or self.open(number, digest)
        if not container.sharded:
            part = self._read(digest, dtype, shape)[selection.slices]
            return np.array(part[selection.after], order="C")
        shard = container.shard(place >> 16, length, digest, dtype, shape)
        try:
            part = shard.part(selection.slices)
        except DECODE_ERRORS as error:
            if isinstance(error, IntegrityError):
                raise
            raise damaged_sample(container.path, place >> 16, digest, str(error)) from error
        return np.array(part[selection.after], order="C")

    # -- containers ----------------------------------------------------------------------------

    def open(self, number: int, digest: Digest) -> OpenContainer:
        """Open container `number`, in which `digest` is."""
        row = self.index.container(number)
        if row is None:
            raise IntegrityError(f"index: container {number} of digest {digest.hex()} is unknown")
        path = self._directory / row.name
        try:
            container = OpenContainer(path, row.spec)
        except FileNotFoundError as error:
            raise DataNotLocalError(
                f"container {path} is gone, and with it data of digest {digest.hex()}"
            ) from error
        except OSError as error:
            raise StorageError(f"container {path} cannot be read: {error.strerror}") from error
        self.containers[number] = container
        while len(self.containers) > _OPEN_CONTAINERS:
            # Whoever reads from it at the moment keeps it open.
            self.containers.pop(next(iter(self.containers)), None)
        return container

    def forget(self) -> None:
        """Drop open files and all that was looked up."""
        self.locators.clear()
        self.containers.clear()
        self.chunks.clear()
        self._chunks_size = 0


MISMATCH = "the bytes do not match their checksum"


def _not_local(digest: Digest) -> DataNotLocalError:
    return DataNotLocalError(f"data of digest {digest.hex()} is not on this machine")


def damaged_sample(path: Path, offset: int, digest: Digest, why: str) -> IntegrityError:
    """The error for a sample whose stored bytes are not what was stored."""
    return IntegrityError(
        f"{path}: sample {digest.hex()} at byte {offset} is damaged: {why}",
        expected=digest.hex(),
        where=f"{path}:{offset}",
    )
