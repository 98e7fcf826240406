"""Reading samples from a remote as they are asked for, without keeping them on disk."""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..digest import Digest
from ..errors import HangarError
from ..store.chunks import EncodedChunk
from ..store.container import ContainerSpec
from ..store.sharding import Selection
from ..store.store import Store
from .connections import Opener
from .diskcache import DiskCache
from .forking import Connections
from .localstore import LocalSamples

CACHE_BYTES = 256 << 20
_ATTEMPTS = 3

Array = NDArray[Any]


class NoStore(Store):
    """Nothing is on this machine: for processes that have no clone."""

    def __init__(self) -> None:
        """There is no directory to open."""

    def missing(self, digests: Collection[Digest]) -> list[Digest]:
        """All of them."""
        return list(digests)

    def get_many(
        self,
        digests: Sequence[Digest],
        dtype: np.dtype[Any],  # noqa: ARG002
        shapes: Sequence[tuple[int, ...]],  # noqa: ARG002
        threads: int = 1,  # noqa: ARG002
    ) -> list[Array]:
        """Of no digests; all others are asked of the remote."""
        assert not digests
        return []

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class Stream:
    """How samples are streamed: all that another process needs to do the same.

    Parameters
    ----------
    root
        ``<git common dir>/hangar``: what is on this machine, which is read first. Nothing is where
        it is None, or the stream was pickled to a machine without the clone.
    opener
        Opens the remote where the rest is.
    cache_bytes
        Samples that came are kept in memory up to so many bytes; the oldest go first.
    keep
        Whether samples that came are stored below `root`, too.
    disk_bytes
        Samples that came are kept on disk up to so many bytes; 0: none. See `DiskCache`.
    opened_s
        When, in seconds since the epoch.
    """

    root: str | None
    opener: Opener
    cache_bytes: int = CACHE_BYTES
    keep: bool = False
    disk_bytes: int = 0
    opened_s: float = 0.0


