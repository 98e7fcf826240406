"""Ending calls whose other side has fallen silent.

Keep-alive finds connections that are dead. This finds those that live, while the program behind
them neither sends nor takes anything: without it, each would hold a thread for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Waiting(Protocol):
    """Something that waits for another."""

    @property
    def waiting_since(self) -> float | None:
        """`time.monotonic` of when it began to wait; None while it works itself."""
        ...

    def give_up(self) -> None:
        """End the wait; called from another thread, perhaps more than once."""
        ...


class IdleWatch:
    """Makes whoever waits longer than `timeout_s` give up."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._watched: set[Waiting] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, waiting: Waiting) -> Iterator[None]:
        """Watch `waiting` for the length of the block."""
        with self._lock:
            self._watched.add(waiting)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="idle", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._watched.discard(waiting)

    def _run(self) -> None:
        while not self._stopped.wait(min(1.0, self._timeout_s / 4)):
            with self._lock:
                if not self._watched:
                    self._thread = None  # the next call starts another one
                    return
                watched = list(self._watched)
            before = time.monotonic() - self._timeout_s
            for waiting in watched:
                since = waiting.waiting_since
                if since is not None and since < before:
                    waiting.give_up()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
