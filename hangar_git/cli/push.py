"""``git hangar push``."""

from __future__ import annotations

import sys

import click

from ..errors import InvalidInputError
from ..records.refs import branch_tip
from ..remotes.pushing import Force
from ..remotes.pushing import push as push_branch
from ..transfer.credentials import Credentials
from .here import open_git
from .output import counted, json_option, no_progress_option, print_json
from .transferring import progress_bar, size_text


@click.command(short_help="Upload a branch: its data, then its history.")
@click.argument("remote")
@click.argument("branch")
@click.option("--force", is_flag=True, help="Move the remote's branch even if it loses commits.")
@click.option(
    "--force-with-lease", is_flag=False, flag_value="", metavar="[BRANCH:COMMIT]",
    help="The same, if it is where it was last fetched, or at COMMIT.",
)  # fmt: skip
@click.option("--username", help="Who you are; by default Git's credential helpers say.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@no_progress_option
@json_option
def push(
    remote: str,
    branch: str,
    force: bool,
    force_with_lease: str | None,
    username: str | None,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Upload local BRANCH commit history / data to REMOTE.

    Data goes first, then history: a branch there never names data that is not there. Only what is
    missing is sent; a push that was cut off goes on where it ended.
    """
    credentials = None
    if username is not None or password_stdin:
        if username is None or not password_stdin:
            raise InvalidInputError("--username and --password-stdin go together")
        credentials = Credentials(sys.stdin.readline().rstrip("\r\n"), username)
    git = open_git()
    with progress_bar("pushing data") as progress:
        done = push_branch(
            git, remote, branch, credentials=credentials,
            force=Force(force, force_with_lease), progress=progress,
        )  # fmt: skip
    sent = done.copied
    if as_json:
        print_json({"remote": remote, "branch": branch, "commit": str(branch_tip(git, done.branch)),
                    "samples": sent.samples, "size_bytes": sent.size_bytes})  # fmt: skip
        return
    size = size_text(sent.size_bytes)
    click.echo(f"{branch}: {counted(sent.samples, 'sample')} ({size}) sent to {remote}")
