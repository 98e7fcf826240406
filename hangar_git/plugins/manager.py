"""Which plugins there are, and which of them is for a file."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from types import ModuleType
from typing import Any, ClassVar

from ..errors import InvalidInputError, StateError
from .base import PROVIDES, BasePlugin

GROUP = "hangar_git.plugins"
ORIGINAL_GROUP = "hangar.external.plugins"
"""Entry point group of plugins that were made for Hangar 0.4."""

BUILT_IN = {
    "images": ("images", "ImagePlugin"),
    "numpy": ("numpyfiles", "NpyPlugin"),
    "npz": ("numpyfiles", "NpzPlugin"),
    "csv": ("tables", "CsvPlugin"),
    "parquet": ("columns", "ParquetPlugin"),
    "arrow": ("columns", "ArrowPlugin"),
    "audio": ("audio", "AudioPlugin"),
    "video": ("video", "VideoPlugin"),
    "nifti": ("medical", "NiftiPlugin"),
    "dicom": ("medical", "DicomPlugin"),
    "hdf5": ("hdf5", "Hdf5Plugin"),
    "zarr": ("zarrs", "ZarrPlugin"),
    "webdataset": ("webdataset", "WebDatasetPlugin"),
    "text": ("text", "TextPlugin"),
    "bytes": ("text", "BytesPlugin"),
}


class PluginManager:
    """The plugins that are built in, and those that installed distributions offer.

    Attributes
    ----------
    broken
        Why a plugin could not be taken, by its name.
    """

    valid_provides: ClassVar[list[str]] = list(PROVIDES)

    def __init__(self) -> None:
        self.broken: dict[str, str] = {}
        self._plugins: dict[str, Any] = {}
        self._defaults: dict[tuple[str, str], str] = {}
        self.reset_plugins()

    def reset_plugins(self) -> None:
        """Look for plugins again."""
        self.broken.clear()
        self._plugins.clear()
        self._defaults.clear()
        for name, (module, kind) in BUILT_IN.items():
            found = importlib.import_module(f".{module}", __package__)
            self._add(name, getattr(found, kind)())
        for entry in entry_points(group=GROUP):
            self._take(entry)
        originals = entry_points(group=ORIGINAL_GROUP)
        if originals:
            with _as_original():
                for entry in originals:
                    self._take(entry)

    def _take(self, entry: EntryPoint) -> None:
        """Load a plugin of others; whatever it does wrong, the others stay usable."""
        if entry.name in self._plugins:
            self.broken[entry.name] = f"{entry.value}: there is a plugin of this name already"
            return
        try:
            self._add(entry.name, entry.load()())
        except (Exception, SystemExit) as error:  # noqa: BLE001  # code of others, at import
            self.broken[entry.name] = f"{entry.value}: {type(error).__name__}: {error}"

    def _add(self, name: str, plugin: Any) -> None:
        pairs = [(_bare(one), method) for one in plugin.accepts for method in plugin.provides]
        self._plugins[name] = plugin
        for pair in pairs:
            self._defaults.setdefault(pair, name)

    @property
    def names(self) -> list[str]:
        """Names of all plugins."""
        return list(self._plugins)

    def extensions(self, method: str) -> list[str]:
        """Extensions of the files that some plugin offers `method` for, without the dot."""
        return [extension for extension, offered in self._defaults if offered == method]

    def find(
        self, method: str, plugin: str | None = None, extension: str | None = None
    ) -> tuple[str, BasePlugin]:
        """Name and plugin that offers `method`: the one called `plugin`, or one for `extension`.

        Raises
        ------
        ValueError
            Neither is given, or there is none.
        """
        if plugin:
            if plugin not in self._plugins:
                why = self.broken.get(plugin)
                raise InvalidInputError(
                    f"plugin {plugin!r} cannot be loaded: {why}" if why else
                    f"there is no plugin {plugin!r}, but {', '.join(self._plugins)}"
                )  # fmt: skip
            if method not in self._plugins[plugin].provides:
                raise InvalidInputError(f"plugin {plugin!r} does not provide {method}")
            return plugin, self._plugins[plugin]
        if not extension:
            raise InvalidInputError("give a plugin or an extension")
        name = self._defaults.get((_bare(extension), method))
        if name is None:
            raise InvalidInputError(
                f"no plugin provides {method} for the extension {extension!r}, but for"
                f" {', '.join(dict.fromkeys(self.extensions(method)))}"
            )
        return name, self._plugins[name]

    def get_plugin(
        self, method: str, plugin: str | None = None, extension: str | None = None
    ) -> Callable[..., Any]:
        """Method of a plugin: of the one called `plugin`, or else of the one for `extension`.

        Raises
        ------
        ValueError
            Neither is given, or there is no such plugin.
        RuntimeError
            The plugin claims to provide the method, and has none.
        """
        name, found = self.find(method, plugin, extension)
        function = getattr(found, method, None)
        if function is None:
            raise StateError(f"plugin {name!r} says that it provides {method}, and has none")
        return function  # type: ignore[no-any-return]


def _bare(extension: str) -> str:
    return extension.lstrip(".").lower()


@contextmanager
def _as_original() -> Iterator[None]:
    """A block in which ``from hangar.external import BasePlugin`` works, without Hangar 0.4."""
    if find_spec("hangar") is not None:
        yield
        return
    package, external = ModuleType("hangar"), ModuleType("hangar.external")
    external.BasePlugin = BasePlugin  # type: ignore[attr-defined]
    package.external = external  # type: ignore[attr-defined]
    sys.modules.update({"hangar": package, "hangar.external": external})
    try:
        yield
    finally:
        for name in ("hangar", "hangar.external"):
            sys.modules.pop(name, None)


@cache
def plugin_manager() -> PluginManager:
    """The manager of this process."""
    return PluginManager()
