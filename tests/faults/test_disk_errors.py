"""Every kind of call that changes files fails once, somewhere: one clear error, nothing lost.

A preloaded library counts these calls in a run that adds, commits and closes, those of git and of
the C libraries included, and makes one of them fail: with an error, as a short write, or from then
on, as a full disk does.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from hangar_git import Repository

from . import recovery

HERE = Path(__file__).parent
FAULTS = [
    ("write", "ENOSPC", 9), ("write", "+ENOSPC", 9), ("write", "EIO", 6), ("write", "short", 9),
    ("fsync", "EIO", 9), ("fsync", "+EIO", 3), ("create", "ENOSPC", 8), ("create", "+EROFS", 4),
    ("rename", "EIO", 6), ("link", "EIO", 4), ("truncate", "ENOSPC", 4), ("unlink", "EIO", 4),
]  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The library, a repository, its commit, and how often each kind of call happens."""
    base = tmp_path_factory.mktemp("errors")
    library = base / "injector.so"
    subprocess.run(
        ["cc", "-O1", "-shared", "-fPIC", "-o", library, HERE / "injector.c", "-ldl"], check=True
    )
    commit = recovery.make_repository(base / "before")
    done, log = run(library, base / "before", base / "counted")
    assert done.returncode == 0, done.stderr
    return library, base / "before", commit, Counter(log)


def run(library, before, path, fault="none 0 EIO"):
    """Run the scenario in a copy of a repository; the process, and the kinds of its calls."""
    shutil.copytree(before, path, symlinks=True)
    log = path.with_suffix(".log")
    environment = recovery.environment(
        LD_PRELOAD=str(library), HANGAR_FAULT_ROOT=f"{path}/", HANGAR_FAULT_LOG=str(log),
        HANGAR_FAULT=fault,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "faults.scenario", str(path)],
        env=environment, cwd=HERE.parent, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done, log.read_text().split()


@pytest.mark.parametrize(("kind", "how", "times"), FAULTS, ids=str)
def test_a_call_that_fails_is_one_error_and_loses_nothing(kind, how, times, prepared, tmp_path):
    library, before, commit, counts = prepared
    assert counts[kind]
    numbers = sorted({1 + (counts[kind] - 1) * i // max(1, times - 1) for i in range(times)})
    failed = 0
    for number in numbers:
        path = tmp_path / f"{number}"
        done, _ = run(library, before, path, f"{kind} {number} {how}")
        if done.returncode:
            failed += 1
            assert done.returncode == 1, f"call {number}: killed\n{done.stderr}"
            errors = re.findall(r"^[\w.]*(?:Error|Exception)\b", done.stderr, re.MULTILINE)
            assert errors, done.stderr
            assert errors[-1].startswith("hangar_git."), done.stderr
            assert "ignored" not in done.stderr
        # A power of fsync is that nothing was promised before it: what was acknowledged is there.
        state = recovery.committed_state(path, commit)
        acknowledged = done.stdout.split()
        assert state == "new" or "committed" not in acknowledged
        if how.endswith("EIO") and kind == "unlink":
            continue  # what could not be removed is cleaned by later writers
        recovery.check_recovers(path, commit, acknowledged)
        report = Repository(path).maintenance.fsck(full=True)
        assert (report.clean, report.missing, report.corrupt) == (True, 0, 0)
    assert failed or how == "short" or kind in ("unlink", "truncate")
