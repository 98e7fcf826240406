"""Writing samples: hash, check, encode, collect; containers are made when enough has come."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from ..digest import Digest, digest_prefix
from ..schema import Schema
from ..threads import cpu_count, shared_pool
from .backends import Storage
from .container import ContainerSpec, Group
from .growing import CodecChoice, FixedGroup, GrowingGroup, PagedGroups, ShardedGroup

_THREADED_BYTES = 32 << 10
"""From this size on a sample is worth hashing in a thread of its own."""
_JOINED_BYTES = 16 << 10
"""Up to this size a copy costs less than a second call of the hash."""


def _copy(array: NDArray[Any]) -> bytes:
    return array.tobytes()


def _memory(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


class SampleWriter:
    """Takes in samples of one schema, and holds them until the store makes containers of them.

    Parameters
    ----------
    schema
        Of the samples.
    pending
        Samples taken in and not yet in a container, by digest; shared by all writers of a store.
    is_stored
        Whether a digest is in a container already.
    stored_of
        Those of some digests that are in a container already.

    Attributes
    ----------
    held_bytes
        Bytes of samples taken in and not yet in a container.
    """

    def __init__(
        self,
        schema: Schema,
        pending: dict[Digest, bytes],
        is_stored: Callable[[Digest], bool],
        stored_of: Callable[[Collection[Digest]], Collection[Digest]],
    ) -> None:
        self._schema = schema
        self._pending = pending
        self._is_stored = is_stored
        self._stored_of = stored_of
        self._storage = Storage.of(schema)
        self._codec = CodecChoice(self._storage, schema.dtype.itemsize)
        self._groups: dict[tuple[int, ...], GrowingGroup] = {}
        self._pages = PagedGroups(self._codec, schema.dtype.itemsize)
        self._prefixes: dict[tuple[int, ...], bytes] = {}
        self.held_bytes = 0

    def put(self, array: NDArray[Any]) -> Digest:
        """Take in one sample that the schema accepted.

        Equal content is held once. Not durable before the store is flushed.
        """
        shape = array.shape
        data = array.tobytes()
        digest = self._digest(data, shape)
        if digest not in self._pending and not self._is_stored(digest):
            self._hold(digest, data, shape)
        return digest

    def put_many(self, arrays: Sequence[NDArray[Any]], *, ours: bool = False) -> list[Digest]:
        """As `put`, for many samples at once: hashed and encoded by all processors.

        Parameters
        ----------
        arrays
            The samples.
        ours
            Nobody will change them, so that large ones are held without a copy.
        """
        if not arrays:
            return []
        held = _memory if ours and arrays[0].nbytes >= _THREADED_BYTES else _copy
        datas: list[Any] = list(map(held, arrays))
        shapes = [array.shape for array in arrays]
        if len(datas[0]) >= _THREADED_BYTES and cpu_count() > 1:
            digests = list(shared_pool().map(self._digest, datas, shapes))
        else:
            digests = list(map(self._digest, datas, shapes))
        known, pending = set(self._stored_of(digests)), self._pending
        if self._storage.backend.paged or self._schema.variable_shape:
            for digest, data, shape in zip(digests, datas, shapes, strict=True):
                if digest not in known and digest not in pending:
                    self._hold(digest, data, shape)
            return digests
        new = {
            digest: data
            for digest, data in zip(digests, datas, strict=True)
            if digest not in known and digest not in pending
        }
        if new:
            shape = shapes[0]
            group = self._groups.get(shape) or self._group_for(shape, len(datas[0]))
            group.add_many(new, shape)
            pending.update(new)
            self.held_bytes += len(new) * len(datas[0])
        return digests

    def _digest(self, data: bytes, shape: tuple[int, ...]) -> Digest:
        prefix = self._prefixes.get(shape)
        if prefix is None:
            prefix = digest_prefix(self._schema.kind, self._schema.dtype, shape)
            self._prefixes[shape] = prefix
        if len(data) <= _JOINED_BYTES:
            return blake3(prefix + data).digest()
        hasher = blake3(prefix)
        hasher.update(data)
        return hasher.digest()

    def _hold(self, digest: Digest, data: bytes, shape: tuple[int, ...]) -> None:
        group = self._groups.get(shape) or self._group_for(shape, len(data))
        group.add(digest, data, shape)
        self._pending[digest] = data
        self.held_bytes += len(data)

    def _group_for(self, shape: tuple[int, ...], size_bytes: int) -> GrowingGroup:
        schema, storage = self._schema, self._storage
        if storage.backend.paged:
            return self._pages.group_for(size_bytes)
        if storage.chunks is not None:
            group: GrowingGroup = ShardedGroup(self._codec, schema, shape, storage.chunks)
        else:
            group = FixedGroup(self._codec, schema, storage)
        self._groups[shape] = group
        return group

    def take(self) -> list[tuple[ContainerSpec, list[Group]]]:
        """All that was taken in, by container, ready to be built; `discard` ends the holding."""
        groups = [group.finished() for group in (*self._groups.values(), *self._pages.all())]
        if not groups:
            return []
        schema, storage, codec = self._schema, self._storage, self._codec.codec
        assert codec is not None  # decided with the first chunk
        spec = ContainerSpec(storage.backend.code, schema.kind, schema.dtype, codec, storage.chunks)
        return [(spec, groups)]

    def discard(self) -> None:
        """Forget what was taken in: it is in a container now."""
        self._groups.clear()
        self._pages.clear()
        self.held_bytes = 0
