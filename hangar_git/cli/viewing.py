"""``git hangar view``, and ``plugins``, which lists what can be read, written and viewed."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from typing import Any

import click

from ..errors import InvalidInputError, NotFoundError, StateError
from ..plugins.sixel import sixels
from ..plugins.terminal import half_blocks, picture_of, statistics
from .names import sample_name
from .opening import open_repository, reading
from .output import json_option, print_json
from .pluginoptions import PluginCommand, manager, plugin_options
from .terminalquery import graphics

_TEXT_LINES = 40
_STATISTICS_LINES = 12
"""Lines that are left below a picture."""


@click.command(cls=PluginCommand, short_help="Show a sample.")
@click.argument("arrayset")
@click.argument("sample")
@click.argument("startpoint", required=False)
@click.option(
    "-f", "--format", "format_", metavar="EXTENSION", help="Show it as the plugin for this format."
)
@click.option("--plugin", help="Show it with this plugin.")
@json_option
def view(
    arrayset: str, sample: str, startpoint: str | None, format_: str | None, plugin: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Show SAMPLE of ARRAYSET as it was at STARTPOINT, by default in the last commit.

    An image is drawn in a terminal with colors, in pixels if that shows sixels; of other samples,
    and elsewhere, numbers are shown.
    With --plugin or --format a plugin shows it in its own way, such as in a window. SAMPLE is NAME,
    int:NUMBER, or for nested samples OUTER/INNER.
    """
    repository, _ = open_repository()
    with reading(repository, startpoint) as checkout:
        aset = checkout.arraysets.get(arrayset)
        key = sample_name(sample)
        if isinstance(key, tuple) != aset.contains_subsamples:
            takes = "OUTER/INNER" if aset.contains_subsamples else "one name"
            raise InvalidInputError(f"samples of arrayset {arrayset!r} are called by {takes}")
        if key not in aset:
            raise NotFoundError(f"arrayset {arrayset!r} has no sample {sample!r}")
        data = aset.get(key)
    if plugin or format_:
        manager().get_plugin("show", plugin, format_)(data, **plugin_options())
        return
    found = statistics(data)
    if as_json:
        print_json({"arrayset": arrayset, "sample": sample, **found})
        return
    drawn = _drawn(data)
    if drawn is not None:
        click.echo(drawn, color=True)
    if isinstance(data, str):
        lines = data.splitlines()
        click.echo("\n".join(lines[:_TEXT_LINES]))
        if len(lines) > _TEXT_LINES:
            click.echo(f"... {len(lines) - _TEXT_LINES:,} more lines")
    else:
        click.echo("\n".join(f"{name:10} {_shown(value)}" for name, value in found.items()))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)


def _drawn(data: Any) -> str | None:
    """`data` as a picture, where it can be one and the terminal can show it."""
    if isinstance(data, str | bytes) or not sys.stdout.isatty():
        return None
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return None
    picture = picture_of(data)
    if picture is None:
        return None
    columns, lines = shutil.get_terminal_size()
    lines = max(1, lines - _STATISTICS_LINES)
    with suppress(StateError):  # without Pillow there are half blocks
        shown = graphics()
        if shown.sixel:
            return sixels(picture, columns * shown.cell_width, lines * shown.cell_height)
    return half_blocks(picture, columns, lines)


@click.command(short_help="List the plugins for files.")
@json_option
def plugins(as_json: bool) -> None:
    """List the plugins that read, write and show files, built in and installed."""
    found = manager()
    rows = [found._plugins[name] for name in found.names]
    if as_json:
        print_json({
            "plugins": {name: {"provides": list(one.provides), "accepts": list(one.accepts)}
                        for name, one in zip(found.names, rows, strict=True)},
            "broken": found.broken,
        })  # fmt: skip
        return
    for name, one in zip(found.names, rows, strict=True):
        click.echo(f"{name:12} {', '.join(one.provides):30} {' '.join(one.accepts)}")
