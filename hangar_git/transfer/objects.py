"""The contract of plain storage that a data remote may lie in: a directory, or a bucket.

Objects are written whole, under names that are never used twice, and are never changed. All names
lie in one flat space. Calls may come from several threads at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import NamedTuple

from .packs import Buffer


class Stored(NamedTuple):
    """One object as a listing shows it.

    Parameters
    ----------
    name, size_bytes
        Of the object.
    modified_s
        When it was written, in seconds since 1970, by the clock of the storage.
    """

    name: str
    size_bytes: int
    modified_s: float


class Objects(ABC):
    """Plain storage of named, immutable objects.

    Parameters
    ----------
    where
        Its address, for messages.
    """

    where: str

    @abstractmethod
    def list(self) -> list[Stored]:
        """All objects.

        Raises
        ------
        RemoteNotFoundError
            The directory or bucket itself does not exist.
        """

    @abstractmethod
    def read(self, name: str, start: int, size_bytes: int) -> Buffer | None:
        """Bytes of an object from `start` on, fewer where it ends; None if it does not exist."""

    @abstractmethod
    def write(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Store an object, whole or not at all; it is durable when this returns."""

    @abstractmethod
    def delete(self, names: Collection[str]) -> None:
        """Remove objects; those that are gone already do not matter."""

    @abstractmethod
    def remove_leftovers(self, before_s: float) -> int:
        """Remove what writers that died before this time left behind. Gives the number."""
