"""Kill a real process that merges, at every point of a commit: the old state or the new."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from repositories import Git, image, make_repository

from hangar_git import Repository
from hangar_git.failpoints import FAILPOINTS

from . import recovery

MERGE = """
import sys
from hangar_git import Repository

Repository(sys.argv[1]).merge("m", "ours", "theirs")
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Branches "ours" (checked out) and "theirs", with code and samples changed on both."""
    path = tmp_path_factory.mktemp("merge") / "template"
    repo = make_repository(path)
    git = Git(path)
    co = repo.checkout(write=True)
    aset = co.arraysets.init_arrayset("images", shape=(2, 3), dtype=np.uint8)
    for key in range(20):
        aset[key] = image(key)
    co.commit("base")
    co.close()
    (path / "code.py").write_text("1\n")
    git("add", ".")
    git("commit", "-qm", "code")
    git("branch", "ours")
    git("branch", "theirs")
    for branch, key in (("theirs", 4), ("ours", 3)):
        git("switch", "-q", branch)
        co = repo.checkout(write=True, branch=branch)
        co["images"][key] = image(100 + key)
        co["images"][branch] = image(7)
        co.commit(branch)
        co.close()
        (path / f"{branch}.py").write_text("x\n")
        git("add", ".")
        git("commit", "-qm", f"code of {branch}")
    return path, git("rev-parse", "ours")


@pytest.mark.parametrize("name", [n for n in FAILPOINTS if n.startswith("commit.")])
def test_a_killed_merge_leaves_the_old_state_or_the_new(name, template, tmp_path):
    source, old = template
    path = tmp_path / "repo"
    shutil.copytree(source, path, symlinks=True)
    done = subprocess.run(
        [sys.executable, "-c", MERGE, str(path)],
        env=recovery.environment(HANGAR_FAILPOINT=name),
        cwd=Path(__file__).parents[1],
        capture_output=True,
        check=False,
    )
    killed = done.returncode == -signal.SIGKILL
    assert killed or done.returncode == 0, done.stderr
    assert killed or name in ("commit.data-flushed", "commit.staging-cleared")
    repo, git = Repository(path), Git(path)
    co = repo.checkout(branch="ours")
    merged = co.commit_hash != old
    assert ("theirs" in co["images"]) == merged
    assert co["images", 4][0, 0] == (104 if merged else 4)
    co.close()
    co = repo.checkout(write=True, branch="ours")  # no manual step
    co["images"]["after"] = image(9)
    co.commit("after")
    co.close()
    assert git("status", "--porcelain") == ""
    assert (path / "theirs.py").exists() == merged
    git("fsck", "--strict", "--no-dangling")
    repo.merge("again", "ours", "theirs")
    assert repo.checkout(branch="ours")["images", 4][0, 0] == 104
    assert git("status", "--porcelain") == ""
