"""Reading many files by plugins, on all processors."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import HangarError, InvalidInputError
from ..threads import cpu_count
from .base import Form
from .finding import Found
from .manager import PluginManager
from .names import stem_and_extension

_TASK_FILES = 64
_TASK_BYTES = 1 << 20
"""Small files go to a thread together, up to so many or so much of samples: handing one over takes
as long as reading it."""
_AHEAD = 4
"""Tasks in all, for each thread, that are begun before their results are taken."""
_TABLES = ("npz", "csv", "parquet", "arrow", "webdataset", "zarr")


@dataclass(slots=True)
class Decoded:
    """What a file holds.

    Parameters
    ----------
    file
        Which file.
    found
        Pairs of data and name; an iterator where there may be many.
    alone
        Whether the file holds one sample, and is called like it.
    stamp
        Size and time of the file's last change.
    error
        Why it could not be read.
    """

    file: Found
    found: Iterable[tuple[Any, Any]]
    alone: bool
    stamp: tuple[int, int]
    error: Exception | None = None

    def unchanged(self) -> None:
        """Raise InvalidInputError if the file has changed since reading it began."""
        if stamp_of(self.file.path) != self.stamp:
            raise InvalidInputError(f"{self.file.path}: changed while it was read")

    def size_bytes(self) -> int:
        """Of the sample, if it is one; else as much as a task may have."""
        if not self.alone:
            return _TASK_BYTES
        return sum(int(getattr(data, "nbytes", 0)) for data, _ in self.found)


def stamp_of(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change of a file."""
    status = os.stat(path)  # noqa: PTH116  # half the time of Path.stat
    return status.st_size, status.st_mtime_ns


class Loader:
    """Reads files for one arrayset.

    Parameters
    ----------
    manager
        Of the plugins.
    plugin
        Name of the plugin to use; None goes by the extension.
    form
        Of the arrayset; None if it is not known yet.
    options
        What the plugin takes beyond.
    """

    def __init__(
        self, manager: PluginManager, plugin: str | None, form: Form | None, options: dict[str, Any]
    ) -> None:
        self._manager = manager
        self._plugin = plugin
        self._form = form
        self._options = options
        self._by_extension: dict[str, Callable[[Path], Any]] = {}

    def is_known(self, path: Path) -> bool:
        """Whether there is a plugin for a file."""
        try:
            self._function(path)
        except HangarError:
            return False
        return True

    def _function(self, path: Path) -> Callable[[Path], Any]:
        extension = stem_and_extension(path.name)[1]
        if extension not in self._by_extension:
            self._by_extension[extension] = self._made(path, extension)
        return self._by_extension[extension]

    def _made(self, path: Path, extension: str) -> Callable[[Path], Any]:
        manager, form = self._manager, self._form
        if self._plugin:
            name, plugin = manager.find("load", self._plugin)
        else:
            try:
                name, plugin = manager.find("load", None, extension or "none")
            except InvalidInputError as error:
                if form is None or form.kind == "array":
                    known = ", ".join(dict.fromkeys(manager.extensions("load")))
                    raise InvalidInputError(
                        f"{path}: not one of the files that can be read: {known}"
                    ) from error
                name = ""
            if form is not None and form.kind != "array" and name not in _TABLES:
                name, plugin = manager.find("load", "text" if form.kind == "str" else "bytes")
        options = dict(self._options)
        if getattr(plugin, "takes_form", False):
            options["form"] = form

        def load(path: Path) -> Any:
            try:
                return plugin.load(path, **options)
            except TypeError as error:
                if not self._options:
                    raise
                raise InvalidInputError(
                    f"{path}: plugin {name!r} was given {', '.join(self._options)}: {error}"
                ) from error

        return load

    def load(self, file: Found) -> Decoded:
        """Read one file; its error is in the result."""
        stamp = (0, 0)
        try:
            stamp = stamp_of(file.path)
            found = self._function(file.path)(file.path)
        except Exception as error:  # noqa: BLE001  # plugins of others raise anything
            return Decoded(file, (), True, stamp, error)
        if not isinstance(found, tuple):
            return Decoded(file, found, False, stamp)
        decoded = Decoded(file, (found,), True, stamp)
        try:
            decoded.unchanged()
        except (HangarError, OSError) as error:
            decoded.error = error
        return decoded

    def load_all(self, files: Iterable[Found]) -> Iterator[Decoded]:
        """Read files, in order and some of them ahead."""
        threads = cpu_count()
        waiting: deque[Future[list[Decoded]]] = deque()
        left = iter(files)
        size = 1
        with ThreadPoolExecutor(threads, "hangar-decode") as pool:
            try:
                while part := list(islice(left, size)):
                    waiting.append(pool.submit(self._load_part, part))
                    if len(waiting) > _AHEAD * threads:
                        done = waiting.popleft().result()
                        size = _task_files(done)
                        yield from done
                while waiting:
                    yield from waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _load_part(self, files: list[Found]) -> list[Decoded]:
        return [self.load(one) for one in files]


def _task_files(done: list[Decoded]) -> int:
    """How many files the next task should have, if they are like those of the last one."""
    size_bytes = sum(one.size_bytes() for one in done) // len(done)
    return max(1, min(_TASK_FILES, _TASK_BYTES // max(1, size_bytes)))
