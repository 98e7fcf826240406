"""Reading samples: locate, pread, decode, verify. The container libraries are not needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from ..digest import Digest
from ..errors import DataNotLocalError, IntegrityError, StorageError
from .codec import DECODE_ERRORS, Decode
from .index import LOCATOR, LOCATOR_VERSION, Index

_CHUNK_CACHE_BYTES = 64 << 20
_OPEN_CONTAINERS = 128
_DIRECT_BYTES = 16 << 10
"""From this size on, decoding straight into the array saves more than it costs."""


class _OpenContainer:
    """A container open for reading by byte range."""

    __slots__ = ("decode", "fd", "path")

    def __init__(self, path: Path, decode: Decode | None) -> None:
        self.path = path
        self.decode = decode
        self.fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def pread(self, size: int, offset: int, digest: Digest) -> bytes:
        """Bytes of the file, in which sample `digest` is; fewer at its end."""
        try:
            return os.pread(self.fd, size, offset)
        except (OSError, OverflowError, MemoryError) as error:
            raise damaged_sample(self.path, offset, digest, str(error)) from error

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
    """

    def __init__(self, directory: Path, index: Index) -> None:
        self._directory = directory
        self._index = index
        self._locators: dict[Digest, bytes] = {}
        self._containers: dict[int, _OpenContainer] = {}
        self._chunks: dict[tuple[int, int], bytes] = {}
        self._chunks_size = 0

    def read(self, digest: Digest, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
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
            # What was looked up before may be outdated: an index rebuilt, containers replaced.
            self.forget()
            self._index.forget_lookup()
            return self._read(digest, dtype, shape)

    def _read(self, digest: Digest, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        locator = self._locators.get(digest)
        if locator is None:
            locator = self._locate(digest)
        _, number, length, place, checksum = LOCATOR.unpack(locator)
        container = self._containers.get(number) or self._open(number, digest)
        index, offset = place & 0xFFFF, place >> 16
        size = dtype.itemsize
        for dimension in shape:
            size *= dimension
        decode = container.decode
        if decode is None:
            data = container.pread(size, offset + index * size, digest)
        elif size < _DIRECT_BYTES:
            chunk = self._chunks.get((number, offset))
            if chunk is None:
                chunk = self._decoded_chunk(container, number, offset, length, digest)
            data = chunk[index * size : index * size + size]
        else:
            # Samples of this size have chunks of their own.
            encoded = container.pread(length, offset, digest)
            try:
                array = np.empty(shape, dtype)
                raw = array.reshape(-1).view(np.uint8)
                decode(encoded, raw)
            except DECODE_ERRORS as error:
                raise damaged_sample(container.path, offset, digest, str(error)) from error
            if xxh3_64_intdigest(raw.data) != checksum:
                raise damaged_sample(container.path, offset, digest, _MISMATCH)
            return array
        if xxh3_64_intdigest(data) != checksum or len(data) != size:
            raise damaged_sample(container.path, offset, digest, _MISMATCH)
        return np.frombuffer(data, dtype).reshape(shape).copy()

    def _locate(self, digest: Digest) -> bytes:
        locator = self._index.get(digest)
        if locator is None:
            self._index.forget_lookup()
            locator = self._index.get(digest)
            if locator is None:
                raise DataNotLocalError(f"data of digest {digest.hex()} is not on this machine")
        if len(locator) != LOCATOR.size or locator[0] != LOCATOR_VERSION:
            raise IntegrityError(f"index: malformed locator of digest {digest.hex()}")
        self._locators[digest] = locator
        return locator

    def _decoded_chunk(
        self, container: _OpenContainer, number: int, offset: int, length: int, digest: Digest
    ) -> bytes:
        """Read and decode a chunk of small samples, and keep it for the others in it."""
        assert container.decode is not None
        encoded = container.pread(length, offset, digest)
        try:
            chunk: bytes = container.decode(encoded)
        except DECODE_ERRORS as error:
            raise damaged_sample(container.path, offset, digest, str(error)) from error
        chunks = self._chunks
        chunks[number, offset] = chunk
        self._chunks_size += len(chunk)
        while self._chunks_size > _CHUNK_CACHE_BYTES and len(chunks) > 1:
            # Threads may race here, which costs a chunk too many or too few, never a wrong one.
            self._chunks_size -= len(chunks.pop(next(iter(chunks)), b""))
        return chunk

    def _open(self, number: int, digest: Digest) -> _OpenContainer:
        """Open container `number`, in which `digest` is."""
        row = self._index.container(number)
        if row is None:
            raise IntegrityError(f"index: container {number} of digest {digest.hex()} is unknown")
        path = self._directory / row.name
        try:
            container = _OpenContainer(path, row.codec.decoder())
        except FileNotFoundError as error:
            raise DataNotLocalError(
                f"container {path} is gone, and with it data of digest {digest.hex()}"
            ) from error
        except OSError as error:
            raise StorageError(f"container {path} cannot be read: {error.strerror}") from error
        self._containers[number] = container
        while len(self._containers) > _OPEN_CONTAINERS:
            # Whoever reads from it at the moment keeps it open.
            self._containers.pop(next(iter(self._containers)), None)
        return container

    def forget(self) -> None:
        """Drop open files and all that was looked up."""
        self._locators.clear()
        self._containers.clear()
        self._chunks.clear()
        self._chunks_size = 0


_MISMATCH = "the bytes do not match their checksum"


def damaged_sample(path: Path, offset: int, digest: Digest, why: str) -> IntegrityError:
    """The error for a sample whose stored bytes are not what was stored."""
    return IntegrityError(
        f"{path}: sample {digest.hex()} at byte {offset} is damaged: {why}",
        expected=digest.hex(),
        where=f"{path}:{offset}",
    )
