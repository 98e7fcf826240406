"""Fixtures: servers, a repository with samples, a clone without."""

from __future__ import annotations

import os

import pytest
from repositories import make_repository
from transfer.hangarserver import HangarServer, install_helpers
from transfer.s3server import s3, s3_process

from .remoteplaces import Server, add, cloned, samples

__all__ = ["s3", "s3_process"]


@pytest.fixture
def server(tmp_path):
    """A server of one default repository."""
    with Server("--default", tmp_path / "served") as running:
        yield running


@pytest.fixture
def origin(tmp_path):
    """A repository with 300 samples in ``x``, keys 0 to 299."""
    repo = make_repository(tmp_path / "origin")
    add(repo, "x", range(300), samples(300))
    return repo


@pytest.fixture
def branch(origin):
    """The name of the branch that everything is on."""
    return origin.list_branches()[0]


@pytest.fixture
def pushed(origin, branch, server):
    """The same repository, pushed to the server."""
    origin.remote.add("origin", server.bare)
    origin.remote.push("origin", branch)
    return origin


@pytest.fixture
def clone(pushed, server, tmp_path):
    """A clone of the server's repository, without data."""
    return cloned(tmp_path / "clone", server.bare)


@pytest.fixture(scope="session")
def _helpers(tmp_path_factory):
    return install_helpers(tmp_path_factory.mktemp("helpers"))


@pytest.fixture
def on_path(_helpers, monkeypatch):
    """The git program finds `git-remote-hangar`."""
    monkeypatch.setenv("PATH", f"{_helpers}{os.pathsep}{os.environ['PATH']}")
    for name in ("HANGAR_TOKEN", "HANGAR_TOKEN_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def host(tmp_path, on_path):
    """A server of many repositories, which it makes when they are pushed to."""
    root = tmp_path / "root"
    root.mkdir()
    with HangarServer("--root", root, "--create", store=None) as running:
        running.root = root
        yield running
