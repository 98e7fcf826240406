"""Options for plugins on the command line, and what is common to import, export and view."""

from __future__ import annotations

from typing import Any

import click

from ..plugins.base import Form
from ..plugins.manager import PluginManager, plugin_manager
from ..schema import Schema

_META = "hangar.plugin_options"


class PluginCommand(click.Command):
    """A command that hands ``--name=value`` to a plugin where the option is not its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, without the options for the plugin."""
        own = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        own |= {name for parameter in self.get_params(ctx) for name in parameter.secondary_opts}
        ours, options = [], {}
        for at, arg in enumerate(args):
            name, equals, value = arg.partition("=")
            if arg == "--":
                ours += args[at:]
                break
            if name.startswith("--") and equals and name not in own:
                options[name[2:].replace("-", "_")] = _typed(value)
            else:
                ours.append(arg)
        ctx.meta[_META] = options
        return super().parse_args(ctx, ours)


def _typed(value: str) -> Any:
    """``16000`` is an int, ``0.5`` a float, ``true`` a bool, others are texts."""
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def plugin_options() -> dict[str, Any]:
    """The options that the user gave for the plugin."""
    return dict(click.get_current_context().meta.get(_META, {}))


def manager() -> PluginManager:
    """The plugins; tells which of them could not be loaded."""
    found = plugin_manager()
    for name, why in found.broken.items():
        click.echo(f"warning: plugin {name!r} cannot be loaded: {why}", err=True)
    return found


def form_of(schema: Schema) -> Form:
    """What plugins are told about an arrayset."""
    return Form(schema.kind, schema.dtype, schema.shape, schema.variable_shape)
