"""The `git hangar` command as users run it, and repositories to run it in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from repositories import make_repository

from hangar_git import Repository

BIN = Path(sys.executable).parent


class Shell:
    """Runs ``git hangar`` in a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def environment(self) -> dict[str, str]:
        """With git-hangar where git looks for it."""
        return os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    def run(self, *arguments: str, cwd: Path | None = None, **environment: str):
        return subprocess.run(
            ["git", "hangar", *arguments],
            cwd=cwd or self.path,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def __call__(self, *arguments: str, **options) -> str:
        done = self.run(*arguments, **options)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    def fails(self, *arguments: str, code: int = 1, **options) -> str:
        done = self.run(*arguments, **options)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        if code == 1:
            assert len(done.stderr.strip().splitlines()) == 1
        return done.stderr


@pytest.fixture
def hangar(tmp_path):
    """A repository without commits, in ``tmp_path / "work"``."""
    make_repository(tmp_path / "work")
    return Shell(tmp_path / "work")


@pytest.fixture
def filled(hangar):
    """A repository with one commit: ``images`` with samples a and b."""
    co = Repository(hangar.path).checkout(write=True)
    images = co.arraysets.init_arrayset("images", shape=(2, 3), dtype=np.uint8)
    images["a"], images["b"] = np.full((2, 3), 1, np.uint8), np.full((2, 3), 2, np.uint8)
    co.commit("first\nsecond line")
    co.close()
    return hangar
