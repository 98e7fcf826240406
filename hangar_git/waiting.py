"""Waiting for files, whatever their numbers: `select.select` refuses those beyond 1,023."""

from __future__ import annotations

import select
from collections.abc import Collection


def readable(fds: Collection[int], timeout_s: float | None = None) -> set[int]:
    """Those of `fds` that can be read, or have ended; none when the time is over."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return {fd for fd, _ in poll.poll(None if timeout_s is None else timeout_s * 1000)}
