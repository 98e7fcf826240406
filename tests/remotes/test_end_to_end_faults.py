"""Whole pushes and fetches over bad networks, and sudden deaths of either side.

``HANGAR_FAULT_ROUNDS`` multiplies all of them. One round is 36 transfers through faults, 27
deaths of clients and 6 of servers.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from repositories import make_repository
from transfer.faultproxy import FaultProxy
from transfer.hangarserver import HangarServer

from hangar_git import Repository
from hangar_git.errors import HangarError

from .clones import assert_whole
from .remoteplaces import cloned

ROUNDS = int(os.environ.get("HANGAR_FAULT_ROUNDS", "1"))
WORKERS = 4
FAULTS = {"cut": 0.3, "stall": 0.1, "delay": 0.05, "throttle": 0.05, "corrupt": 0.3}


def noise(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 60, 60), np.uint8)


def made(path: Path, address: str) -> Repository:
    """A repository whose remote is at `address`."""
    repo = make_repository(path)
    co = repo.checkout(write=True)
    co.arraysets.init_arrayset("a", shape=(60, 60), dtype=np.uint8)
    co.commit("arrayset")
    co.close()
    repo.remote.add("origin", address)
    return repo


def commit(repo: Repository, start: int, count: int) -> None:
    co = repo.checkout(write=True)
    co["a"].add_batch(range(start, start + count), noise(start, count))
    co.commit(f"from {start}")
    co.close()


def set_address(repo: Repository, address: str) -> None:
    repo.remote.remove("origin")
    repo.remote.add("origin", address)


def until_done(transfer, tries: int = 60) -> int:
    """Run `transfer` until it ends well; how often. Only retryable errors may end it."""
    for number in range(1, tries + 1):
        try:
            transfer()
            return number
        except HangarError as error:
            assert error.retryable, repr(error)
    raise AssertionError(f"not done after {tries} tries")


def through_faults(host: HangarServer, directory: Path, worker: int) -> tuple[int, list[str]]:
    """Pushes and fetches of one client through a proxy; how many tries, and what happened."""
    tries = 0
    name = f"w{worker}"
    repo = made(directory / f"{name}-one", host.url(name))
    branch = repo.list_branches()[0]
    repo.remote.push("origin", branch)
    with FaultProxy(host.port, worker, within=30_000, stall_s=0.2, **FAULTS) as proxy:
        address = f"hangar://127.0.0.1:{proxy.port}/{name}"
        set_address(repo, address)
        other = cloned(directory / f"{name}-two", host.url(name))
        set_address(other, address)
        for round_ in range(3 * ROUNDS):
            commit(repo, 100 * round_, 60)
            tries += until_done(partial(repo.remote.push, "origin", branch))
            tries += until_done(partial(other.remote.fetch, "origin", branch))
            tries += until_done(partial(other.remote.fetch_data, "origin", f"origin/{branch}"))
            co = other.checkout(branch=f"origin/{branch}")
            for key, expected in zip(range(100 * round_, 100 * round_ + 60),
                                     noise(100 * round_, 60), strict=True):  # fmt: skip
                np.testing.assert_array_equal(co["a", key], expected)
            co.close()
        happened = [fault.kind for fault in proxy.done]
    assert_whole(directory / f"{name}-one")
    assert_whole(directory / f"{name}-two")
    assert_whole(host.root / f"{name}.git")
    return tries, happened


def test_pushes_and_fetches_through_a_bad_network_end_right(host, tmp_path, record_property):
    started = time.monotonic()
    with ThreadPoolExecutor(WORKERS) as threads:
        work = partial(through_faults, host, tmp_path)
        results = list(threads.map(work, range(WORKERS)))
    transfers = WORKERS * 9 * ROUNDS
    tries = sum(tries for tries, _ in results)
    happened = Counter(kind for _, kinds in results for kind in kinds)
    assert tries > transfers
    assert happened["cut"]
    assert happened["corrupt"]
    record_property(
        "figure",
        f"{transfers} pushes and fetches through faults: {tries} tries, {dict(happened)},"
        f" {time.monotonic() - started:.0f} s",
    )


def command(path: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "hangar_git.cli.main", *arguments], cwd=path,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> str:
    """Empty if it ended well, else what it said."""
    said = process.communicate(timeout=120)[1]
    return said if process.returncode else ""


@pytest.mark.parametrize("seed", range(3 * ROUNDS))
def test_a_killed_client_leaves_both_sides_whole(host, tmp_path, seed):
    rng = random.Random(seed)
    repo = made(tmp_path / "one", host.url())
    branch = repo.list_branches()[0]
    repo.remote.push("origin", branch)
    cloned(tmp_path / "two", host.url())
    commit(repo, 0, 2000)
    for path, *arguments in (
        (tmp_path / "one", "push", "origin", branch),
        (tmp_path / "two", "fetch", "origin", branch),
        (tmp_path / "two", "fetch-data", "origin", f"origin/{branch}"),
    ):
        for _ in range(3):
            process = command(path, *arguments)
            time.sleep(rng.uniform(0.1, 1.0))
            process.kill()
            finish(process)
        assert_whole(host.root / "repo.git")
        said = finish(command(path, *arguments))
        assert not said, said
    assert_whole(host.root / "repo.git")
    assert_whole(tmp_path / "one")
    assert_whole(tmp_path / "two")


@pytest.mark.parametrize("seed", range(3 * ROUNDS))
def test_a_killed_server_leaves_both_sides_whole(tmp_path, on_path, seed):
    rng = random.Random(seed)
    root = tmp_path / "root"
    root.mkdir()
    server = HangarServer("--root", root, "--create", store=None)
    port = server.port
    try:
        repo = made(tmp_path / "one", server.url())
        branch = repo.list_branches()[0]
        repo.remote.push("origin", branch)
        for round_ in range(2):
            commit(repo, 2000 * round_, 1500)
            pushing = command(tmp_path / "one", "push", "origin", branch)
            killer = threading.Timer(rng.uniform(0.1, 1.2), server.process.kill)
            killer.start()
            killer.join()
            server.kill()
            server = HangarServer("--root", root, "--create", store=None, port=port)
            first = finish(pushing)
            assert len(first.splitlines()) <= 1, first
            assert not (again := finish(command(tmp_path / "one", "push", "origin", branch))), again
            assert_whole(root / "repo.git")
        other = cloned(tmp_path / "two", server.url())
        other.remote.fetch_data("origin", f"origin/{branch}")
        assert_whole(tmp_path / "two")
    finally:
        server.stop()
