"""Connections to a remote that survive a fork: the forked process has others."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Collection, Iterator
from threading import Lock
from typing import Any

from ..transfer.samples import Parcel
from .apart import ReaderApart
from .connections import ConnectionPool, Opener

_NETWORK = {"grpc", "obstore"}
"""Their threads do not survive a fork, and what waits for them then hangs."""
_all: weakref.WeakSet[Connections] = weakref.WeakSet()
_abandoned: list[Any] = []
_forked = False
"""Whether this process was forked from one that had libraries of the network loaded."""


class Connections:
    """A remote as several threads and forked processes read from it; they share no connection.

    Parameters
    ----------
    opener
        Makes a connection.
    """

    def __init__(self, opener: Opener) -> None:
        self.opener = opener
        self._start()
        _all.add(self)

    def _start(self) -> None:
        self._lock = Lock()
        self._pool = ConnectionPool(self.opener)
        self._apart: ReaderApart | None = None

    def check(self) -> None:
        """Connect, to raise here and now what would be raised by the first read."""
        if not _forked:
            self._pool.check()

    def export(self, digests: Collection[bytes]) -> Iterator[Parcel]:
        """As `SampleStore.export`, for several threads at once."""
        if not _forked:
            return self._pool.export(digests)
        with self._lock:
            if self._apart is None or self._apart.ended:
                self._apart = ReaderApart(self.opener)
            apart = self._apart
        return apart.export(digests)

    def close(self) -> None:
        """Close those that are not in use; what is read later connects again."""
        self._pool.close()
        with self._lock:
            apart, self._apart = self._apart, None
        if apart is not None:
            apart.close()

    def _forget(self) -> None:
        """In a process just forked: leave the parent's connections alone."""
        _abandoned.append(self._pool)  # they hang when they are closed here
        self._start()


def _after_fork() -> None:
    global _forked  # noqa: PLW0603  # it is a fact about the process
    _forked = _forked or not _NETWORK.isdisjoint(sys.modules)
    for connections in list(_all):
        connections._forget()


os.register_at_fork(after_in_child=_after_fork)
