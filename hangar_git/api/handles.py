"""Objects that users hold, and that die with their checkout.

A handle keeps what it works with in its instance attributes. Closing the checkout empties them, so
that whatever a closed handle is asked for ends in `__getattr__`: no test on any hot path.
"""

from __future__ import annotations

from typing import Any

from ..errors import HangarError, WriterLockError


class ClosedHandleError(HangarError, ReferenceError):
    """The object belonged to a checkout that has been closed."""

    kind = "closed"


class Handle:
    """Base of arraysets, metadata and differs."""

    def _die(self) -> None:
        self.__dict__.clear()

    def _require_open(self) -> None:
        """Raise ClosedHandleError if the checkout was closed; for what needs no attribute."""
        if not self.__dict__:
            raise ClosedHandleError(
                "weakly-referenced object no longer exists: its checkout has been closed"
            )

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            self._require_open()
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class ClosableCheckout:
    """Base of checkouts: once closed, every use is an error of its own."""

    def _die(self) -> None:
        self.__dict__.clear()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise WriterLockError(
            "unable to operate on past checkout objects which have been closed; no operation"
            " occurred, please use a new checkout"
        )
