"""The ``git hangar`` command: its subcommands, and how its errors are shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from ..errors import HangarError
from ..version import __version__
from .group import Entry, LazyGroup
from .pager import paging

PROGRAM = "git hangar"
COMPLETE_VARIABLE = "_GIT_HANGAR_COMPLETE"

ENTRIES = {
    "arrayset": Entry("arrayset:arrayset", "Create, remove and list arraysets."),
    "blame": Entry("tracing:blame", "Show which commit last changed each sample."),
    "branch": Entry("branch:branch", "Create, delete and list branches."),
    "checkout": Entry("branch:checkout", "Switch to a branch, and write to it from now on."),
    "clone": Entry("clone:clone", "Clone a repository, without its data, into the current path."),
    "commit": Entry("commit:commit", "Commit what is staged."),
    "completion": Entry("completion:completion", "Print a script that completes commands."),
    "diff": Entry("diff:diff", "Show what differs between revisions."),
    "du": Entry("maintenance:du", "Show what the data takes on disk."),
    "export": Entry("exporting:export", "Export samples to files."),
    "fetch": Entry("fetch:fetch", "Retrieve the commit history from REMOTE for BRANCH."),
    "fetch-data": Entry("fetch:fetch_data", "Get the data of commits from a remote."),
    "fsck": Entry("maintenance:fsck", "Check records, index and stored samples."),
    "gc": Entry("maintenance:gc", "Remove samples that nothing leads to."),
    "import": Entry("importing:import_", "Stage the samples in files."),
    "init": Entry("init:init", "Initialize a repository at the current path."),
    "install": Entry("hooks:install", "Register merge and diff drivers and hooks in this clone."),
    "lock": Entry("staging:lock", "Operate on the writer lock."),
    "log": Entry("history:log", "Display the commit graph."),
    "merge": Entry("merge:merge", "Merge a branch into the writer branch."),
    "migrate": Entry("migrate:migrate", "Migrate from DVC, Git LFS, or directories of versions."),
    "plugins": Entry("viewing:plugins", "List the plugins for files."),
    "pull": Entry(
        "fetch:pull",
        "Retrieve the commit history from REMOTE for BRANCH, and merge it into local BRANCH.",
    ),
    "push": Entry("push:push", "Upload a branch: its data, then its history."),
    "remote": Entry("remote:remote", "Operations for working with remote repositories."),
    "repack": Entry("maintenance:repack", "Merge small containers, or recompress."),
    "reset": Entry("staging:reset", "Drop all staged changes; commits and files stay."),
    "resolve": Entry("merge:resolve", "Settle conflicts of a merge that stopped."),
    "restore": Entry("tracing:restore", "Stage samples as an earlier commit has them."),
    "revert": Entry("merge:revert", "Commit the inverse of a commit's data."),
    "server": Entry("server:server", "Serve repositories, their history and data."),
    "show": Entry("showing:show", "Summarize a commit."),
    "status": Entry("staging:status", "Display what is staged."),
    "summary": Entry("history:summary", "Display what a commit contains."),
    "sync": Entry("hooks:sync", "Do what a hook that did not run would have done."),
    "uninstall": Entry(
        "hooks:uninstall",
        "Take drivers and hooks out of this clone; what was there before is there again.",
    ),
    "users": Entry("server:users", "Add, change, remove and list the users of a server."),
    "view": Entry("viewing:view", "Show a sample."),
}
HIDDEN = {"hook": Entry("hooks:hook", "")}


@click.group(
    cls=LazyGroup,
    entries=ENTRIES,
    hidden_entries=HIDDEN,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="%(prog)s version %(version)s")
@click.option("--no-pager", is_flag=True, help="Do not pipe long output into a pager.")
@click.pass_context
def cli(ctx: click.Context, no_pager: bool) -> None:
    """Version control for tensor data, in a Git repository.

    Arrays are kept in arraysets: named samples of one dtype and shape. Changes to them are staged,
    and committed to a branch; Git's own commands (clone, log, merge, push) work on these commits.
    """
    if not no_pager and ctx.invoked_subcommand is not None:
        ctx.with_resource(paging(ctx, ctx.invoked_subcommand))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code. A user's mistake is one line on stderr."""
    try:
        result = cli.main(
            arguments,
            prog_name=PROGRAM,
            complete_var=COMPLETE_VARIABLE,
            standalone_mode=False,
        )
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        said = " ".join(error.format_message().split())
        if isinstance(error, click.UsageError):
            # Not --help: 'git hangar --help' is for git itself, which looks for a manual page.
            path = error.ctx.command_path if error.ctx is not None else PROGRAM
            said = f"{said.rstrip('.')}; try '{path} -h'"
        click.echo(f"error: {said}", err=True)
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
