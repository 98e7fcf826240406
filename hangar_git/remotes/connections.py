"""Connections to a remote that samples are streamed from: one for each thread that reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

from ..errors import StateError
from ..records.gitrepo import GitRepository
from ..transfer.samples import Parcel, SampleStore
from .access import RemoteAccess
from .opening import open_data
from .remoteconfig import find_remote

Opener: TypeAlias = Callable[[], SampleStore]
"""Opens a remote, in any process: it can be pickled, hashed and compared."""


@dataclass(frozen=True)
class RemoteOfClone:
    """Opens the data of a remote of a clone; also where it was pickled to, and the clone is not.

    Parameters
    ----------
    git_dir
        Of the clone.
    remote
        Its name.
    elsewhere
        How it is reached without the clone; None: not at all.
    """

    git_dir: str
    remote: str
    elsewhere: RemoteAccess | None = None

    @classmethod
    def of(cls, git: GitRepository, remote: str) -> RemoteOfClone:
        """The opener for a remote of a clone on this machine."""
        access = None
        with suppress(StateError):  # its data has no address
            access = RemoteAccess.of(git, remote)
        return cls(str(git.git_dir), remote, access)

    def __call__(self) -> SampleStore:
        """The data of the remote, to be read."""
        if self.elsewhere is not None and not Path(self.git_dir).is_dir():
            return self.elsewhere()
        git = GitRepository(Path(self.git_dir))
        return open_data(git, find_remote(git, self.remote))


class ConnectionPool:
    """Connections that are made when needed, and used again. Safe to use from several threads.

    Parameters
    ----------
    opener
        Makes a connection.
    """

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._lock = Lock()
        self.free: list[Any] = []

    def check(self) -> None:
        """Connect, to raise here and now what would be raised by the first read."""
        self._give_back(self._borrow())

    def export(self, digests: Collection[bytes]) -> Iterator[Parcel]:
        """As `SampleStore.export`, for several threads at once."""
        remote = self._borrow()
        try:
            yield from remote.export(digests)
        finally:
            self._give_back(remote)

    def _borrow(self) -> Any:
        with self._lock:
            if self.free:
                return self.free.pop()
        return self._opener()

    def _give_back(self, remote: Any) -> None:
        with self._lock:
            self.free.append(remote)

    def close(self) -> None:
        """Close those that are not in use; what is read later connects again."""
        with self._lock:
            closed, self.free = self.free, []
        for remote in closed:
            close = getattr(remote, "close", None)  # a directory has nothing to close
            if close is not None:
                close()
