"""Push: data first, refs last; nothing dangling, nothing lost."""

from __future__ import annotations

import pytest
from repositories import Git

from hangar_git import Repository
from hangar_git.errors import RemoteError
from hangar_git.records.gitrepo import GitRepository
from hangar_git.remotes import opening
from hangar_git.remotes.localstore import LocalSamples
from hangar_git.remotes.pushing import push

from .remoteplaces import add, cloned, read, samples


def git_side(repo: Repository) -> GitRepository:
    return GitRepository(repo.path)


def test_a_push_brings_data_and_history(pushed, branch, server, tmp_path):
    other = cloned(tmp_path / "other", server.bare)
    assert other.list_branches() == [branch, f"origin/{branch}"]
    other.remote.fetch_data("origin", branch)
    found = read(other, "x")
    assert sorted(found) == list(range(300))
    assert (found[7] == samples(300)[7]).all()


def test_a_second_push_sends_only_what_is_new(pushed, branch):
    add(pushed, "x", range(300, 310), samples(10, 5))
    done = push(git_side(pushed), "origin", branch)
    assert done.copied.samples == 10
    assert done.named == 10


def test_a_push_of_nothing_asks_the_data_remote_nothing(pushed, branch, monkeypatch):
    def asked(*_args, **_options):
        raise AssertionError("the data remote was asked")

    from hangar_git.remotes import pushing

    monkeypatch.setattr(pushing, "opened_data", asked)
    assert pushed.remote.push("origin", branch) == branch


def test_a_commit_whose_data_is_nowhere_is_refused_and_no_ref_moves(origin, branch, tmp_path):
    bare = tmp_path / "bare.git"
    Git(tmp_path)("init", "--bare", "-q", str(bare))
    origin.remote.add("origin", str(bare))
    lost = cloned(tmp_path / "lost", str(origin.path))
    lost.remote.add("bare", str(bare))
    with pytest.raises(FileNotFoundError, match=r"neither here nor at .*x/#"):
        lost.remote.push("bare", branch)
    assert Git(bare)("for-each-ref") == ""
    origin.remote.push("origin", branch)
    assert lost.remote.push("bare", branch) == branch  # the remote has the data now


def test_a_branch_that_moved_there_is_refused_unless_forced(pushed, branch, server, tmp_path):
    other = cloned(tmp_path / "other", server.bare)
    theirs = add(other, "y", range(3), samples(3, 8))
    other.remote.push("origin", branch)
    ours = add(pushed, "z", range(3), samples(3, 9))
    with pytest.raises(RemoteError, match="fetch and merge"):
        pushed.remote.push("origin", branch)
    with pytest.raises(RemoteError, match="not where it was"):
        pushed.remote.push("origin", branch, force_with_lease=True)
    pushed.remote.fetch("origin", branch)
    merged = pushed.merge("both", branch, f"origin/{branch}")
    assert pushed.remote.push("origin", branch) == branch
    assert theirs != ours
    other.remote.fetch("origin", branch)
    assert other.log(branch=f"origin/{branch}", return_contents=True)["head"] == merged


def test_force_with_lease_replaces_what_was_seen(origin, branch, tmp_path):
    bare = tmp_path / "bare.git"
    Git(tmp_path)("init", "--bare", "-q", str(bare))
    origin.remote.add("origin", str(bare))
    origin.remote.push("origin", branch)
    Git(origin.path)("commit", "--amend", "-q", "-m", "other words")
    with pytest.raises(RemoteError):
        origin.remote.push("origin", branch)
    origin.remote.push("origin", branch, force_with_lease=True)
    assert Git(bare)("log", "-1", "--format=%s", branch) == "other words"


def test_a_new_data_address_gets_all_data(pushed, branch, tmp_path):
    place = tmp_path / "data"
    Git(pushed.path)("config", "remote.origin.hangarUrl", f"file://{place}")
    done = push(git_side(pushed), "origin", branch)
    assert done.copied.samples == 300
    assert (place / "packs").is_dir()


def test_a_local_remote_keeps_data_in_the_repository(origin, branch, tmp_path):
    bare = tmp_path / "bare.git"
    Git(tmp_path)("init", "--bare", "-q", str(bare))
    origin.remote.add("origin", str(bare))
    origin.remote.push("origin", branch)
    held = LocalSamples(bare / "hangar")
    assert held.missing([bytes(32)]) == [bytes(32)]
    other = cloned(tmp_path / "other", str(bare))
    other.remote.fetch_data("origin", branch)
    assert len(read(other, "x")) == 300


def test_mistakes_are_told(origin, branch):
    with pytest.raises(KeyError, match="no remote 'nope'"):
        origin.remote.push("nope", branch)
    origin.remote.add("origin", "localhost:1")
    with pytest.raises(ValueError, match="no local branch"):
        origin.remote.push("origin", "nope")
    with pytest.raises(ConnectionError, match="connection refused"):
        origin.remote.push("origin", branch)
    with pytest.raises(ConnectionError, match="localhost:1"):
        origin.remote.fetch("origin", branch)


def test_a_committed_address_is_used_for_pushing_only_once_confirmed(origin, branch, tmp_path):
    bare, place = tmp_path / "bare.git", tmp_path / "data"
    Git(tmp_path)("init", "--bare", "-q", str(bare))
    origin.remote.add("origin", str(bare))
    config = tmp_path / "origin" / ".hangar" / "config"
    config.write_text(config.read_text() + f"\tdataUrl = file://{place}\n")
    Git(origin.path)("commit", "-qam", "data address")
    with pytest.raises(PermissionError, match="git hangar remote trust origin"):
        origin.remote.push("origin", branch)
    assert not place.exists()
    assert origin.remote.trust("origin") == f"file://{place}"
    origin.remote.push("origin", branch)
    assert (place / "packs").is_dir()
    config.write_text(config.read_text().replace(str(place), f"{place}2"))
    Git(origin.path)("commit", "-qam", "another")
    with pytest.raises(PermissionError, match="not the address that was confirmed"):
        origin.remote.push("origin", branch)
    assert opening.trusted(git_side(origin)) == [f"file://{place}"]
