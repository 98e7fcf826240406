"""Clone: history and records; data is fetched later, or streamed."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ..errors import AlreadyExistsError, InvalidInputError, cannot_write
from ..records.gitprogram import run_git
from ..records.gitrepo import GitRepository
from ..records.refs import head_branch
from ..staging.layout import Layout
from ..transfer.address import parse_address
from ..transfer.serveraddress import ServerAddress
from .gitremote import git_over, run_remote_git
from .opening import open_server
from .remoteconfig import git_url, is_server_url

REMOTE = "origin"


def clone(
    directory: Path,
    address: str,
    *,
    user_name: str | None = None,
    user_email: str | None = None,
    data: str | None = None,
) -> GitRepository:
    """Clone the default branch of the repository at `address` into `directory`.

    Files that are in the directory stay as they are.

    Parameters
    ----------
    directory
        Made if it is not there.
    address
        A Git address, or ``host:port`` of a Hangar server.
    user_name, user_email
        Of the author of new commits; by default what Git is configured to use.
    data
        Data address, if the address of history does not tell it.

    Raises
    ------
    AlreadyExistsError
        The directory is the top of a Git repository.
    RemoteError
        There is nothing at `address`, or it cannot be reached. Nothing is left behind.
    """
    url = git_url(address)
    data_text = None if data is None else str(parse_address(data))
    for value in (user_name, user_email):
        if value is not None and (not value.strip() or "\n" in value):
            raise InvalidInputError(f"a user name and email are needed, got {value!r}")
    if (directory / ".git").exists():
        raise AlreadyExistsError(f"{directory} is a Git repository already")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".hangar-clone-", dir=directory))
    except OSError as error:
        raise cannot_write(directory, error) from error
    try:
        _git_clone(url, scratch / "new")
        (scratch / "new" / ".git").rename(directory / ".git")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    git = GitRepository(directory)
    _configure(git, user_name, user_email, data_text)
    if not git.pygit2.head_is_unborn:
        for command in (("read-tree", "HEAD"), ("checkout-index", "--all", "--quiet")):
            run_git(
                *command,
                git_dir=git.git_dir,
                workdir=directory,
                check=command[0] != "checkout-index",
            )
        run_git(
            "update-index", "-q", "--refresh", git_dir=git.git_dir, workdir=directory, check=False
        )
    Layout.of(git).create()
    return git


def _git_clone(url: str, target: Path) -> None:
    arguments = ("clone", "--quiet", "--no-checkout", "--single-branch", "--origin", REMOTE, url,
                 str(target))  # fmt: skip
    if not is_server_url(url):
        run_remote_git(*arguments, git_dir=None)
        return
    with open_server(ServerAddress.parse(url), push=False) as server:
        git_over(server.connection, "upload-pack", *arguments, url=url, git_dir=None)


def _configure(
    git: GitRepository, user_name: str | None, user_email: str | None, data: str | None
) -> None:
    values = {
        # Only the default branch was cloned; what is fetched later may be any.
        f"remote.{REMOTE}.fetch": f"+refs/heads/*:refs/remotes/{REMOTE}/*",
        f"remote.{REMOTE}.hangarUrl": data,
        "user.name": user_name,
        "user.email": user_email,
    }
    for name, value in values.items():
        if value is not None:
            run_git("config", name, value, git_dir=git.git_dir)


def branch_of(git: GitRepository) -> str:
    """The branch that was cloned."""
    return head_branch(git) or ""
