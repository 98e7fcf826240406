"""Groups that grow: samples are packed into chunks and encoded as they come.

Encoding of what is large, or comes in bulk, runs in the shared threads.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import numpy as np
from xxhash import xxh3_64_intdigest

from ..digest import Digest
from ..schema import Schema
from ..threads import cpu_count, shared_pool
from .backends import DEFAULT_CODEC, Storage
from .codec import NONE, Codec, Encode
from .container import Group, PagedGroup, element_count, page_elements
from .sharding import encode_shard, fitted_chunks

_CHUNK_BYTES = 25 << 9
"""Small samples of one shape share chunks of about this size: docs/decisions/002."""
_WORTH_ENCODING = 0.9
_WORTH_ENCODING_LARGE = 2 / 3
"""A codec that does not get below this fraction on the first chunk is not used; for large samples,
which are read at the speed of memory if they are plain: docs/decisions/008."""
_TASK_BYTES = 1 << 20
"""Chunks are handed to a thread by this much: fewer cost more in handing over than they take."""
_LARGE_BYTES = 64 << 10


class CodecChoice:
    """The codec of one schema's samples: as hinted, or decided on the first chunk.

    Attributes
    ----------
    codec
        None until it is decided.
    """

    def __init__(self, storage: Storage, itemsize: int) -> None:
        self.codec = storage.codec
        self._itemsize = itemsize
        self._gzip_framing = storage.backend.sharded
        self._encode = self._encoder(self.codec) if self.codec else None

    def _encoder(self, codec: Codec) -> Encode:
        return codec.encoder(self._itemsize, gzip_framing=self._gzip_framing)

    def encoder(self, first_chunk: bytes) -> Encode:
        """The encoder; decided on `first_chunk` if it was not yet."""
        if self._encode is None:
            encode = self._encoder(DEFAULT_CODEC)
            large = len(first_chunk) >= _LARGE_BYTES
            least = _WORTH_ENCODING_LARGE if large else _WORTH_ENCODING
            worth = len(encode(first_chunk)) < least * len(first_chunk)
            self.codec = DEFAULT_CODEC if worth else NONE
            self._encode = self._encoder(self.codec)
        return self._encode


class GrowingGroup(ABC):
    """Samples of one group, held until the store makes a container of them.

    Parameters
    ----------
    codec
        Shared by all groups of a schema.
    """

    def __init__(self, codec: CodecChoice) -> None:
        self._codec = codec
        self._digests: list[Digest] = []
        self._checksums: list[int] = []
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._encoded: list[Future[list[bytes]] | list[bytes]] = []

    def add(self, digest: Digest, data: bytes, shape: tuple[int, ...]) -> None:
        """Take in one sample."""
        self._digests.append(digest)
        self._checksums.append(xxh3_64_intdigest(data))
        self._pack(data, shape)

    def add_many(self, samples: Mapping[Digest, bytes], shape: tuple[int, ...]) -> None:
        """Take in samples of one shape."""
        self._digests += samples
        self._checksums += map(xxh3_64_intdigest, samples.values())
        for data in samples.values():
            self._pack(data, shape)

    @abstractmethod
    def _pack(self, data: bytes, shape: tuple[int, ...]) -> None:
        """Put a sample into the open chunk, and give chunks that are full to `_close_chunk`."""

    def _close_chunk(self, chunk: bytes) -> None:
        self._waiting.append(chunk)
        self._waiting_bytes += len(chunk)
        if self._waiting_bytes >= _TASK_BYTES or len(chunk) >= _LARGE_BYTES:
            self.encode_waiting()

    def encode_waiting(self) -> None:
        """Begin to encode the chunks that are full."""
        if not self._waiting:
            return
        encode = self._encoder(self._waiting[0])
        chunks, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if self._codec.codec == NONE and not isinstance(self, ShardedGroup):
            self._encoded.append(chunks)
        elif cpu_count() > 1:
            self._encoded.append(shared_pool().submit(_encode_all, encode, chunks))
        else:
            self._encoded.append(_encode_all(encode, chunks))

    def _encoder(self, first_chunk: bytes) -> Encode:
        return self._codec.encoder(first_chunk)

    def _chunks(self, last: bytes | None) -> list[bytes | memoryview]:
        """All chunks, encoded, and `last`, which is not full."""
        self.encode_waiting()
        chunks: list[bytes | memoryview] = []
        for part in self._encoded:
            chunks += part if isinstance(part, list) else part.result()
        if last is not None:
            chunks.append(self._encoder(last)(last))
        return chunks

    @abstractmethod
    def finished(self) -> Group:
        """The group as it is now; this one may go on growing afterwards."""


def _encode_all(encode: Encode, chunks: Sequence[bytes]) -> list[bytes]:
    return [encode(chunk) for chunk in chunks]


class FixedGroup(GrowingGroup):
    """Samples of one shape; small ones share chunks."""

    def __init__(self, codec: CodecChoice, schema: Schema, storage: Storage) -> None:
        super().__init__(codec)
        self._shape = schema.shape
        size = schema.dtype.itemsize * element_count(schema.shape)
        self._per_chunk = samples_per_chunk(storage.backend.code, size, codec.codec)
        self._open: list[bytes] = []

    def _pack(self, data: bytes, shape: tuple[int, ...]) -> None:  # noqa: ARG002
        if self._per_chunk == 1:
            self._close_chunk(data)
            return
        self._open.append(data)
        if len(self._open) == self._per_chunk:
            self._close_chunk(b"".join(self._open))
            self._open = []

    def finished(self) -> Group:
        """The last chunk is padded; if it is the only one, it is as long as it needs to be."""
        last, per_chunk = b"".join(self._open), self._per_chunk
        if self._open and len(self._open) == len(self._digests):
            per_chunk = len(self._open)
        elif self._open:
            last += bytes(len(self._open[0]) * (per_chunk - len(self._open)))
        chunks = self._chunks(last if self._open else None)
        return Group(self._shape, per_chunk, chunks, list(self._digests), list(self._checksums))


def samples_per_chunk(backend: str, size_bytes: int, codec: Codec | None) -> int:
    """How many samples of one shape share a chunk."""
    # NumPy files have no chunks, and LZF does not tell how long one is.
    if backend == "10" or (codec is not None and codec.needs_size):
        return 1
    return max(1, _CHUNK_BYTES // size_bytes)


class ShardedGroup(GrowingGroup):
    """Large samples of one shape, each a shard."""

    def __init__(self, codec: CodecChoice, schema: Schema, shape: tuple[int, ...],
                 chunks: tuple[int, ...]) -> None:  # fmt: skip
        super().__init__(codec)
        self._shape, self._dtype = shape, schema.dtype
        self._inner = fitted_chunks(chunks, shape)

    def _pack(self, data: bytes, shape: tuple[int, ...]) -> None:  # noqa: ARG002
        self._close_chunk(data)

    def _encoder(self, first_chunk: bytes) -> Encode:
        inner_size = math.prod(self._inner) * self._dtype.itemsize
        encode = self._codec.encoder(first_chunk[:inner_size])

        def encode_sample(data: bytes) -> bytes:
            array = np.frombuffer(data, self._dtype).reshape(self._shape)
            return encode_shard(array, self._inner, encode)

        return encode_sample

    def finished(self) -> Group:
        """Every sample is a chunk."""
        return Group(self._shape, 1, self._chunks(None), list(self._digests), list(self._checksums))


class PagedGroups:
    """Samples of many shapes: for each size of page a group; incompressible ones need no pages."""

    def __init__(self, codec: CodecChoice, itemsize: int) -> None:
        self._codec = codec
        self._itemsize = itemsize
        self._groups: dict[int, _PagesGroup] = {}

    def group_for(self, size_bytes: int) -> _PagesGroup:
        """The group that a sample of this size belongs to."""
        page = 0 if self._codec.codec == NONE else page_elements(size_bytes, self._itemsize)
        group = self._groups.get(page)
        if group is None:
            group = self._groups[page] = _PagesGroup(self._codec, page, self._itemsize)
        return group

    def all(self) -> list[_PagesGroup]:
        """All groups there are."""
        return list(self._groups.values())

    def clear(self) -> None:
        """Start over."""
        self._groups.clear()


class _PagesGroup(GrowingGroup):
    """Samples that share pages of one size; or, with size 0, lie one after the other."""

    def __init__(self, codec: CodecChoice, page: int, itemsize: int) -> None:
        super().__init__(codec)
        self._page, self._itemsize = page, itemsize
        self._open: list[bytes] = []
        self._used = 0
        self._closed = 0
        self._starts: list[int] = []
        self._shapes: list[tuple[int, ...]] = []

    def _pack(self, data: bytes, shape: tuple[int, ...]) -> None:
        count = len(data) // self._itemsize
        self._shapes.append(shape)
        if not self._page:
            self._starts.append(self._used)
            self._used += count
            self._close_chunk(data)
            return
        if self._used + count > self._page:
            self._close_chunk(self._open_page())
            self._open.clear()
            self._closed, self._used = self._closed + 1, 0
        # An empty sample lies at the very beginning, where there always is a page.
        self._starts.append(self._closed * self._page + self._used if count else 0)
        self._used += count
        self._open.append(data)

    def _open_page(self) -> bytes:
        padding = bytes((self._page - self._used) * self._itemsize)
        return b"".join([*self._open, padding])

    def finished(self) -> PagedGroup:
        """The group, with the open page padded."""
        chunks = self._chunks(self._open_page() if self._open else None)
        return PagedGroup((self._page,), 1, chunks, list(self._digests), list(self._checksums),
                          list(self._starts), list(self._shapes))  # fmt: skip
