"""Servers of real repositories, and a git that finds the remote helper."""

from __future__ import annotations

import os

import pytest
from transfer.hangarserver import HangarServer, install_helpers
from transfer.s3server import s3, s3_process

__all__ = ["s3", "s3_process"]


@pytest.fixture(scope="session")
def _helpers(tmp_path_factory):
    return install_helpers(tmp_path_factory.mktemp("helpers"))


@pytest.fixture
def on_path(_helpers, monkeypatch):
    """`git-remote-hangar` is found."""
    monkeypatch.setenv("PATH", f"{_helpers}{os.pathsep}{os.environ['PATH']}")
    for name in ("HANGAR_TOKEN", "HANGAR_TOKEN_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(tmp_path, on_path):
    """A server of repositories that it makes when they are pushed to."""
    root = tmp_path / "root"
    root.mkdir()
    with HangarServer("--root", root, "--create", store=None) as running:
        running.root = root
        yield running
