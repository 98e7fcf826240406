"""Objects in a directory, which may be a network mount: each an ordinary file, written durably.

obstore has local storage of its own, but never calls fsync (obstore 0.12, seen with strace,
2026-11): a pack that was acknowledged could be gone after a power cut. Nor need it be installed.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Collection, Sequence
from pathlib import Path

from ..durable import fsync_path, make_directory, write_all
from ..errors import (
    HangarError,
    RemoteConnectionError,
    RemoteNotFoundError,
    RemotePermissionError,
    StorageError,
)
from .objects import Objects, Stored
from .packs import Buffer

_TEMPORARY = ".tmp-"


class DirectoryObjects(Objects):
    """Objects in ``<root>/packs``.

    Parameters
    ----------
    root
        An existing directory; what is below it is made by the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.where = str(root)
        self._directory = root / "packs"

    def list(self) -> list[Stored]:
        """All objects; none while nothing has been written."""
        try:
            with os.scandir(self._directory) as entries:
                found = []
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    try:
                        status = entry.stat()
                    except FileNotFoundError:
                        continue  # deleted since
                    found.append(Stored(entry.name, status.st_size, status.st_mtime))
                return found
        except FileNotFoundError:
            self._check_root()
            return []
        except OSError as error:
            raise _cannot_read(self._directory, error) from error

    def read(self, name: str, start: int, size_bytes: int) -> Buffer | None:
        """Bytes of a file; short only at its end."""
        path = self._directory / name
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            self._check_root()
            return None
        except OSError as error:
            raise _cannot_read(path, error) from error
        try:
            parts = []
            while size_bytes and (part := os.pread(fd, size_bytes, start)):
                parts.append(part)
                start, size_bytes = start + len(part), size_bytes - len(part)
        except OSError as error:
            raise _cannot_read(path, error) from error
        finally:
            os.close(fd)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Write under a temporary name, fsync, rename, fsync the directory."""
        self._check_root()
        path = self._directory / name
        temporary = self._directory / f"{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            make_directory(self._directory)
            try:
                # Read-only as Git's packs are: nothing ever changes it.
                fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
                try:
                    for piece in pieces:
                        write_all(fd, memoryview(piece))
                    os.fsync(fd)
                finally:
                    os.close(fd)
                temporary.rename(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            fsync_path(self._directory)
        except OSError as error:
            raise _cannot_write(self._directory, error) from error

    def delete(self, names: Collection[str]) -> None:
        """Unlink files."""
        try:
            for name in names:
                (self._directory / name).unlink(missing_ok=True)
            if names:
                fsync_path(self._directory)
        except OSError as error:
            raise _cannot_write(self._directory, error) from error

    def remove_leftovers(self, before_s: float) -> int:
        """Unlink old temporary files."""
        try:
            with os.scandir(self._directory) as entries:
                old = [
                    entry.name
                    for entry in entries
                    if entry.name.startswith(_TEMPORARY) and entry.stat().st_mtime < before_s
                ]
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise _cannot_read(self._directory, error) from error
        self.delete(old)
        return len(old)

    def _check_root(self) -> None:
        # Not made here: an unmounted network drive would get its data on the wrong disk.
        try:
            self.root.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RemoteNotFoundError(
                f"data directory {self.root} does not exist; make it, or mount it, first"
            ) from error
        except OSError as error:
            raise _cannot_read(self.root, error) from error
        if not self.root.is_dir():
            raise RemoteNotFoundError(f"data directory {self.root} is not a directory")


def make_data_directory(root: Path) -> None:
    """Make the directory of a new data remote, durably."""
    try:
        make_directory(root)
    except OSError as error:
        raise _cannot_write(root, error) from error


def _cannot_write(path: Path, error: OSError) -> HangarError:
    reason = error.strerror or str(error)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return RemotePermissionError(f"{path} cannot be written to: {reason}")
    ours = StorageError(f"writing to {path}: {reason}")
    ours.errno, ours.strerror = error.errno, error.strerror
    return ours


def _cannot_read(path: Path, error: OSError) -> HangarError:
    if isinstance(error, PermissionError):
        return RemotePermissionError(f"{path} cannot be read: {error.strerror}")
    if isinstance(error, NotADirectoryError):
        return RemoteNotFoundError(f"{path} is not a directory")
    return RemoteConnectionError(f"reading {path}: {error.strerror}")
