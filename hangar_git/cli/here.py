"""Where the user is. Stands apart from the API, which takes long to import."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import StateError
from ..records import refs
from ..records.gitrepo import GitRepository
from ..staging.layout import Layout


def place() -> Path:
    """Where the user is: what ``git --git-dir`` names, or the current directory."""
    return Path(os.environ.get("GIT_DIR") or Path.cwd())


def open_git() -> GitRepository:
    """The Git side of the repository the user is in; the API need not be imported for it.

    Raises
    ------
    StateError
        There is none that is initialized.
    """
    git = GitRepository.discover(place())
    if git is not None and (Layout.of(git).exists or git.hangar_tree(refs.head_commit(git))):
        return git
    raise StateError(f"{Path.cwd()} is not a hangar repository; make it one with 'git hangar init'")