class StreamedStore(Store):
    """A store whose missing samples come from a remote, many at a time.

    Every sample is verified against its digest when it comes. Safe under threads, and after a fork;
    it pickles as the `Stream`.

    Parameters
    ----------
    stream
        From where, and what is kept.
    """

    streams = True

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._connections = Connections(stream.opener)
        root = self._root()
        self._local = NoStore() if root is None else Store(root, writable=False)
        self._start()
        _all.add(self)

    def _start(self) -> None:
        stream, root = self.stream, self._root()
        self._keep = self._disk = None
        if root is not None and stream.keep:
            self._keep = LocalSamples(root)
        if root is not None and stream.disk_bytes:
            self._disk = DiskCache(root / "cache", stream.disk_bytes, stream.opened_s)
        self._cache: OrderedDict[Digest, bytes] = OrderedDict()
        self._cached_bytes = 0
        self._cache_lock = Lock()

    def _root(self) -> Path | None:
        root = self.stream.root
        return Path(root) if root is not None and Path(root).parent.is_dir() else None

    def __reduce__(self) -> tuple[Any, ...]:
        return _of_stream, (self.stream,)

    def check(self) -> None:
        """Connect to the remote, to raise what there is to raise now and not in the first read."""
        self._connections.check()

    def missing(self, digests: Collection[Digest]) -> list[Digest]:
        """Those of `digests` whose data is not on this machine: these are streamed."""
        return self._local.missing(digests)

    def get(self, digest: Digest, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        """As `Store.get`."""
        return self.get_many([digest], dtype, [shape])[0]

    def get_part(
        self, digest: Digest, dtype: np.dtype[Any], shape: tuple[int, ...], index: object
    ) -> Array:
        """As `Store.get_part`; a sample that is not here comes whole."""
        if not self._local.missing([digest]):
            return self._local.get_part(digest, dtype, shape, index)
        selection = Selection.of(index, shape)
        part = self.get(digest, dtype, shape)[selection.slices]
        return np.array(part[selection.after], order="C")

    def get_many(
        self,
        digests: Sequence[Digest],
        dtype: np.dtype[Any],
        shapes: Sequence[tuple[int, ...]],
        threads: int = 1,
    ) -> list[Array]:
        """As `Store.get_many`; all that is missing comes at once."""
        held = self._held(digests, dtype, shapes)
        if not held:
            return self._local.get_many(digests, dtype, shapes, threads)
        found: list[Array] = [
            np.frombuffer(held[digest], dtype).reshape(shape).copy() if digest in held else _NONE
            for digest, shape in zip(digests, shapes, strict=True)
        ]
        rest = [i for i, digest in enumerate(digests) if digest not in held]
        if rest:
            here = self._local.get_many(
                [digests[i] for i in rest], dtype, [shapes[i] for i in rest], threads
            )
            for i, array in zip(rest, here, strict=True):
                found[i] = array
        return found

    def get_stacked(
        self,
        digests: Sequence[Digest],
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        threads: int = 1,
    ) -> Array:
        """As `Store.get_stacked`."""
        found = self.get_many(digests, dtype, [shape] * len(digests), threads)
        return np.array(found, dtype).reshape(len(digests), *shape)

    def common_form(
        self,
        digests: Sequence[Digest],  # noqa: ARG002
        dtype: np.dtype[Any],  # noqa: ARG002
        shape: tuple[int, ...],  # noqa: ARG002
    ) -> ContainerSpec | None:
        """None: how samples of a remote are encoded is not known before they come."""
        return None

    def close(self) -> None:
        """Release files, connections, and what is kept in memory."""
        self._local.close()
        if self._disk is not None:
            self._disk.close()
        with self._cache_lock:
            self._cache.clear()
            self._cached_bytes = 0
        self._connections.close()

    # -- what comes ----------------------------------------------------------------------------

    def _held(
        self,
        digests: Sequence[Digest],
        dtype: np.dtype[Any],
        shapes: Sequence[tuple[int, ...]],
    ) -> dict[Digest, bytes]:
        """Bytes of those of `digests` that are not in the clone."""
        held: dict[Digest, bytes] = {}
        cache = self._cache
        with self._cache_lock:
            for digest in digests:
                data = cache.get(digest)
                if data is not None:
                    held[digest] = data
                    cache.move_to_end(digest)
        wanted = list({digest: None for digest in digests if digest not in held})
        if wanted:
            wanted = self._local.missing(wanted)
        if wanted:
            come: dict[Digest, bytes] = {}
            if self._disk is not None:
                shape_of = dict(zip(digests, shapes, strict=True))
                come = self._disk.read(wanted, dtype, [shape_of[digest] for digest in wanted])
            if len(come) < len(wanted):
                come |= self._come([digest for digest in wanted if digest not in come])
            self._remember(come)
            held |= come
        return held

    def _come(self, wanted: list[Digest]) -> dict[Digest, bytes]:
        """Bytes of samples of the remote; tried again where that may help."""
        found: dict[Digest, bytes] = {}
        for attempt in range(_ATTEMPTS):
            try:
                for parcel in self._connections.export([d for d in wanted if d not in found]):
                    if self._keep is not None:
                        self._keep.receive([parcel])
                    chunk = EncodedChunk.parse(parcel.data)
                    decoded = chunk.verified()
                    for number, digest in enumerate(chunk.digests):
                        found[digest] = chunk.payload(decoded, number)
                    if self._disk is not None:
                        self._disk.add(parcel)
                break
            except HangarError as error:
                if not error.retryable or attempt == _ATTEMPTS - 1:
                    raise
        return found

    def _remember(self, found: dict[Digest, bytes]) -> None:
        if not self.stream.cache_bytes:
            return
        with self._cache_lock:
            for digest, data in found.items():
                if digest not in self._cache:
                    self._cache[digest] = data
                    self._cached_bytes += len(data)
            while self._cached_bytes > self.stream.cache_bytes and self._cache:
                self._cached_bytes -= len(self._cache.popitem(last=False)[1])


_NONE: Array = np.empty(0)
_all: weakref.WeakSet[StreamedStore] = weakref.WeakSet()
_opened: dict[Stream, StreamedStore] = {}
"""Those that were unpickled in this process."""


def _of_stream(stream: Stream) -> StreamedStore:
    if stream not in _opened:
        _opened[stream] = StreamedStore(stream)
    return _opened[stream]


def _after_fork() -> None:
    # What the parent's threads held is not held here, and its memory is not to be filled twice.
    for store in list(_all):
        store._start()


os.register_at_fork(after_in_child=_after_fork)
