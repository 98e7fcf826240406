"""A merge policy that is committed holds for everyone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from repositories import make_repository


@pytest.mark.parametrize(("policy", "wins"), [("ours", 1), ("theirs", 2), ("fail", None)])
def test_a_committed_policy_settles_conflicts(policy, wins, tmp_path):
    repo = make_repository(tmp_path / "repo")
    co = repo.checkout(write=True)
    aset = co.arraysets.init_arrayset("images", shape=(2,), dtype=np.uint8)
    aset["a"] = np.zeros(2, "u1")
    co.commit("base")
    co.close()
    program = Path(sys.executable).parent / "git-hangar"
    subprocess.run([program, "arrayset", "merge-policy", "images", policy], cwd=repo.path,
                   check=True, capture_output=True)  # fmt: skip
    co = repo.checkout(write=True)
    co.commit("policy")
    co.close()
    for branch, value in (("ours", 1), ("theirs", 2)):
        repo.create_branch(branch)
        co = repo.checkout(write=True, branch=branch)
        co["images"]["a"] = np.full(2, value, "u1")
        co.commit(branch)
        co.close()
        repo.checkout(write=True, branch=co_branch(repo)).close()
    if wins is None:
        with pytest.raises(ValueError, match="sample 'a'"):
            repo.merge("m", "ours", "theirs")
        return
    repo.merge("m", "ours", "theirs")
    assert repo.checkout(branch="ours")["images", "a"][0] == wins


def co_branch(repo):
    """The branch that both sides start from."""
    return next(name for name in repo.list_branches() if name not in ("ours", "theirs"))
