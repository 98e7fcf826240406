"""Servers, and clones that have them as remotes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from repositories import USER_EMAIL, USER_NAME
from transfer.hangarserver import HangarServer

from hangar_git import Repository


class Server(HangarServer):
    """A Hangar server of real repositories."""

    def __init__(self, *options: object, **env: str) -> None:
        super().__init__(*options, store=None, **env)

    @property
    def bare(self) -> str:
        return f"localhost:{self.port}"


def samples(count: int, start: int = 0) -> np.ndarray:
    """`count` arrays of shape (28, 28), each of them another."""
    rng = np.random.default_rng(start + 1)
    return rng.integers(0, 255, (count, 28, 28), np.uint8)


def add(repo: Repository, name: str, keys, arrays, branch: str = "") -> str:
    """Commit samples to arrayset `name`, which is made if need be; the commit."""
    co = repo.checkout(write=True, branch=branch)
    aset = (
        co.arraysets[name]
        if name in co.arraysets
        else co.arraysets.init_arrayset(name, arrays.shape[1:], arrays.dtype)
    )
    aset.add_batch(list(keys), arrays)
    commit = co.commit(f"{len(arrays)} samples of {name}")
    co.close()
    return commit


def cloned(path: Path, address: str, **options) -> Repository:
    """A clone of `address` at `path`, which is made."""
    path.mkdir()
    repo = Repository(path, exists=False)
    repo.clone(USER_NAME, USER_EMAIL, address, **options)
    return repo


def read(repo: Repository, name: str, **options) -> dict:
    """Every sample of an arrayset."""
    co = repo.checkout(**options)
    found = dict(co[name].items())
    co.close()
    return found


def with_scripts() -> dict[str, str]:
    """An environment in which git finds our programs."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
