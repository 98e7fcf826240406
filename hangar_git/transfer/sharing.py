"""One transfer over several streams: a long line carries more than one window at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain
from queue import Full, Queue
from threading import Event, Lock
from typing import NamedTuple, TypeVar

from .samples import Parcel

T = TypeVar("T")

_HELD_PARCELS = 2
"""What each stream may bring before it is taken."""
_LOOK_S = 0.1


class SharedParcels(Iterator[Parcel]):
    """Parcels that several threads take, each of them once.

    An error of their source ends them for all, and is raised to the thread that met it.
    """

    def __init__(self, parcels: Iterable[Parcel]) -> None:
        self._parcels = iter(parcels)
        self._lock = Lock()
        self._ended = False

    def __next__(self) -> Parcel:
        with self._lock:
            if self._ended:
                raise StopIteration
            try:
                return next(self._parcels)
            except BaseException:
                self._ended = True
                raise

    def end(self) -> None:
        """Give no more."""
        self._ended = True


def spread(
    parcels: Iterable[Parcel], send: Callable[[Iterator[Parcel]], T], streams: int
) -> list[T]:
    """What `send` gives for each stream; together they are given all of `parcels`.

    If one fails, no more is given to the others, and its error is raised once they have ended.
    """
    shared = SharedParcels(parcels)

    def run() -> T | None:
        first = next(shared, None)
        if first is None:
            return None
        try:
            return send(chain([first], shared))
        except BaseException:
            shared.end()
            raise

    with ThreadPoolExecutor(streams, "hangar-upload") as pool:
        running = [pool.submit(run) for _ in range(streams)]
    return [result for future in running if (result := future.result()) is not None]


class _Ended(NamedTuple):
    """What a stream says last."""

    error: BaseException | None


class _Arrivals:
    """Where the threads of a download leave what they read, a few parcels each."""

    def __init__(self, streams: int) -> None:
        self._queue: Queue[Parcel | _Ended] = Queue(_HELD_PARCELS * streams)
        self._unwanted = Event()
        self.take = self._queue.get

    def stop(self) -> None:
        """Nothing is taken any more."""
        self._unwanted.set()

    def read(self, source: Callable[[], Generator[Parcel]]) -> None:
        """Leave all that `source` gives, and how it ended."""
        error: BaseException | None = None
        try:
            with closing(source()) as parcels:
                if not all(map(self._leave, parcels)):
                    return
        except BaseException as caught:  # noqa: BLE001  # raised by whoever takes the parcels
            error = caught
        self._leave(_Ended(error))

    def _leave(self, item: Parcel | _Ended) -> bool:
        while not self._unwanted.is_set():
            try:
                self._queue.put(item, timeout=_LOOK_S)
            except Full:
                continue
            return True
        return False


def merged(sources: Sequence[Callable[[], Generator[Parcel]]]) -> Generator[Parcel]:
    """The parcels of all `sources`, each read by a thread of its own, as they come.

    The first error of a source is raised once the others have ended, for what they bring counts.
    """
    arrivals = _Arrivals(len(sources))
    errors = []
    pool = ThreadPoolExecutor(len(sources), "hangar-download")
    try:
        for source in sources:
            pool.submit(arrivals.read, source)
        left = len(sources)
        while left:
            item = arrivals.take()
            if isinstance(item, Parcel):
                yield item
                continue
            left -= 1
            if item.error is not None:
                errors.append(item.error)
    finally:
        arrivals.stop()
        pool.shutdown(wait=False, cancel_futures=True)
    if errors:
        raise errors[0]
