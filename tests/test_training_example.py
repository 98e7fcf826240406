"""The example of the documents, run as a user runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from processes import ROOT


def test_digits_are_trained_twice_the_same_and_the_commit_that_spoilt_them_is_found():
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, ROOT / "docs/train_digits.py"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    logged = json.loads(done.stdout[: done.stdout.index("\n}") + 2])
    assert re.fullmatch("[0-9a-f]{40}", logged["commit"])
    assert logged["accuracy"] > 0.8
    assert logged["loader"]["epoch"] == 10
    assert "saw the same batches" in done.stdout
    assert re.search("git bisect run found [0-9a-f]{12}: relabel 900 samples", done.stdout)
