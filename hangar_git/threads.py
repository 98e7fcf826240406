"""The threads that this process shares, for work that lets go of the interpreter lock."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor


def cpu_count() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_pool: ThreadPoolExecutor | None = None


def shared_pool() -> ThreadPoolExecutor:
    """The pool, with a thread for each processor; its tasks must not wait for one another."""
    global _pool  # noqa: PLW0603  # one for the process
    if _pool is None:
        _pool = ThreadPoolExecutor(cpu_count(), "hangar")
    return _pool


def _forget_pool() -> None:
    global _pool  # noqa: PLW0603  # its threads did not survive the fork
    _pool = None


os.register_at_fork(after_in_child=_forget_pool)
