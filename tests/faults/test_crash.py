"""Kill a real writer, with SIGKILL, at every named point: the old state or the new is found."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hangar_git.failpoints import FAILPOINTS

from . import recovery

PASSAGES = (1, 2, 3, 5, 8, 13, 60)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    path = tmp_path_factory.mktemp("crash") / "template"
    return path, recovery.make_repository(path)


def run_killed(path: Path, failpoint: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-m", "faults.scenario", str(path)],
        env=recovery.environment(HANGAR_FAILPOINT=failpoint),
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("name", [n for n in FAILPOINTS if not n.startswith("upkeep.")])
def test_a_writer_killed_at_any_point_leaves_the_old_state_or_the_new(name, template, tmp_path):
    source, commit = template
    kills = 0
    for passage in PASSAGES:
        path = tmp_path / f"{name}-{passage}"
        shutil.copytree(source, path, symlinks=True)
        status, acknowledged = run_killed(path, f"{name}:{passage}")
        recovery.check_recovers(path, commit, acknowledged)
        shutil.rmtree(path)
        if status == 0:
            break
        kills += 1
    assert kills, f"failpoint {name} was never reached"


def test_an_undisturbed_run_reaches_the_new_state(template, tmp_path):
    source, commit = template
    path = tmp_path / "undisturbed"
    shutil.copytree(source, path, symlinks=True)
    status, acknowledged = run_killed(path, "")
    assert (status, acknowledged[-1]) == (0, "closed")
    assert recovery.check_recovers(path, commit, acknowledged) == "new"
