"""What a subcommand begins with: the repository the user is in, and a checkout of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from ..records.gitrepo import GitRepository
from .here import place

if TYPE_CHECKING:
    from ..api.checkout import ReaderCheckout, WriterCheckout
    from ..api.repository import Repository


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
