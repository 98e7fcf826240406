"""``git hangar init``."""

from __future__ import annotations

import click

from ..api.repository import Repository
from ..errors import InvalidInputError
from ..records.gitprogram import run_git
from ..records.gitrepo import GitRepository
from .here import place


@click.command()
@click.option("--name", help="Your name; by default what Git is configured to use.")
@click.option("--email", help="Your email address; by default what Git is configured to use.")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Remove the repository that is there, if nothing but tensor data was ever in it.",
)
def init(name: str | None, email: str | None, overwrite: bool) -> None:
    """Initialize a repository at the current path.

    Inside a Git repository, that one is used; its files and commits stay as they are. Elsewhere a
    new one is made in the current directory.
    """
    here = place()
    git = GitRepository.discover(here)
    top = here if git is None else git.workdir or git.git_dir
    name = name or _configured(git, "user.name", "--name")
    email = email or _configured(git, "user.email", "--email")
    repository = Repository(top, exists=False)
    was_there = repository.initialized and not overwrite
    where = repository.init(name, email, remove_old=overwrite)
    what = "Hangar Repo is initialized already" if was_there else "Hangar Repo initialized"
    click.echo(f"{what} at: {where}")


def _configured(git: GitRepository | None, setting: str, option: str) -> str:
    git_dir = git.git_dir if git is not None else None
    value = run_git("config", "--get", setting, git_dir=git_dir, check=False).stdout.decode()
    if not value.strip():
        raise InvalidInputError(
            f"Git has no {setting}: give {option}, or run 'git config --global {setting} VALUE'"
        )
    return value.strip()
