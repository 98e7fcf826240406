"""``git hangar clone``."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import InvalidInputError
from ..records.gitprogram import run_git
from ..records.gitrepo import GitRepository
from ..remotes.cloning import branch_of
from ..remotes.cloning import clone as clone_into
from .output import json_option, print_json


@click.command(short_help="Clone a repository, without its data, into the current path.")
@click.argument("remote")
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", help="Your name; by default what Git is configured to use.")
@click.option("--email", help="Your email address; by default what Git is configured to use.")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Remove the repository that is there, if nothing but tensor data was ever in it.",
)
@click.option("--data", metavar="ADDRESS", help="Where data is, if REMOTE is of a Git host.")
@json_option
def clone(
    remote: str,
    directory: Path | None,
    name: str | None,
    email: str | None,
    overwrite: bool,
    data: str | None,
    as_json: bool,
) -> None:
    """Clone the repository at REMOTE into DIRECTORY, by default the current path.

    REMOTE is HOST:PORT of a Hangar server, hangar://HOST:PORT/REPO, or any address of Git. History
    and records come; fetch-data brings the data.
    """
    here = (directory or Path.cwd()).absolute()
    for value, setting, option in ((name, "user.name", "--name"), (email, "user.email", "--email")):
        found = run_git("config", "--get", setting, check=False).stdout.strip()
        if not value and not found:
            raise InvalidInputError(
                f"Git has no {setting}: give {option}, or run 'git config --global {setting} VALUE'"
            )
    if overwrite and (here / ".git").exists():
        from ..api.initializing import remove_data

        remove_data(GitRepository(here))
    git = clone_into(here, remote, user_name=name, user_email=email, data=data)
    if as_json:
        print_json({"path": str(here), "branch": branch_of(git)})
        return
    click.echo(f"Hangar Repo cloned into: {here}, branch {branch_of(git)}")
