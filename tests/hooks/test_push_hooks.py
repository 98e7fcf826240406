"""`git push` with hooks installed sends data first; a host with hooks takes nothing without it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from remotes.clones import Clone, assert_whole

from hangar_git.hooks.install import hooks_directory, install, uninstall
from hangar_git.records.gitrepo import GitRepository
from hangar_git.remotes.localstore import LocalSamples

BIN = Path(sys.executable).parent


@pytest.fixture(autouse=True)
def _on_path(monkeypatch):
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("HANGAR_PUSHING", raising=False)


@pytest.fixture
def host(tmp_path):
    """A bare repository with hooks installed."""
    path = tmp_path / "host.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", path], check=True)
    install(GitRepository(path))
    return path


@pytest.fixture
def clone(tmp_path, host):
    """A clone with hooks installed, and ten samples that were not pushed."""
    clone = Clone.made(tmp_path / "clone", str(host))
    install(GitRepository(clone.path))
    clone.commit(range(10))
    return clone


def held(host: Path) -> LocalSamples:
    return LocalSamples(host / "hangar")


def test_plain_git_push_sends_the_data_before_the_commits(clone, host):
    done = clone.push_refs()
    assert done.returncode == 0, done.stderr
    assert "hangar: sent 10 samples" in done.stderr
    assert held(host).missing(list(clone.needed())) == []
    assert_whole(host)
    clone.commit([77])
    assert "sent 1 samples" in clone.push_refs().stderr


def test_a_host_takes_no_commits_without_their_data(clone, host):
    refused = clone.push_refs("--no-verify")
    assert refused.returncode != 0
    assert "git hangar push" in refused.stderr
    assert "and 7 more is not here" in refused.stderr
    assert Clone(host, "").git("for-each-ref") == ""
    assert clone.push_refs().returncode == 0


def test_no_data_goes_anywhere_if_some_is_nowhere(clone, host, tmp_path):
    assert clone.push_refs().returncode == 0
    bare = tmp_path / "other.git"
    subprocess.run(["git", "init", "-q", "--bare", bare], check=True)
    second = Clone.cloned(tmp_path / "second", str(host))
    install(GitRepository(second.path))
    second.git("remote", "set-url", "origin", str(bare))
    second.commit([100])
    refused = second.push_refs()
    assert refused.returncode != 0
    assert "neither here nor" in refused.stderr
    assert not (bare / "hangar/containers").exists() or not any(
        (bare / "hangar/containers").iterdir()
    )
    assert Clone(bare, "").git("for-each-ref") == ""


def test_data_that_the_remote_has_need_not_be_here(clone, host, tmp_path):
    assert clone.push_refs().returncode == 0
    second = Clone.cloned(tmp_path / "second", str(host))
    install(GitRepository(second.path))
    second.commit([200])
    assert second.push_refs(branch="new").returncode == 0
    assert second.samples.missing(list(second.needed()))
    assert_whole(host)


def test_a_push_of_nothing_new_asks_nothing_and_is_quick(clone, host, record_property):
    assert clone.push_refs().returncode == 0
    clone.git("commit", "--allow-empty", "-qm", "code alone")
    # Anything that the hook asked of the data remote would fail now.
    shutil.move(host / "hangar", host / "away")
    (host / "hangar").write_text("no directory")
    hook = hooks_directory(GitRepository(clone.path)) / "pre-push"
    tip = clone.tip()
    took = []
    for update in (f"refs/heads/main {tip} refs/heads/main {'0' * 40}\n",
                   f"(delete) {'0' * 40} refs/heads/main {tip}\n"):  # fmt: skip
        for _ in range(5):
            start = time.perf_counter()
            done = subprocess.run(
                [hook, "origin", str(host)], input=update, cwd=clone.path, text=True,
                capture_output=True, check=False,
            )  # fmt: skip
            took.append(time.perf_counter() - start)
            assert (done.returncode, done.stderr) == (0, "")
    record_property("figure", f"pre-push of nothing new: {min(took) * 1000:.0f} ms")
    assert min(took) < 0.1


def test_a_data_address_that_changed_is_brought_up_to_date(clone, host, tmp_path):
    assert clone.push_refs().returncode == 0
    other = tmp_path / "bucket"
    clone.git("config", "remote.origin.hangarUrl", f"file://{other}")
    # The host checks its own data, not what stands in the clone's configuration.
    Clone(host, "").git("config", "hangar.dataUrl", f"file://{other}")
    clone.commit([50])
    done = clone.push_refs()
    assert done.returncode == 0, done.stderr
    assert "sent 11 samples" in done.stderr


def test_hooks_that_were_there_get_what_git_says_and_can_refuse(clone, host):
    for git, name in (
        (GitRepository(clone.path), "pre-push"),
        (GitRepository(host), "pre-receive"),
    ):
        uninstall(git)
        own = hooks_directory(git) / name
        own.write_text(f'#!/bin/sh\ncat > "{host}/{name}.seen"\n')
        own.chmod(0o755)
        assert name in install(git)
    assert clone.push_refs().returncode == 0
    assert clone.tip() in (host / "pre-push.seen").read_text()
    assert (host / "pre-receive.seen").read_text() == f"{'0' * 40} {clone.tip()} refs/heads/main\n"
    before = hooks_directory(GitRepository(clone.path)) / "pre-push.before-hangar"
    before.write_text("#!/bin/sh\nexit 1\n")
    clone.commit([51])
    assert clone.push_refs().returncode != 0
    missing = held(host).missing(list(clone.needed()))
    assert len(missing) == 1


def test_a_push_to_an_address_without_a_name(clone, tmp_path):
    bare = tmp_path / "other.git"
    subprocess.run(["git", "init", "-q", "--bare", bare], check=True)
    done = clone.git.run("push", str(bare), "main")
    assert done.returncode == 0, done.stderr
    assert_whole(bare)
    refused = clone.git.run("push", "https://example.invalid/x.git", "main")
    assert "fatal" in refused.stderr


def test_deleting_a_branch_needs_no_data(clone, host):
    assert clone.push_refs(branch="gone").returncode == 0
    assert clone.git.run("push", "origin", ":gone").returncode == 0


def test_the_data_of_other_remote_branches_is_not_taken_for_sent(clone, host, tmp_path):
    """A branch that was pushed before the hooks were there may lack its data."""
    uninstall(GitRepository(host))
    assert clone.push_refs("--no-verify", branch="old").returncode == 0
    clone.git("checkout", "-q", "--orphan", "fresh")
    clone.git("rm", "-rfq", ".")
    (clone.path / "code").write_text("1")
    clone.git("add", "code")
    clone.git("commit", "-qm", "unrelated")
    assert clone.push_refs(branch="fresh").returncode == 0
    clone.git("checkout", "-q", "main")
    done = clone.push_refs()
    assert "sent 10 samples" in done.stderr, done.stderr
    assert_whole(host)


def test_a_host_whose_data_remote_is_away_takes_nothing(clone, host):
    Clone(host, "").git("config", "hangar.dataUrl", "hangar://127.0.0.1:1/x")
    refused = clone.push_refs()
    assert refused.returncode != 0
    assert "could not be checked" in refused.stderr
