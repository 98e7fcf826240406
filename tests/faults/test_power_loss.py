"""Lose power after every step that a writer takes: the old state or the new is found.

A kill cannot reveal a missing fsync, since the page cache outlives the process. Here a preloaded
library notes every write, rename and fsync of a run, those of git and of the C libraries included,
and a model disk drops whatever was not fsynced.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from . import recovery
from .powerloss import Disk, read_trace

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def traced_run(tmp_path_factory):
    """Repository before the run, its commit, path it had while traced, and the trace."""
    base = tmp_path_factory.mktemp("power")
    library = base / "tracer.so"
    subprocess.run(
        ["cc", "-O1", "-shared", "-fPIC", "-o", library, HERE / "tracer.c", "-ldl"], check=True
    )
    before, path, log = base / "before", base / "repository", base / "trace"
    commit = recovery.make_repository(path)
    shutil.copytree(path, before, symlinks=True)
    environment = recovery.environment(
        LD_PRELOAD=str(library), HANGAR_TRACE_ROOT=f"{path}/", HANGAR_TRACE_LOG=str(log)
    )
    done = subprocess.run(
        [sys.executable, "-m", "faults.scenario", str(path)],
        env=environment, cwd=HERE.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return before, commit, str(path), list(read_trace(log))


def test_the_trace_is_complete(traced_run, tmp_path):
    before, _, path, steps = traced_run
    disk = Disk(before, path)
    for step in steps:
        disk.play(step)
    for file in Path(path).rglob("*"):
        # LMDB maps its lock file into memory, and nothing in it needs to last.
        if file.is_file() and file.name != "lock.mdb":
            assert bytes(disk._node(str(file)).data) == file.read_bytes(), file


@pytest.mark.parametrize("names_survive", [False, True])
def test_power_loss_at_any_step_leaves_the_old_state_or_the_new(
    names_survive, traced_run, tmp_path
):
    before, commit, path, steps = traced_run
    disk = Disk(before, path)
    seen, states = set(), []
    target = tmp_path / "survivor"
    for step in steps:
        if not disk.play(step):
            continue
        fingerprint = disk.fingerprint(names_survive=names_survive)
        if fingerprint in seen:
            continue
        seen.add(fingerprint)
        disk.survivors(target, names_survive=names_survive)
        recovery.start_machine_anew(target)
        states.append(recovery.committed_state(target, commit))
        recovery.check_writable_after_power_loss(target)
    # Once the new state is durable, it stays.
    assert states == sorted(states, reverse=True)
    assert {"old", "new"} == set(states)


def test_a_commit_that_returned_survives(traced_run, tmp_path):
    before, commit, path, steps = traced_run
    for names_survive in (False, True):
        disk = Disk(before, path)
        for step in steps:
            disk.play(step)
        disk.survivors(tmp_path / "survivor", names_survive=names_survive)
        recovery.start_machine_anew(tmp_path / "survivor")
        assert recovery.committed_state(tmp_path / "survivor", commit) == "new"
        recovery.check_git(tmp_path / "survivor")
