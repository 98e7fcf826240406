"""A process that ends without closing its checkouts."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from repositories import make_repository

CODE = """
import sys
import numpy as np
from hangar_git import Repository

co = Repository(sys.argv[1]).checkout(write=True)
reader = Repository(sys.argv[1]).checkout()
co["images"].__enter__()["late"] = np.ones(2, np.uint8)
"""


def test_checkouts_are_closed_at_exit_without_a_word(tmp_path):
    repo = make_repository(tmp_path / "repo")
    co = repo.checkout(write=True)
    co.arraysets.init_arrayset("images", shape=(2,), dtype=np.uint8)
    co.commit("empty")
    co.close()
    done = subprocess.run([sys.executable, "-c", CODE, repo.path], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    co = repo.checkout(write=True)
    assert list(co["images"].keys()) == ["late"]
    co.close()
