"""The ``git hangar`` command: its subcommands, and how its errors are shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import StringIO

import click

from .. import __version__
from ..errors import HangarError

PROGRAM = "git hangar"


_COMMANDS = {
    "arrayset": ("arrayset",),
    "branch": ("branch", "checkout"),
    "clone": ("clone",),
    "commit": ("commit",),
    "diff": ("diff",),
    "exporting": ("export",),
    "fetch": ("fetch", "fetch_data", "pull"),
    "history": ("log", "summary"),
    "hooks": ("hook", "install", "sync", "uninstall"),
    "importing": ("import_",),
    "init": ("init",),
    "maintenance": ("du", "fsck", "gc", "repack"),
    "merge": ("merge", "resolve", "revert"),
    "push": ("push",),
    "remote": ("remote",),
    "server": ("server", "users"),
    "staging": ("lock", "reset", "status"),
    "tracing": ("blame", "restore"),
}
"""Module -> its commands. Only the module of the command that is called is imported: importing all
of them takes longer than a small push (0.25 s, 2026-11)."""
_PLACES = {
    name.rstrip("_").replace("_", "-"): (module, name)
    for module, names in _COMMANDS.items()
    for name in names
}


class _Commands(click.Group):
    """The subcommands, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(_PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _PLACES:
            return None
        module, name = _PLACES[cmd_name]
        command: click.Command = getattr(import_module(f"{__package__}.{module}"), name)
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="%(prog)s version %(version)s")
def cli() -> None:
    """Version control for tensor data, in a Git repository.

    Arrays are kept in arraysets: named samples of one dtype and shape. Changes to them are staged,
    and committed to a branch; Git's own commands (clone, log, merge, push) work on these commits.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code. A user's mistake is one line on stderr."""
    try:
        result = cli.main(arguments, prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        shown = StringIO()
        error.show(shown)
        # Git takes 'git hangar --help' for itself, and looks for a manual page.
        text = shown.getvalue().replace(f"'{PROGRAM} --help'", f"'{PROGRAM} -h'")
        click.echo(text, err=True, nl=False)
        return error.exit_code
    except click.Abort:
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (HangarError, OSError) as error:
        click.echo(f"error: {_one_line(error)}", err=True)
        return 1
    return result if isinstance(result, int) else 0


def _one_line(error: Exception) -> str:
    text = str(error)
    if isinstance(error, OSError) and not isinstance(error, HangarError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(text.splitlines())


if __name__ == "__main__":
    sys.exit(main())
