"""Every error this package raises on purpose.

The tree is grouped by what a handler would do; each class also subclasses the builtin exception
that Hangar 0.4 documents for the mistake, so that handlers written for it keep working::

    HangarError                    .kind, a stable word for scripts
    ├── NotFoundError              KeyError          no such arrayset, sample, digest
    │   └── RevisionNotFoundError  + ValueError      no such branch, tag or commit
    ├── AlreadyExistsError         LookupError + ValueError
    ├── InvalidInputError          ValueError        schema, key, shape, option
    │   └── OutOfRangeError        + IndexError      slice of a sample beyond its shape
    ├── UnsupportedError           NotImplementedError   a method that a plugin has not
    ├── StateError                 RuntimeError      closed, nothing to commit, HEAD detached
    │   └── DirtyStagingError      + ValueError      staged changes are in the way
    ├── NotPermittedError          PermissionError   refused in this state
    │   ├── WriterLockError                          another writer, a closed checkout
    │   └── ReadOnlyError                            opened for reading, or no right to write
    ├── DataNotLocalError          FileNotFoundError sample known, but not on this machine
    ├── ConflictError              ValueError        .conflicts
    ├── IntegrityError             RuntimeError      .expected .actual .where
    ├── FormatError                                  unknown or malformed on-disk format
    ├── StorageError               OSError           the disk refused: full, failing
    └── RemoteError                ConnectionError   .retryable
        ├── RemoteConnectionError                    unreachable, cut off, overloaded: retryable
        ├── RemoteNotFoundError    + LookupError     no such bucket, directory, repository there
        ├── RemoteAuthenticationError + PermissionError  who we are: missing or refused
        ├── RemotePermissionError  + PermissionError we are known, and may not
        └── RemoteProtocolError                      the other side speaks something else
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any


class HangarError(Exception):
    """Base of all errors of this package."""

    kind = "error"
    retryable = False
    """Whether the same call may succeed later, with nothing changed by the user."""

    # KeyError and OSError would print their arguments in their own ways.
    __str__ = Exception.__str__


class NotFoundError(HangarError, KeyError):
    """An arrayset, sample, metadata key or digest that does not exist."""

    kind = "not-found"
    __str__ = Exception.__str__


class RevisionNotFoundError(NotFoundError, ValueError):
    """A branch, tag or commit that does not exist."""

    kind = "revision-not-found"


class AlreadyExistsError(HangarError, LookupError, ValueError):
    """The name is taken."""

    kind = "already-exists"


class InvalidInputError(HangarError, ValueError):
    """An argument that can never be right: schema, key, shape, option."""

    kind = "invalid-input"


class OutOfRangeError(InvalidInputError, IndexError):
    """An index beyond the shape of a sample."""

    kind = "out-of-range"


class UnsupportedError(HangarError, NotImplementedError):
    """What was asked for is not one of the things that this plugin does."""

    kind = "unsupported"


class StateError(HangarError, RuntimeError):
    """The operation is right, the repository's state is not."""

    kind = "state"


class DirtyStagingError(StateError, ValueError):
    """Staged changes are in the way; commit or reset them first."""

    kind = "dirty-staging"


class NotPermittedError(HangarError, PermissionError):
    """Refused in this state."""

    kind = "not-permitted"


class WriterLockError(NotPermittedError):
    """Another writer holds the repository, or this checkout has been closed."""

    kind = "writer-lock"


class ReadOnlyError(NotPermittedError):
    """Opened for reading, or the file system does not let us write."""

    kind = "read-only"


class DataNotLocalError(HangarError, FileNotFoundError):
    """The sample is known, but its data is not on this machine."""

    kind = "data-not-local"


class ConflictError(HangarError, ValueError):
    """Two sides changed the same thing to different values."""

    kind = "conflict"

    def __init__(self, message: str, conflicts: Any = None) -> None:
        super().__init__(message)
        self.conflicts = conflicts


class IntegrityError(HangarError, RuntimeError):
    """Stored bytes are not what was stored."""

    kind = "integrity"

    def __init__(
        self,
        message: str,
        *,
        expected: str | None = None,
        actual: str | None = None,
        where: str | None = None,
    ) -> None:
        super().__init__(message)
        self.expected = expected
        self.actual = actual
        self.where = where


class FormatError(HangarError):
    """An unknown or malformed on-disk format; the message names file and line."""

    kind = "format"


class StorageError(HangarError, OSError):
    """The file system refused a write: disk full, quota, I/O error."""

    kind = "storage"
    __str__ = Exception.__str__

    @classmethod
    def of(cls, error: OSError, doing: str) -> StorageError:
        """Ours for `error`, met while `doing` something (``"writing container x"``)."""
        reason = error.strerror or str(error)
        ours = cls(f"{doing}: {reason}; nothing was committed")
        ours.errno, ours.strerror = error.errno, error.strerror
        ours.filename = error.filename
        return ours


class RemoteError(HangarError, ConnectionError):
    """A remote could not do what was asked; what it had stored before, it still has."""

    kind = "remote"

    def __init__(self, message: str, *, retryable: bool | None = None) -> None:
        super().__init__(message)
        if retryable is not None:
            self.retryable = retryable


class RemoteConnectionError(RemoteError):
    """The remote could not be reached, or the connection was cut, timed out or refused."""

    kind = "remote-connection"
    retryable = True


class RemoteNotFoundError(RemoteError, LookupError):
    """The remote has no such bucket, directory or repository."""

    kind = "remote-not-found"


class RemoteAuthenticationError(RemoteError, PermissionError):
    """No credentials, or credentials that the remote does not accept."""

    kind = "remote-authentication"


class RemotePermissionError(RemoteError, PermissionError):
    """The remote knows who we are, and does not allow it."""

    kind = "remote-permission"


class RemoteProtocolError(RemoteError):
    """The remote answered with something that this program does not understand."""

    kind = "remote-protocol"


def cannot_write(path: object, error: OSError) -> HangarError:
    """The error for `path`, where we must write: no right to, or no space."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ReadOnlyError(f"{path} cannot be written to: {error.strerror}")
    return StorageError.of(error, f"writing to {path}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What to end a message with about `name`, which is not `known`; nothing if none is like it."""
    import difflib

    like = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {like[0]!r}?" if like else ""
