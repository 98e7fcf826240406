"""Reading samples from a remote as they are asked for, without keeping them on disk."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..digest import Digest
from ..errors import HangarError
from ..store.chunks import EncodedChunk
from ..store.sharding import Selection
from ..store.store import Store
from ..transfer.samples import SampleStore

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


class StreamedStore(Store):
    """A store whose missing samples come from a remote, many at a time.

    Every sample is verified against its digest when it comes.

    Parameters
    ----------
    local
        What is on this machine, which is read first.
    remote
        Where the rest is.
    cache_bytes
        Samples that came are kept in memory up to so many bytes; the oldest go first.
    keep
        Where samples that came are stored, too; None: nowhere.
    """

    def __init__(
        self,
        local: Store,
        remote: SampleStore,
        cache_bytes: int = CACHE_BYTES,
        keep: SampleStore | None = None,
    ) -> None:
        self._local = local
        self._remote = remote
        self._keep = keep
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[Digest, bytes] = OrderedDict()
        self._cached_bytes = 0
        self._cache_lock = Lock()

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
        held = self._held(digests)
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

    def close(self) -> None:
        """Release files, the connection, and what is kept in memory."""
        self._local.close()
        with self._cache_lock:
            self._cache.clear()
            self._cached_bytes = 0
        close = getattr(self._remote, "close", None)
        if close is not None:
            close()

    # -- what comes ----------------------------------------------------------------------------

    def _held(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        """Bytes of those of `digests` that are not on this machine."""
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
            held |= self._come(wanted)
        return held

    def _come(self, wanted: list[Digest]) -> dict[Digest, bytes]:
        """Bytes of samples of the remote; tried again where that may help."""
        found: dict[Digest, bytes] = {}
        for attempt in range(_ATTEMPTS):
            try:
                for parcel in self._remote.export([d for d in wanted if d not in found]):
                    if self._keep is not None:
                        self._keep.receive([parcel])
                    chunk = EncodedChunk.parse(parcel.data)
                    decoded = chunk.verified()
                    for number, digest in enumerate(chunk.digests):
                        found[digest] = chunk.payload(decoded, number)
                break
            except HangarError as error:
                if not error.retryable or attempt == _ATTEMPTS - 1:
                    raise
        self._remember(found)
        return found

    def _remember(self, found: dict[Digest, bytes]) -> None:
        if not self._cache_bytes:
            return
        with self._cache_lock:
            for digest, data in found.items():
                if digest not in self._cache:
                    self._cache[digest] = data
                    self._cached_bytes += len(data)
            while self._cached_bytes > self._cache_bytes and self._cache:
                self._cached_bytes -= len(self._cache.popitem(last=False)[1])


_NONE: Array = np.empty(0)
