"""The writer lock: one writer per repository, over all its worktrees.

A kernel lock on a file, so that it ends with its process however that dies. Taking it by force
puts another file in its place: the former holder still has a lock, but on a file that is no longer
the one at the path, and finds out before it writes anything.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from contextlib import suppress
from pathlib import Path

from ..errors import StateError, WriterLockError, cannot_write


class WriterLock:
    """The lock of one repository, held from `acquire` to `release`.

    Attributes
    ----------
    was_forced
        Whether a former lock was taken by force, so that its holder may still be writing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._stat: os.stat_result | None = None
        self.was_forced = False

    def acquire(self) -> None:
        """Take the lock, or fail at once.

        Raises
        ------
        WriterLockError
            Another writer, in this process or another, holds it.
        """
        self.was_forced = not self._path.exists()
        while not self._try():
            continue
        _held.add(self)

    def _try(self) -> bool:
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise cannot_write(self._path, error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(fd, 64, 0).decode(errors="replace").strip()
            os.close(fd)
            raise WriterLockError(
                f"cannot acquire the writer lock: only one writer checkout can be active at a time,"
                f" and {holder or 'another process'} has one; close it, or end that process"
            ) from error
        self._fd, self._stat = fd, os.fstat(fd)
        self._close = weakref.finalize(self, os.close, fd)
        self._close.atexit = False  # checkouts are closed at exit, and need it until then
        if not self.is_held():  # replaced between open and lock
            self.release()
            return False
        with suppress(OSError):  # for people to read; a full disk may have no space for it
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"process {os.getpid()}".encode(), 0)
        return True

    def is_held(self) -> bool:
        """Whether the lock is still the one at its path."""
        try:
            return self._stat is not None and os.path.samestat(self._path.stat(), self._stat)
        except FileNotFoundError:
            return False

    def check(self) -> None:
        """Raise WriterLockError if the lock was taken away by force."""
        if not self.is_held():
            raise WriterLockError(
                "the writer lock of this checkout was released by force; it can write no more:"
                " close it and open a new one"
            )

    def release(self) -> None:
        """Give the lock back; again and again does no harm."""
        if self._fd >= 0:
            # Not by closing alone: a child that was just forked may not have closed its copy yet.
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        self._forget()

    def _forget(self) -> None:
        """Close this process's copy of the lock."""
        if self._fd >= 0:
            self._close()
        self._fd, self._stat = -1, None
        _held.discard(self)


def force_release(path: Path) -> bool:
    """Take the lock at `path` away from whoever holds it; True, for there is no other outcome."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StateError(f"cannot release the writer lock {path}: {error.strerror}") from error
    return True


_held: weakref.WeakSet[WriterLock] = weakref.WeakSet()


def _close_after_fork() -> None:
    # The child would share the parent's lock and keep it alive after the parent's death.
    for lock in list(_held):
        lock._forget()


os.register_at_fork(after_in_child=_close_after_fork)
