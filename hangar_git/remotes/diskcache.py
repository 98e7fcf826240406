"""Samples that were streamed, on disk up to a limit, so that they need not come again."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from ..digest import Digest
from ..errors import DataNotLocalError, IntegrityError
from ..store.checking import scanned
from ..transfer.samples import Parcel
from .localstore import LocalSamples

log = logging.getLogger(__name__)

_PART_BYTES = 8 << 20
_PARTS = 16
_WAIT_S = 1.0
"""Samples are written together: so many bytes of them, at most this part of all, or when the last
were written so long ago."""


class DiskCache:
    """A store of its own, whose oldest containers make room for new ones.

    In every epoch each sample is read once, in an order of its own. Were each that comes to drive
    out the oldest, a cache of half the data would be asked in vain seven times of eight. So what a
    checkout has brought stays until another is opened: half the data, half the questions.

    Safe to use from several threads and processes; these may exceed the limit by one part each.

    Parameters
    ----------
    root
        Where it lies; made when first needed.
    limit_bytes
        Of all containers.
    since_s
        What is older makes room. Seconds since the epoch.
    """

    def __init__(self, root: Path, limit_bytes: int, since_s: float) -> None:
        self._samples = LocalSamples(root)
        self._limit_bytes = limit_bytes
        self._since_s = since_s
        self._part_bytes = min(_PART_BYTES, limit_bytes // _PARTS)
        self._held: list[Parcel] = []
        self._held_bytes = 0
        self._written_s = time.monotonic()
        self._full = False
        self._lock = Lock()

    def read(
        self, digests: Sequence[Digest], dtype: np.dtype[Any], shapes: Sequence[tuple[int, ...]]
    ) -> dict[Digest, bytes]:
        """Bytes of those of `digests` that are here, verified."""
        store = self._samples.store
        missing = set(store.missing(digests))
        here = [digest not in missing for digest in digests]
        if not any(here):
            return {}
        found = [digest for digest, known in zip(digests, here, strict=True) if known]
        theirs = [shape for shape, known in zip(shapes, here, strict=True) if known]
        try:
            arrays = store.get_many(found, dtype, theirs)
        except (DataNotLocalError, IntegrityError) as error:
            # Another process made room, or the disk fails: the remote still has them.
            if isinstance(error, IntegrityError):
                log.warning("cache of streamed samples: %s", error)
            return {}
        return {digest: array.tobytes() for digest, array in zip(found, arrays, strict=True)}

    def add(self, parcel: Parcel) -> None:
        """Keep samples that came, if there is room or can be made."""
        with self._lock:
            if self._full:
                return
            self._held.append(parcel)
            self._held_bytes += len(parcel.data)
            late = time.monotonic() - self._written_s > _WAIT_S
            if self._held_bytes >= self._part_bytes or late:
                self._write()

    def close(self) -> None:
        """Write what is held, and release files."""
        with self._lock:
            if self._held:
                self._write()
        self._samples.store.close()

    def _write(self) -> None:
        parcels, size = self._held, self._held_bytes
        self._held, self._held_bytes = [], 0
        self._written_s = time.monotonic()
        if self._room(size + self._part_bytes):  # containers are larger than what is in them
            self._samples.receive(parcels)
        else:
            self._full = True

    def _room(self, wanted: int) -> bool:
        """Remove old containers until there is room; whether there is."""
        store, ages, used = self._samples.store, [], 0
        for path in store.containers.iterdir():
            status = path.stat()
            used += status.st_size
            ages.append((status.st_mtime, path, status.st_size))
        for age, path, size in sorted(ages):
            if used + wanted <= self._limit_bytes or age >= self._since_s:
                break
            samples = list(scanned(path).digests())
            store.replace_containers([path.name], [], samples)
            used -= size
        return used + wanted <= self._limit_bytes
