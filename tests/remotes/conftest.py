"""Fixtures: a server, a repository with samples, a clone without."""

from __future__ import annotations

import pytest
from repositories import make_repository

from .remoteplaces import Server, add, cloned, samples


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
