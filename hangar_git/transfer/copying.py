"""Moving samples from one store to another: ask what is missing, send it, resume when cut off."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from ..errors import HangarError
from .samples import Parcel, SampleSource, SampleStore

_BATCH_BYTES = 256 << 20
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did.

    Parameters
    ----------
    samples, size_bytes
        That were moved, with what had to be moved again after a break.
    were_there
        Samples that the target had already.
    """

    samples: int
    size_bytes: int
    were_there: int


def copy_samples(
    source: SampleSource,
    target: SampleStore,
    digests: Collection[bytes],
    *,
    progress: Callable[[int, int], object] = lambda _samples, _bytes: None,
    attempts: int = 6,
    pause: Callable[[float], object] = time.sleep,
) -> Copied:
    """Bring what `target` lacks of `digests` from `source`; all is durable when this returns.

    Parameters
    ----------
    source, target
        One of them, or both, may be remote.
    digests
        What `target` is to have.
    progress
        Called with the samples and bytes of each parcel that leaves `source`, perhaps from another
        thread.
    attempts
        How often in a row a try may fail, and bring nothing new, before its error is raised.
    pause
        Waits so many seconds between tries.

    Raises
    ------
    HangarError
        One that trying again does not help, or the last of `attempts`. What was moved before is
        kept: the same call later goes on from there.
    """
    moved = _Moved(progress)
    were_there: int | None = None
    failures = 0
    lacking: list[bytes] | None = None
    while True:
        try:
            now = target.missing(digests)
            if lacking is not None and len(now) < len(lacking):
                failures = 0
            lacking = now
            if were_there is None:
                were_there = len(digests) - len(lacking)
            if not lacking:
                return Copied(moved.samples, moved.size_bytes, were_there)
            _move(source, target, lacking, moved)
            return Copied(moved.samples, moved.size_bytes, were_there)
        except HangarError as error:
            failures += 1
            if not error.retryable or failures >= attempts:
                raise
        # Each waits a different time, so that those cut off together do not return together.
        pause(min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**failures) * random.uniform(0.5, 1))  # noqa: S311


class _Moved:
    """What has left the source."""

    def __init__(self, progress: Callable[[int, int], object]) -> None:
        self._progress = progress
        self.samples = 0
        self.size_bytes = 0

    def add(self, parcel: Parcel) -> None:
        self.samples += len(parcel.digests)
        self.size_bytes += len(parcel.data)
        self._progress(len(parcel.digests), len(parcel.data))


def _move(source: SampleSource, target: SampleStore, lacking: list[bytes], moved: _Moved) -> None:
    leaving = _Leaving(source.export(lacking), moved)
    while not leaving.ended:
        target.receive(leaving.batch())
    if leaving.error is not None:
        raise leaving.error


class _Leaving:
    """Parcels on their way, in batches that are made durable one by one."""

    def __init__(self, parcels: Iterator[Parcel], moved: _Moved) -> None:
        self._parcels = parcels
        self._moved = moved
        self.ended = False
        self.error: HangarError | None = None

    def batch(self) -> Iterator[Parcel]:
        # An error of the source ends the batch quietly and is raised after it has been stored:
        # raised through `receive`, it would take along what had come before.
        left = _BATCH_BYTES
        while left > 0:
            try:
                parcel = next(self._parcels, None)
            except HangarError as error:
                self.error = error
                parcel = None
            if parcel is None:
                self.ended = True
                return
            left -= len(parcel.data)
            self._moved.add(parcel)
            yield parcel
