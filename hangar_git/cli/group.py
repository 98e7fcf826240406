"""The group of all commands: a command's module is imported when the command is called.

The API and what stands behind it take longer to import than most commands take to run.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import click

from .coloring import COLORED, offer_color, with_values

REPORTS = frozenset(
    {"status", "log", "summary", "diff", "show", "view", "blame", "du", "plugins", "completion"}
)
"""Commands whose output is all they are for: ``--quiet`` would make them do nothing."""
NO_PROGRESS = "hangar.no_progress"
"""In a context's ``meta``: no progress is to be shown."""


class Entry(NamedTuple):
    """Where a command is, and what the list of commands says about it."""

    place: str
    help: str


class LazyGroup(click.Group):
    """A group of commands that are imported when they are needed.

    Parameters
    ----------
    entries
        By name of command: ``module:attribute``, below this package.
    hidden_entries
        Of commands that are not listed.
    """

    def __init__(
        self,
        *args: Any,
        entries: Mapping[str, Entry],
        hidden_entries: Mapping[str, Entry],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._entries = {**entries, **hidden_entries}
        self._listed = list(entries)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, in the order of the alphabet."""
        hidden = self._entries.keys() - self._listed
        return sorted({*self._listed, *(super().list_commands(ctx))} - hidden)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name."""
        if cmd_name in self.commands or cmd_name not in self._entries:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._entries[cmd_name].place.partition(":")
        command: click.Command = getattr(
            importlib.import_module(f".{module}", __package__), attribute
        )
        if cmd_name not in REPORTS:
            _offer_quiet(command)
        if cmd_name in COLORED:
            offer_color(command)
        if ctx.resilient_parsing:  # a shell asks what could stand here
            _complete(command)
        self.add_command(command, cmd_name)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's."""
        return super().parse_args(ctx, with_values(args))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with what may have been meant among the commands that are not imported."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(
                error.command_name, possibilities=self.list_commands(ctx), ctx=ctx
            ) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._help(ctx, name)) for name in self.list_commands(ctx)])

    def _help(self, ctx: click.Context, name: str) -> str:
        if name in self._entries:
            return self._entries[name].help
        command = self.get_command(ctx, name)
        return command.get_short_help_str(100) if command is not None else ""


def _complete(command: click.Command) -> None:
    from .completion import complete_command

    if not isinstance(command, click.Group):
        complete_command(command)
        return
    for one in command.commands.values():
        complete_command(one, command.name or "")


def _offer_quiet(command: click.Command) -> None:
    """Give `command` an option ``--quiet``; a group's commands each."""
    if isinstance(command, click.Group):
        for one in command.commands.values():
            if one.name != "list":
                _offer_quiet(one)
        return
    taken = {name for parameter in command.params for name in parameter.opts}
    if "--quiet" in taken or command.hidden:
        return
    names = ["--quiet"] if "-q" in taken else ["-q", "--quiet"]
    command.params.append(
        click.Option(names, is_flag=True, expose_value=False, callback=_be_quiet,
                     help="Print errors only.")
    )  # fmt: skip


def _be_quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[NO_PROGRESS] = True
        nowhere = ctx.with_resource(Path(os.devnull).open("w"))  # noqa: SIM115  # closed with ctx
        ctx.with_resource(redirect_stdout(nowhere))
