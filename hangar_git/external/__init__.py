"""Between hangar_git and the world: arrays from files, to files, and on the screen, by plugins."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from ..plugins.base import BasePlugin
from ..plugins.manager import PluginManager, plugin_manager
from ..plugins.names import stem_and_extension

if TYPE_CHECKING:
    import os

__all__ = ["BasePlugin", "PluginManager", "board_show", "load", "save", "show"]


def load(
    fpath: str | os.PathLike[str],
    plugin: str | None = None,
    extension: str | None = None,
    **plugin_kwargs: Any,
) -> Any:
    """Read a file into memory.

    Parameters
    ----------
    fpath
        The file, ``path/to/test.jpg``.
    plugin
        Name of the plugin to use; by default one for the extension.
    extension
        Of the format; by default that of `fpath`.
    **plugin_kwargs
        What the plugin takes beyond.

    Returns
    -------
    tuple or iterator
        Array and sample name; an iterator of them for files that hold several samples.

    Raises
    ------
    ValueError
        There is no plugin of that name, or for that extension.
    """
    if not plugin and not extension:
        extension = stem_and_extension(str(fpath))[1]
    return _manager().get_plugin("load", plugin, extension)(fpath, **plugin_kwargs)


def save(
    arr: Any,
    outdir: str | os.PathLike[str],
    sample_det: str,
    extension: str,
    plugin: str | None = None,
    **plugin_kwargs: Any,
) -> Any:
    """Write an array to a file.

    Parameters
    ----------
    arr
        The array.
    outdir
        Directory of the file; the plugin makes the file's name, since some put many samples into
        one.
    sample_det
        Type and name of the sample: ``str:a7`` or ``int:10``.
    extension
        Of the format.
    plugin
        Name of the plugin to use; by default one for the extension.
    **plugin_kwargs
        What the plugin takes beyond.

    Raises
    ------
    ValueError
        There is no such plugin, or the format cannot hold the array.
    """
    function = _manager().get_plugin("save", plugin, extension)
    return function(arr, outdir, sample_det, extension, **plugin_kwargs)


def show(
    arr: Any, plugin: str | None = None, extension: str | None = None, **plugin_kwargs: Any
) -> Any:
    """Show an array to the user, by a plugin's ``show``.

    Parameters
    ----------
    arr
        The array.
    plugin, extension
        Which plugin: its name, or an extension that it is for; one of them is needed.
    **plugin_kwargs
        What the plugin takes beyond.

    Raises
    ------
    ValueError
        There is no such plugin.
    """
    return _manager().get_plugin("show", plugin, extension)(arr, **plugin_kwargs)


def board_show(
    arr: Any, plugin: str | None = None, extension: str | None = None, **plugin_kwargs: Any
) -> Any:
    """An array in a form that a board can display: image, text or audio.

    Parameters
    ----------
    arr
        The array.
    plugin, extension
        Which plugin: its name, or an extension that it is for; one of them is needed.
    **plugin_kwargs
        What the plugin takes beyond.

    Raises
    ------
    ValueError
        There is no such plugin.
    """
    return _manager().get_plugin("board_show", plugin, extension)(arr, **plugin_kwargs)


_warned: set[str] = set()


def _manager() -> PluginManager:
    manager = plugin_manager()
    for name, why in manager.broken.items():
        if name not in _warned:
            _warned.add(name)
            warnings.warn(f"plugin {name!r} cannot be loaded: {why}", stacklevel=3)
    return manager
