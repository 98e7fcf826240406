"""Which files are meant, and what their samples are called."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from ..errors import HangarError, InvalidInputError
from ..keys import SampleKey
from .names import key_of_stem, key_of_text, replaced, stem_and_extension

KEYS_FROM = ("stem", "name", "path")


@dataclass(frozen=True, slots=True)
class Found:
    """A file of samples, and where it is below the path that was given."""

    path: Path
    relative: PurePosixPath


@dataclass(frozen=True, slots=True)
class Search:
    """How to look for files.

    Parameters
    ----------
    recursive
        Look in subdirectories; links to directories are followed.
    patterns
        Of names, or with a ``/`` of paths below the directory that was given; one must fit.
    is_known
        Whether there is a plugin for a path.
    refused
        Is given the error for what cannot be looked at; raises it, or returns to go on.
    """

    recursive: bool
    patterns: tuple[str, ...]
    is_known: Callable[[Path], bool]
    refused: Callable[[Exception], None]

    def find(self, paths: Iterable[Path]) -> list[Found]:
        """The files at `paths`: these, and those in directories, by name.

        Raises
        ------
        OSError
            A path is not there, or a directory cannot be read, and `refused` does not go on.
        InvalidInputError
            A directory without any, or a link to a directory that it lies in, likewise.
        """
        found: list[Found] = []
        for path in paths:
            if not path.is_dir() or self._is_sample(path):
                path.stat()  # a path that is not there is an error of the file system's
                found.append(Found(path, PurePosixPath(path.name)))
                continue
            inside = list(self._inside(path, PurePosixPath(), frozenset()))
            if not inside:
                what = "files that fit" if self.patterns else "files"
                raise InvalidInputError(f"{path}: there are no {what} in this directory")
            found += inside
        return found

    def _is_sample(self, path: Path) -> bool:
        """Whether a directory is one thing of a plugin's: a Zarr group."""
        return path.suffix.lower() == ".zarr" and self.is_known(path)

    def _inside(
        self, directory: Path, relative: PurePosixPath, above: frozenset[tuple[int, int]]
    ) -> Iterator[Found]:
        try:
            status = directory.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                raise InvalidInputError(f"{directory}: links to a directory that it lies in")
            with os.scandir(directory) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except (OSError, HangarError) as error:
            self.refused(error)
            return
        for entry in entries:
            path, below = directory / entry.name, relative / entry.name
            hidden = entry.name.startswith(".")
            if entry.is_dir() and not self._is_sample(path):
                if self.recursive and not hidden:
                    yield from self._inside(path, below, above | {identity})
            # What the system leaves in directories (.DS_Store) is not meant.
            elif self._fits(below) and not (hidden and not self.is_known(path)):
                if entry.is_file() or entry.is_dir():
                    yield Found(path, below)
                elif entry.is_symlink():
                    self.refused(InvalidInputError(f"{path}: links to a file that is not there"))

    def wants(self, relative: str) -> bool:
        """Whether a file is one of those that `find` would find, by its path in the directory."""
        path = PurePosixPath(relative)
        if any(folder.startswith(".") for folder in path.parts[:-1]):
            return False
        return self._fits(path) and (path.name[0] != "." or self.is_known(Path(relative)))

    def _fits(self, relative: PurePosixPath) -> bool:
        if not self.patterns:
            return True
        return any(
            fnmatchcase(relative.as_posix() if "/" in pattern else relative.name, pattern)
            for pattern in self.patterns
        )


@dataclass(frozen=True, slots=True)
class Naming:
    """What samples are called.

    Parameters
    ----------
    keys_from
        ``stem``: the file's name without extension; ``name``: with it; ``path``: the path below
        the directory that was given, without extension.
    nested
        Names are pairs: of the directory and the file.
    replace
        What takes the place of each character that no name may have; None refuses these names.
    """

    keys_from: str
    nested: bool
    replace: str | None

    def key(self, file: Found, said: object, *, alone: bool) -> SampleKey:
        """The key of a sample.

        Parameters
        ----------
        file
            Its file.
        said
            The name that the plugin gives it.
        alone
            Whether it is the only one in its file, so that the file's name is its name.

        Raises
        ------
        InvalidInputError
            No sample can have this name.
        """
        if not alone:
            return self._of_many(file, said)
        stem = stem_and_extension(file.relative.name)[0]
        if self.keys_from == "name":
            stem = file.relative.name
        elif self.keys_from == "stem" and isinstance(said, str):
            stem = said
        elif isinstance(said, int):
            return said
        folders = file.relative.parent.parts or (file.path.absolute().parent.name,)
        if self.nested:
            outer = ".".join(folders) if self.keys_from == "path" else folders[-1]
            return self._simple(outer), self._simple(stem)
        if self.keys_from == "path":
            stem = ".".join((*file.relative.parent.parts, stem))
        return self._simple(stem)

    def _of_many(self, file: Found, said: object) -> SampleKey:
        if isinstance(said, int):
            return (self._outer(file), said) if self.nested else said
        text = str(said)
        if self.nested and "/" not in text:
            return self._outer(file), self._simple(text)
        if not self.nested:
            text = text.replace("/", ".")
        if self.replace is not None:
            text = "/".join(replaced(part, self.replace) for part in text.split("/"))
        return key_of_text(text)

    def _outer(self, file: Found) -> str | int:
        return self._simple(stem_and_extension(file.relative.name)[0])

    def _simple(self, text: str) -> str | int:
        return key_of_stem(text if self.replace is None else replaced(text, self.replace))
