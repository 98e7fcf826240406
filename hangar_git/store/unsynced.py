"""Containers of staged samples that are in the page cache, and not on stable storage yet.

What is staged survives the death of its process, and only a commit has to survive a loss of power:
so a disk that writes slowly holds up the commit, once, and not whoever stages. Until then the names
of these containers stand in a list, which is on stable storage before they have their names. After
a loss of power the list tells what is not to be trusted before it was verified.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..digest import Digest
from ..durable import fsync_path, remove_file, write_all
from ..errors import IntegrityError, StorageError
from .checking import scanned, verify
from .index import LOCATOR, Index

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str | None:
    """What tells this run of the machine from all others; None where the system does not say."""
    try:
        return _BOOT_ID.read_text().strip() or None
    except OSError:
        return None


class UnsyncedList:
    """The list at `path`: the boot id of who wrote it, then a name a line.

    The containers are in `directory`.
    """

    def __init__(self, path: Path, directory: Path) -> None:
        self._path = path
        self._directory = directory

    @property
    def can_defer(self) -> bool:
        """Whether a loss of power can be told afterwards, and none is to be cleared up first."""
        return boot_id() is not None and not self.is_doubtful()

    def names(self) -> list[str]:
        """The containers in it."""
        return self._lines()[1:]

    def is_doubtful(self) -> bool:
        """Whether the machine was started anew since, so that any of them may be damaged."""
        lines = self._lines()
        return bool(lines) and lines[0] != boot_id()

    def _lines(self) -> list[str]:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return []
        # A line that was cut off is of a container that did not get its name.
        return data[: data.rfind(b"\n") + 1].decode(errors="replace").splitlines() or [""]

    def add(self, name: str) -> None:
        """Note a container that is about to get its name; durable."""
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                is_new = not os.fstat(fd).st_size
                head = f"{boot_id()}\n" if is_new else ""
                write_all(fd, f"{head}{name}\n".encode())
                os.fsync(fd)
            finally:
                os.close(fd)
            if is_new:
                fsync_path(self._path.parent)
        except OSError as error:
            raise StorageError.of(error, f"writing {self._path}") from error

    def sync(self) -> None:
        """Put the containers in it on stable storage; some may be gone."""
        try:
            for name in self.names():
                if (self._directory / name).exists():
                    fsync_path(self._directory / name)
            fsync_path(self._directory)
        except OSError as error:
            raise StorageError.of(error, f"writing {self._directory}") from error

    def clear(self) -> None:
        """Make it empty; durable, so that no later loss of power brings it back."""
        try:
            remove_file(self._path)
        except OSError as error:
            raise StorageError.of(error, f"removing {self._path}") from error

    # -- after a loss of power -----------------------------------------------------------------

    def damaged(self) -> list[str]:
        """The containers in it that are gone or not whole: every sample is hashed."""
        return [name for name in self.names() if not _is_whole(self._directory / name)]

    def without_doubtful(self, index: Index, found: dict[Digest, bytes]) -> dict[Digest, bytes]:
        """Those of some rows of the index that lead to containers that can be trusted."""
        doubtful = set(self.names())
        numbers = {number for number, name in index.names().items() if name in doubtful}
        return {d: row for d, row in found.items() if LOCATOR.unpack(row)[1] not in numbers}


def _is_whole(path: Path) -> bool:
    try:
        container = scanned(path)
        verify(container, lambda _: None)
    except (IntegrityError, OSError):
        return False
    return not container.corrupt
