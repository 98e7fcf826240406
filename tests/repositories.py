"""What tests make repositories and their contents with."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np

from hangar_git import Repository

USER_NAME = "Ada Lovelace"
USER_EMAIL = "ada@example.org"


class Git:
    """The git program at work in one directory: ``git("status", "--porcelain")`` is its output."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, *arguments: str, check: bool = True, **environment: str) -> str:
        done = self.run(*arguments, **environment)
        if check and done.returncode:
            raise AssertionError(f"git {' '.join(arguments)}: {done.stderr}")
        return done.stdout.rstrip("\n")

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run git; failing is for the caller to judge."""
        return subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )


def make_repository(path: Path) -> Repository:
    """A repository without commits at `path`, which is made."""
    path.mkdir(parents=True, exist_ok=True)
    repository = Repository(path, exists=False)
    repository.init(USER_NAME, USER_EMAIL)
    return repository


def image(number: int) -> np.ndarray:
    """A u1 array of shape (2, 3) that no other number gives."""
    return np.arange(number, number + 6, dtype=np.uint8).reshape(2, 3)


def close(checkout) -> None:
    """Close a checkout that a test may have closed before."""
    if checkout.__dict__:
        checkout.close()
