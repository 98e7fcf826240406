"""A commit with every kind of arrayset, pushed to a server and to a directory; a limit of time."""

from __future__ import annotations

import faulthandler
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from repositories import Git, make_repository
from transfer.hangarserver import HangarServer, install_helpers
from transfer.s3server import s3, s3_process

from hangar_git.cli.server import users

__all__ = ["s3", "s3_process"]

COUNT = 60


@pytest.fixture(autouse=True)
def _time_limit():
    """A test that hangs ends the run, with where it hung."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def photo(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 9, (12, 10), np.uint8)


def line(number: int) -> np.ndarray:
    return np.full(1 + number % 7, number, np.int32)


def blob(number: int) -> bytes:
    return bytes([number, 0]) * (number % 3)


def make(path: Path):
    """Keys 0 to 59 in each arrayset; "some" has every third, "named" text keys, "empty" none."""
    repo = make_repository(path)
    co = repo.checkout(write=True)
    init = co.arraysets.init_arrayset
    photos = init("photos", shape=(12, 10), dtype=np.uint8)
    labels = init("labels", prototype=np.array(0, np.int64))
    some = init("some", shape=(2,), dtype=np.float32)
    lines = init("lines", shape=(9,), dtype=np.int32, variable_shape=True)
    names = init("names", kind="str")
    blobs = init("blobs", kind="bytes")
    named = init("named", shape=(2,), dtype=np.uint8)
    pairs = init("pairs", shape=(2,), dtype=np.uint8, contains_subsamples=True)
    init("empty", shape=(3,), dtype=np.uint8)
    with co:
        for i in range(COUNT):
            photos[i], labels[i], lines[i] = photo(i), np.array(i), line(i)
            names[i], blobs[i] = f"größe-{i}" if i else "", blob(i)
            named[f"n{i:02}"] = np.array([i, 1], np.uint8)
            if i % 3 == 0:
                some[i] = np.array([i, 1], np.float32)
        pairs["a"] = {0: np.array([0, 1], np.uint8), "x": np.array([2, 3], np.uint8)}
    co.commit("all kinds")
    co.close()
    Git(path)("branch", "-M", "main")
    return repo


def documented(number: int) -> str:
    """The code of the documents' section about workers: the first block is Dask's, then Ray's."""
    text = (Path(__file__).parents[2] / "docs/dataloaders.md").read_text()
    _, _, section = text.partition("## Beyond one machine")
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)[number]


class Place:
    """A repository, and its remotes: ``origin`` on a server, ``files`` in a directory."""

    def __init__(self, root: Path, server: HangarServer, name: str) -> None:
        self.root = root
        self.path = root / "repo"
        self.repo = make(self.path)
        self.url = server.url(name)
        self.repo.remote.add("origin", self.url)
        bare = root / "bare.git"
        subprocess.run(["git", "init", "--quiet", "--bare", str(bare)], check=True)
        self.repo.remote.add("files", str(bare), data=f"file://{root}/data")
        for remote in ("origin", "files"):
            self.repo.remote.push(remote, "main")

    @contextmanager
    def away(self):
        """While the repository is not where it was: whoever opens a file of it fails."""
        moved = self.root / "moved"
        self.path.rename(moved)
        try:
            yield
        finally:
            moved.rename(self.path)

    def tip(self) -> str:
        return Git(self.path)("rev-parse", "main")

    def reset(self, commit: str) -> None:
        """Go back, here and at the remotes."""
        git = Git(self.path)
        if self.tip() != commit:
            git("reset", "--quiet", "--hard", commit)
        for remote in ("origin", "files"):
            if git("rev-parse", f"{remote}/main") != commit:
                self.repo.remote.push(remote, "main", force=True)


@pytest.fixture(scope="session")
def _token_server(tmp_path_factory):
    """A server that asks for tokens: one may write, the other may read."""
    root = tmp_path_factory.mktemp("served")
    file = root / "users.json"
    tokens = {}
    for name, right in (("writer", "force:*"), ("reader", "read:*")):
        done = CliRunner().invoke(
            users, ["add", name, "--file", str(file), "--right", right, "--token", "ci"]
        )
        tokens[name] = re.search(r"hgr_\S+", done.output)[0]
    repositories = root / "repositories"
    repositories.mkdir()
    with HangarServer("--root", repositories, "--create", "--users", file, store=None) as running:
        running.tokens = tokens
        running.environment = {
            "HANGAR_TOKEN": tokens["writer"],
            "PATH": f"{install_helpers(root / 'bin')}{os.pathsep}{os.environ['PATH']}",
        }
        yield running


@pytest.fixture(scope="session")
def _place(tmp_path_factory, _token_server):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _token_server.environment.items():
            patch.setenv(name, value)
        return Place(tmp_path_factory.mktemp("place"), _token_server, "team/place")


@pytest.fixture(scope="session")
def environment(_token_server):
    """What a worker of the token server needs in its environment."""
    return _token_server.environment


@pytest.fixture(autouse=True)
def _environment(environment, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def place(_place):
    """The repository as it was made; what a test committed is taken back."""
    before = _place.tip()
    yield _place
    _place.reset(before)


@pytest.fixture
def tokens(_token_server):
    return _token_server.tokens


@pytest.fixture
def co(place):
    with place.repo.checkout() as checkout:
        yield checkout
        if checkout.__dict__:
            checkout.close()


@pytest.fixture
def writer(place):
    checkout = place.repo.checkout(write=True)
    yield checkout
    if checkout.__dict__:
        if checkout.diff.status() == "DIRTY":
            checkout.reset_staging_area()
        checkout.close()


@pytest.fixture
def clone(place, tmp_path):
    """Another clone, made when called: ``clone()``; with all data."""

    def make_clone(remote: str = "origin"):
        from hangar_git import Repository

        path = tmp_path / "clone"
        path.mkdir()
        repo = Repository(path, exists=False)
        address = Git(place.path)("config", f"remote.{remote}.url")
        data = f"file://{place.root}/data" if remote == "files" else None
        repo.clone("Ada", "ada@example.org", address, data=data)
        repo.remote.fetch_data("origin", branch="main")
        return repo

    yield make_clone
    shutil.rmtree(tmp_path / "clone", ignore_errors=True)
