"""What must hold of a repository that a process was working on when it died."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np

from hangar_git import Repository

from . import scenario

GIT = ("git", "-c", "core.fsmonitor=false")


def committed_state(path: Path, old_commit: str) -> str:
    """'old' or 'new': what the branch holds, every sample of it read and compared."""
    repo = Repository(path)
    co = repo.checkout()
    state = "old" if co.commit_hash == old_commit else "new"
    expected = scenario.expected(new=state == "new")
    assert set(co["images"].keys()) == set(expected)
    for key, value in co["images"].items():
        np.testing.assert_array_equal(value, expected[key], strict=True)
    assert co.metadata["source"] == state
    co.close()
    old = repo.checkout(commit=old_commit)
    assert len(list(old["images"].values())) == len(scenario.OLD_KEYS)
    old.close()
    return state


def check_recovers(path: Path, old_commit: str, acknowledged: list[str]) -> str:
    """Check everything, with no manual step; returns what the branch holds, 'old' or 'new'."""
    state = committed_state(path, old_commit)
    assert state == "new" or "committed" not in acknowledged
    repo = Repository(path)
    co = repo.checkout(write=True)  # the lock is free
    images = co["images"]
    if state == "old":
        for key in scenario.SINGLE_KEYS:
            if key in acknowledged:
                np.testing.assert_array_equal(images[key], scenario.new_value(key), strict=True)
        if "removed" in acknowledged:
            assert scenario.REMOVED_KEY not in images
        if "block" in acknowledged:
            for key in (scenario.REPLACED_KEY, *scenario.BLOCK_KEYS):
                np.testing.assert_array_equal(images[key], scenario.new_value(key), strict=True)
        if "metadata" in acknowledged:
            assert co.metadata["source"] == "new"
    co.metadata["after"] = "recovered"
    co.commit("after recovery")
    co.close()
    check_git(path)
    return state


def check_git(path: Path) -> None:
    """Git finds nothing wrong, and the user's worktree and index are as they should be."""
    subprocess.run([*GIT, "fsck", "--strict", "--no-dangling"], cwd=path, check=True,
                   capture_output=True)  # fmt: skip
    status = subprocess.run(
        [*GIT, "status", "--porcelain"], cwd=path, check=True, capture_output=True, text=True
    )
    assert status.stdout.splitlines() == [" M code.py"], status.stdout
    leftovers = [p.name for p in (path / ".git").iterdir() if p.name.startswith("hangar-")]
    assert not leftovers
    assert not list((path / ".git" / "hangar" / "tmp").iterdir())


def make_repository(path: Path) -> str:
    """The repository that every run starts from, with some code in the works; its commit."""
    path.mkdir()
    scenario.prepare(path)
    (path / "code.py").write_text("print(1)\n")
    for arguments in (["add", "code.py"], ["commit", "-qm", "code"]):
        subprocess.run([*GIT, *arguments], cwd=path, check=True)
    (path / "code.py").write_text("print(2)\n")
    return Repository(path).checkout().commit_hash


def environment(**more: str) -> dict[str, str]:
    """The environment of a process under test."""
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": "0", **more}


def start_machine_anew(path: Path) -> None:
    """Give the list of unsynced containers another boot id: after a power loss it has one."""
    unsynced = path / ".git" / "hangar" / "unsynced"
    if unsynced.exists():
        lines = unsynced.read_text().splitlines(keepends=True)
        unsynced.write_text("".join(["another\n", *lines[1:]]))


def check_writable_after_power_loss(path: Path) -> None:
    """A writer opens, with no manual step, and commits; whatever is then committed is there."""
    co = Repository(path).checkout(write=True)
    co.metadata["after"] = "power loss"
    co.commit("after power loss")
    co.close()
    assert not (path / ".git" / "hangar" / "unsynced").exists()
    co = Repository(path).checkout()
    for key, value in co["images"].items():
        old = scenario.old_value(key) if key in scenario.OLD_KEYS else None
        assert any(np.array_equal(value, one) for one in (old, scenario.new_value(key)))
    co.close()
    subprocess.run([*GIT, "fsck", "--strict", "--no-dangling"], cwd=path, check=True,
                   capture_output=True)  # fmt: skip
