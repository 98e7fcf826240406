"""What a subcommand begins with: the repository the user is in, and a checkout of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..api.initializing import is_initialized
from ..errors import StateError
from ..records.gitrepo import GitRepository

if TYPE_CHECKING:
    from ..api.checkout import ReaderCheckout, WriterCheckout
    from ..api.repository import Repository


def place() -> Path:
    """Where the user is: what ``git --git-dir`` names, or the current directory."""
    return Path(os.environ.get("GIT_DIR") or Path.cwd())


def open_git() -> GitRepository:
    """The Git side of the repository the user is in, without the time the API takes to import.

    Raises
    ------
    StateError
        There is none that is initialized.
    """
    here = place()
    git = GitRepository.discover(here)
    if git is None or not is_initialized(git):
        raise StateError(f"{here} is not a hangar repository; make it one with 'git hangar init'")
    return git


def open_repository() -> tuple[Repository, GitRepository]:
    """The repository the user is in, and its Git side.

    Raises
    ------
    StateError
        There is none that is initialized.
    """
    from ..api.repository import Repository

    repository = Repository(place(), exists=False)
    return repository, repository._require()


@contextmanager
def writing(repository: Repository, branch: str | None = None) -> Iterator[WriterCheckout]:
    """A writer checkout for the length of the block."""
    checkout = repository.checkout(write=True, branch=branch or "")
    try:
        yield cast("WriterCheckout", checkout)
    finally:
        checkout.close()


@contextmanager
def reading(repository: Repository, revision: str | None) -> Iterator[ReaderCheckout]:
    """A checkout of `revision`, by default the tip of the writer branch, to read from."""
    checkout = repository.checkout(commit=revision or "")
    try:
        yield cast("ReaderCheckout", checkout)
    finally:
        checkout.close()
