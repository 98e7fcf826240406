"""Directories side by side, each a version of the same files: ``v1``, ``v2``, ``v10``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3

from ..errors import InvalidInputError
from ..plugins.finding import Search
from .sources import Content, Source, State, Step


class VersionsSource(Source):
    """A directory of versions.

    Parameters
    ----------
    path
        The directory.
    is_known
        Whether there is a plugin for a path.
    """

    def __init__(self, path: Path, is_known: Callable[[Path], bool]) -> None:
        self.path = path
        self.folder = path.resolve().name
        self.identity = f"versions {path.resolve()}"
        self._search = Search(True, (), is_known, _refuse)
        self._states: dict[str, dict[str, Content]] = {}
        self._digests: dict[tuple[int, int, int, int], str] = {}

    def steps(self, *, linear: bool) -> list[Step]:
        """As `Source.steps`: directories, with numbers in their names in the order of numbers."""
        del linear  # they always are
        names = sorted(
            (one.name for one in self.path.iterdir() if one.is_dir() and one.name[0] != "."),
            key=natural,
        )
        if not names:
            raise InvalidInputError(f"{self.path}: there are no directories in it, one a version")
        before: list[tuple[str, ...]] = [(), *((name,) for name in names)]
        return [Step(name, before[at], name) for at, name in enumerate(names)]

    def state_id(self, step: Step) -> str:
        """As `Source.state_id`: a digest over all files."""
        files = {
            file.relative.as_posix(): Content(self._digest(file.path), file.path)
            for file in self._search.find([self.path / step.name])
        }
        hasher = blake3()
        for name, content in sorted(files.items()):
            hasher.update(f"{name}\0{content.id}\0".encode(errors="surrogateescape"))
        state_id = hasher.hexdigest(16)
        self._states[state_id] = files
        return state_id

    def state(self, state_id: str) -> State:
        """As `Source.state`."""
        return self._states.get(state_id, {})

    def _digest(self, path: Path) -> str:
        status = path.stat()
        # Tools that keep versions side by side make hard links of what did not change.
        place = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if place not in self._digests:
            hasher = blake3()
            for file in sorted(path.rglob("*")) if path.is_dir() else (path,):
                if file.is_file():
                    hasher.update(file.relative_to(path).as_posix().encode())
                    hasher.update_mmap(file)
            self._digests[place] = f"blake3:{hasher.hexdigest()}"
        return self._digests[place]

    def is_here(self, content: Content) -> bool:
        """As `Source.is_here`: it was when it was found."""
        return content.path is not None

    def newest_s(self, step: Step) -> int:
        """When the newest file of a version was last changed, in seconds since 1970."""
        files = self._search.find([self.path / step.name])
        return max(int(file.path.stat().st_mtime) for file in files)

    def check(self, content: Content, path: Path) -> None:
        """As `Source.check`: what changes while it is read is found elsewhere."""


def natural(name: str) -> list[tuple[int, int, str]]:
    """What to order names by, so that ``v10`` comes after ``v2``."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


def _refuse(error: Exception) -> None:
    raise error
