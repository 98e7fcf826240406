"""History on any Git host, data at any data address: the same work over all of them."""

from __future__ import annotations

import json

import pytest
from cli.conftest import Shell
from repositories import Git
from transfer.hangarserver import HangarServer

from hangar_git import Repository
from hangar_git.errors import RemoteConnectionError, RemoteNotFoundError
from hangar_git.records.gitrepo import GitRepository
from hangar_git.remotes.pushing import push

from .clones import assert_whole
from .githosts import GitDaemon, SmartHttp, bare_repository
from .remoteplaces import add, cloned, read, samples, with_scripts


@pytest.fixture(params=["path", "git-daemon", "smart-http"])
def git_host(request, tmp_path):
    """Git address of an empty repository."""
    bare = bare_repository(tmp_path / "hosted")
    if request.param == "path":
        yield str(bare)
        return
    server = (GitDaemon if request.param == "git-daemon" else SmartHttp)(bare.parent)
    yield server.url(bare.name)
    server.close()


@pytest.fixture(params=["server", "directory", "bucket"])
def data_address(request, tmp_path, on_path):
    """A data address that holds nothing yet."""
    if request.param == "directory":
        yield f"file://{tmp_path / 'data'}"
    elif request.param == "bucket":
        request.getfixturevalue("s3")
        yield "s3://bucket/scans"
    else:
        (tmp_path / "root").mkdir()
        with HangarServer("--root", tmp_path / "root", "--create", store=None) as server:
            Git(tmp_path / "root")("init", "-q", "--bare", "scans.git")
            yield server.url("scans")


def test_push_clone_fetch_and_push_back(git_host, data_address, origin, branch, tmp_path):
    origin.remote.add("origin", git_host, data=data_address)
    origin.remote.push("origin", branch)
    other = cloned(tmp_path / "other", git_host, data=data_address)
    co = other.checkout()
    assert sorted(co["x"].remote_reference_keys) == list(range(300))
    co.close()
    other.remote.fetch_data("origin", branch, arrayset_names=["x"], max_num_bytes=100 * 784)
    co = other.checkout(stream="origin")
    # What shares a chunk with what was asked for comes along from a directory or bucket.
    assert 90 < len(list(co["x"].keys(local=True))) < 300
    assert (co["x"][299] == samples(300)[299]).all()
    co.close()

    add(other, "x", range(300, 320), samples(20, 7))
    sent = push(GitRepository(other.path), "origin", branch)
    assert sent.copied.samples == 20

    origin.remote.fetch("origin", branch)
    origin.merge("theirs", branch, f"origin/{branch}")
    origin.remote.fetch_data("origin", branch)
    assert (read(origin, "x")[310] == samples(20, 7)[10]).all()
    assert_whole(tmp_path / "origin")


def test_a_bucket_is_compacted_by_the_command(git_host, origin, branch, tmp_path, s3):
    origin.remote.add("origin", git_host, data="s3://bucket/scans")
    for number in range(3):
        add(origin, "x", range(300 + number, 301 + number), samples(1, number + 9))
        origin.remote.push("origin", branch)
    hangar = Shell(tmp_path / "origin")
    assert hangar("remote", "compact", "origin").startswith("3 packs replaced by 1; 0 old packs")
    again = json.loads(hangar("remote", "compact", "origin", "--grace", "now", "--json"))
    assert (again["merged"], again["deleted"], again["damaged"]) == (0, 3, [])
    other = cloned(tmp_path / "other", git_host, data="s3://bucket/scans")
    other.remote.fetch_data("origin", branch)
    assert len(read(other, "x")) == 303
    hangar("remote", "add", "local", str(tmp_path / "other"))
    assert "nothing to compact" in hangar.fails("remote", "compact", "local")
    assert "no remote 'nope'" in hangar.fails("remote", "compact", "nope")


def test_plain_git_push_takes_data_along(git_host, origin, branch, tmp_path):
    from hangar_git.hooks.install import install

    data = f"file://{tmp_path / 'data'}"
    origin.remote.add("origin", git_host, data=data)
    install(GitRepository(origin.path))
    done = Git(tmp_path / "origin").run("push", "origin", branch, **with_scripts())
    assert done.returncode == 0, done.stderr
    assert "sent 300 samples" in done.stderr
    plain = tmp_path / "plain"
    Git(tmp_path)("clone", "-q", git_host, str(plain))
    Git(plain)("config", "remote.origin.hangarUrl", data)
    repo = Repository(plain)
    repo.remote.fetch_data("origin", branch)
    assert len(read(repo, "x")) == 300


def test_a_host_that_is_away_or_without_the_repository_is_one_clear_line(origin, branch, tmp_path):
    bare = bare_repository(tmp_path / "hosted")
    data = f"file://{tmp_path / 'data'}"
    for kind in (GitDaemon, SmartHttp):
        server = kind(bare.parent)
        origin.remote.add("lost", server.url("nothing.git"), data=data)
        with pytest.raises((RemoteNotFoundError, RemoteConnectionError)) as refused:
            origin.remote.push("lost", branch)
        assert "\n" not in str(refused.value)
        origin.remote.remove("lost")
        server.close()
        origin.remote.add("away", server.url(bare.name), data=data)
        with pytest.raises(RemoteConnectionError) as refused:
            origin.remote.push("away", branch)
        assert "\n" not in str(refused.value)
        assert refused.value.retryable
        origin.remote.remove("away")
