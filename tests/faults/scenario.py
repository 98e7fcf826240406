"""What the process under test does: add one by one, add in a block, commit, say what is durable.

Run as ``python scenario.py REPOSITORY``; the repository has arrayset "images" with samples 0 to 39.
Printed lines are acknowledgements: what is said to be durable must be found afterwards.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from hangar_git import Repository

SHAPE = (64, 64)
OLD_KEYS = range(40)
SINGLE_KEYS = ("single-1", "single-2")
BLOCK_KEYS = range(100, 220)
REPLACED_KEY = 3
REMOVED_KEY = 4


def old_value(key: int) -> np.ndarray:
    return np.full(SHAPE, key, np.float32)


def new_value(key: object) -> np.ndarray:
    seed = int.from_bytes(str(key).encode(), "big") % 2**32
    return np.random.default_rng(seed).random(SHAPE, np.float32)


def prepare(path: Path) -> str:
    """Make the repository that every run starts from; its commit."""
    repo = Repository(path, exists=False)
    repo.init("Ada", "ada@example.org")
    co = repo.checkout(write=True)
    images = co.arraysets.init_arrayset("images", shape=SHAPE, dtype=np.float32)
    with images:
        for key in OLD_KEYS:
            images[key] = old_value(key)
    co.metadata["source"] = "old"
    commit = co.commit("old")
    co.close()
    return commit


def expected(*, new: bool) -> dict[object, np.ndarray]:
    """What the arrayset holds before, or after, the commit."""
    values: dict[object, np.ndarray] = {key: old_value(key) for key in OLD_KEYS}
    if new:
        values |= {key: new_value(key) for key in (*SINGLE_KEYS, *BLOCK_KEYS, REPLACED_KEY)}
        del values[REMOVED_KEY]
    return values


def run(path: Path) -> None:
    def say(line: str) -> None:
        print(line, flush=True)

    co = Repository(path).checkout(write=True)
    images = co["images"]
    for key in SINGLE_KEYS:
        images[key] = new_value(key)
        say(key)
    images.remove(REMOVED_KEY)
    say("removed")
    with images:
        images[REPLACED_KEY] = new_value(REPLACED_KEY)
        for key in BLOCK_KEYS:
            images[key] = new_value(key)
    say("block")
    co.metadata["source"] = "new"
    say("metadata")
    co.commit("new")
    say("committed")
    co.close()
    say("closed")


if __name__ == "__main__":
    run(Path(sys.argv[1]))
