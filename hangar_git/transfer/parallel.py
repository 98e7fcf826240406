"""Several requests at once, results in order, and never more than a few of them in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
R = TypeVar("R")


def ordered_map(
    function: Callable[[A], R], items: Iterable[A], at_once: int
) -> Generator[R, None, None]:
    """Results of `function` for each item, in their order, computed up to `at_once` ahead.

    Closing the iterator gives up what has not begun.
    """
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(at_once, "hangar-transfer")
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= at_once:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
