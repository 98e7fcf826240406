"""Fixtures for every test: a Git that knows nothing of the machine, and repositories to work in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pygit2
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import InMemoryExampleDatabase
from repositories import USER_EMAIL, USER_NAME, Git, close, image, make_repository

from hangar_git import Repository

settings.register_profile(
    "suite",
    deadline=None,
    max_examples=50,
    database=InMemoryExampleDatabase(),
    # The isolation below is the same for every example.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("suite")


@pytest.fixture(scope="session", autouse=True)
def _isolate_git(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No configuration of the machine or of whoever runs the tests reaches Git or libgit2."""
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text("")
    patch = pytest.MonkeyPatch()
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        patch.delenv(name)
    patch.setenv("HOME", str(home))
    patch.setenv("XDG_CONFIG_HOME", str(home / "xdg"))
    patch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    patch.setenv("GIT_TERMINAL_PROMPT", "0")
    for who in ("AUTHOR", "COMMITTER"):
        patch.setenv(f"GIT_{who}_NAME", USER_NAME)
        patch.setenv(f"GIT_{who}_EMAIL", USER_EMAIL)
    levels = pygit2.enums.ConfigLevel
    former = {
        level: pygit2.settings.search_path[level]
        for level in (levels.GLOBAL, levels.XDG, levels.SYSTEM)
    }
    pygit2.settings.search_path[levels.GLOBAL] = str(home)
    pygit2.settings.search_path[levels.XDG] = str(home / "xdg")
    pygit2.settings.search_path[levels.SYSTEM] = str(home / "system")
    yield
    for level, path in former.items():
        pygit2.settings.search_path[level] = path
    patch.undo()


@pytest.fixture
def global_config(monkeypatch, tmp_path):
    """Set a value in the global Git configuration, for one test: ``global_config(name, value)``."""
    file = tmp_path / "global-home" / ".gitconfig"
    file.parent.mkdir()
    level = pygit2.enums.ConfigLevel.GLOBAL
    former = pygit2.settings.search_path[level]
    monkeypatch.setenv("HOME", str(file.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(file))
    pygit2.settings.search_path[level] = str(file.parent)

    def set_value(name: str, value: str) -> None:
        subprocess.run(["git", "config", "--file", str(file), name, value], check=True)

    yield set_value
    pygit2.settings.search_path[level] = former


@pytest.fixture
def repo(tmp_path) -> Repository:
    """A repository without commits, in ``tmp_path / "repo"``."""
    return make_repository(tmp_path / "repo")


@pytest.fixture
def git(repo) -> Git:
    """The git program in `repo`."""
    return Git(Path(repo.path))


@pytest.fixture
def writer(repo):
    """A writer checkout of `repo`."""
    checkout = repo.checkout(write=True)
    yield checkout
    close(checkout)


@pytest.fixture
def aset(writer):
    """An arrayset ``images`` of `writer`: u1, shape (2, 3), named samples."""
    return writer.arraysets.init_arrayset("images", shape=(2, 3), dtype=np.uint8)


@pytest.fixture
def reader(repo):
    """A reader checkout of one commit of `repo`: ``images`` with samples 1, "1", "a"; metadata."""
    write = repo.checkout(write=True)
    images = write.arraysets.init_arrayset("images", shape=(2, 3), dtype=np.uint8)
    for number, key in enumerate([1, "1", "a"]):
        images[key] = image(number)
    write.metadata["hello"] = "world"
    write.commit("three samples")
    write.close()
    checkout = repo.checkout()
    yield checkout
    close(checkout)


def pytest_terminal_summary(terminalreporter):
    """Print the figures that tests measured, which workers cannot."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "figure":
                terminalreporter.write_line(value)
