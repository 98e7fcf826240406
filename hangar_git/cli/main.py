"""The ``git hangar`` command: its subcommands, and how its errors are shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import StringIO

import click

from .. import __version__
from ..errors import HangarError
from .arrayset import arrayset
from .branch import branch, checkout
from .commit import commit
from .diff import diff
from .exporting import export
from .history import log, summary
from .hooks import hook, install, sync, uninstall
from .importing import import_
from .init import init
from .maintenance import du, fsck, gc, repack
from .merge import merge, resolve, revert
from .server import server_command, users
from .staging import lock, reset, status
from .tracing import blame, restore

PROGRAM = "git hangar"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s version %(version)s")
def cli() -> None:
    """Version control for tensor data, in a Git repository.

    Arrays are kept in arraysets: named samples of one dtype and shape. Changes to them are staged,
    and committed to a branch; Git's own commands (clone, log, merge, push) work on these commits.
    """


for command in (
    init, arrayset, import_, status, commit, checkout, branch, log, summary, export, reset, lock,
    diff, merge, resolve, revert, restore, blame, fsck, gc, repack, du, install, uninstall, sync,
    hook, server_command(), users,
):  # fmt: skip
    cli.add_command(command)


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
