"""Colors of what is printed, where Git would have them: on terminals, unless told otherwise."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from ..records.gitprogram import run_git

PAGED = "hangar.paged"
"""In a context's ``meta``: the output goes to a terminal through a pager."""
_SETTINGS = {"status": "color.status", "branch": "color.branch"}
"""Which of Git's settings a command goes by; others go by that of diff, as Git's do."""
_STYLES: dict[str, dict[str, Any]] = {
    "commit": {"fg": "yellow"},
    "heading": {"bold": True},
    "added": {"fg": "green"},
    "deleted": {"fg": "red"},
    "mutated": {"fg": "cyan"},
    "branch": {"fg": "green", "bold": True},
    "remote": {"fg": "red", "bold": True},
}
COLORED = frozenset({"status", "log", "diff", "show", "blame", "branch"})
"""The commands that print colors."""


def paint(text: str, what: str) -> str:
    """`text` in the color of `what`; `click.echo` takes it out again where none is wanted."""
    return click.style(text, **_STYLES[what])


def offer_color(command: click.Command) -> None:
    """Give `command` the options ``--color`` and ``--no-color``; of a group, its list."""
    if isinstance(command, click.Group):
        offer_color(command.commands["list"])
        return
    command.params += [
        click.Option(
            ["--color"], type=click.Choice(["auto", "always", "never"]), expose_value=False,
            metavar="[=WHEN]", callback=_settle, is_eager=True,
            help="Color the output: auto (on terminals, as color.ui tells), always or never.",
        ),
        click.Option(["--no-color"], is_flag=True, expose_value=False, callback=_settle_never,
                     help="The same as --color=never."),
    ]  # fmt: skip


def with_values(args: list[str]) -> list[str]:
    """`args` with ``--color`` as ``--color=always``: it must not take the next argument."""
    end = args.index("--") if "--" in args else len(args)
    return ["--color=always" if arg == "--color" else arg for arg in args[:end]] + args[end:]


def _settle(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if ctx.resilient_parsing:
        return
    if value in ("always", "never"):
        ctx.color = value == "always"
        return
    paged = bool(ctx.meta.get(PAGED))
    ctx.color = not os.environ.get("NO_COLOR") and _configured(ctx, paged=paged)


def _settle_never(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.color = False


def _configured(ctx: click.Context, *, paged: bool) -> bool:
    """What Git's configuration says; on its own it knows of terminals that cannot show colors."""
    top = ctx.parent.info_name if ctx.parent and ctx.parent.parent else ctx.info_name
    setting = _SETTINGS.get(str(top), "color.diff")
    if paged and _asked("--type=bool", "color.pager") == "false":
        return False
    on_terminal = paged or sys.stdout.isatty()
    return _asked("--get-colorbool", setting, str(on_terminal).lower()) == "true"


def _asked(*arguments: str) -> str:
    git_dir = os.environ.get("GIT_DIR")
    environment = {"GIT_DIR": git_dir} if git_dir else None
    done = run_git("config", *arguments, environment=environment, check=False)
    return done.stdout.decode().strip()
