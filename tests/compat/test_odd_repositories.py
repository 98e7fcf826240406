"""Data in repositories that hold, or are, something unusual."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from repositories import Git, image, make_repository

from hangar_git import Repository


def commit_data(path: Path, number: int = 1) -> str:
    """One commit of data, in the repository at `path`."""
    co = make_repository(path).checkout(write=True)
    try:
        if "images" not in co.arraysets:
            co.arraysets.init_arrayset("images", shape=(2, 3), dtype=np.uint8)
        co["images", number] = image(number)
        return co.commit(f"data {number}")
    finally:
        co.close()


@pytest.fixture
def code(tmp_path):
    """An empty Git repository."""
    path = tmp_path / "code"
    path.mkdir()
    Git(path)("init", "-q")
    return path


def entries_beside_data(git: Git) -> str:
    return "\n".join(
        line for line in git("ls-tree", "HEAD").splitlines() if not line.endswith(".hangar")
    )


def test_names_modes_links_and_submodules_of_the_user_are_kept(code, tmp_path):
    git = Git(code)
    (code / "plain.txt").write_text("x")
    (code / "größe ' \" name.txt").write_text("x")
    Path(os.fsdecode(os.fsencode(code) + b"/latin-\xe9.txt")).write_text("x")
    (code / "run.sh").write_text("#!/bin/sh\n")
    (code / "run.sh").chmod(0o755)
    (code / "link").symlink_to("plain.txt")
    # Git orders "sub-x" before "sub/", since it orders a directory as "sub/".
    (code / "sub").mkdir()
    (code / "sub" / "x").write_text("x")
    (code / "sub-x").write_text("x")
    (code / ".hangar-not-ours").write_text("x")
    git("add", "-A")
    git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    git("commit", "-qm", "code")
    before = entries_beside_data(git)
    for number in range(2):
        commit_data(code, number)
    assert entries_beside_data(git) == before
    assert git("status", "--porcelain", "--ignore-submodules=all") in ("", " D module")
    git("fsck", "--strict", "--no-dangling")


def test_a_separate_git_directory_holds_the_data(tmp_path):
    work, where = tmp_path / "work", tmp_path / "elsewhere.git"
    Git(tmp_path)("init", "-q", "--separate-git-dir", str(where), str(work))
    commit_data(work)
    assert (where / "hangar").is_dir()
    assert Git(work)("status", "--porcelain") == ""


def test_a_submodule_is_a_repository_of_its_own(code, tmp_path):
    commit_data(tmp_path / "data")
    git = Git(code)
    git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(tmp_path / "data"), "in")
    git("commit", "-qm", "submodule")
    commit_data(code / "in", 2)
    assert Git(code / "in")("status", "--porcelain") == ""
    assert git("status", "--porcelain") == " M in"
    assert not (code / ".hangar").exists()


@pytest.mark.parametrize("name", ["with space", "größe-名", "-dash", "quote'\"", "a\nb"])
def test_any_directory_name_will_do(name, tmp_path):
    path = tmp_path / name
    commit_data(path)
    commit_data(path, 2)
    assert Git(path)("status", "--porcelain") == ""


def test_a_symbolic_link_leads_to_the_repository(tmp_path):
    commit_data(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    commit_data(tmp_path / "link", 2)
    assert Git(tmp_path / "real")("status", "--porcelain") == ""
    co = Repository(tmp_path / "real").checkout()
    assert set(co["images"].keys()) == {1, 2}
    co.close()


def test_packed_refs_move_too(code):
    git = Git(code)
    commit_data(code)
    git("pack-refs", "--all")
    git("gc", "-q")
    tip = commit_data(code, 2)
    assert git("rev-parse", "HEAD") == tip
    git("pack-refs", "--all")
    repo = Repository(code)
    repo.create_branch("again")
    repo.remove_branch("again")
    assert git("branch", "--list", "again") == ""


def test_settings_that_change_what_git_prints_change_nothing(code, global_config, capsys):
    for name, value in (
        ("core.quotePath", "false"), ("color.ui", "always"), ("log.showSignature", "true"),
        ("log.decorate", "full"), ("core.fsmonitor", "false"), ("status.short", "true"),
        ("core.abbrev", "5"), ("log.date", "relative"), ("format.pretty", "oneline"),
        ("core.logAllRefUpdates", "false"), ("index.version", "4"), ("core.splitIndex", "true"),
        ("core.untrackedCache", "true"), ("core.preloadIndex", "false"), ("log.mailmap", "true"),
    ):  # fmt: skip
        global_config(name, value)
    tip = commit_data(code)
    repo = Repository(code)
    repo.log()
    assert capsys.readouterr().out == f"* {tip} ({repo.list_branches()[0]}) : data 1\n"
    commit_data(code, 2)
    assert Git(code)("-c", "color.ui=never", "status", "--porcelain") == ""


def test_variables_of_an_enclosing_git_command_do_not_lead_elsewhere(code, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    Git(other)("init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    tip = commit_data(code)
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name)
    assert Git(code)("rev-parse", "HEAD") == tip
    assert Git(code)("status", "--porcelain") == ""
    assert not (other / ".git" / "index").exists()


def test_a_branch_name_can_be_any_that_git_allows(code):
    commit_data(code)
    repo = Repository(code)
    for name in ("größe", "a/b.c", "x" * 100, "#1", "a'b"):
        repo.create_branch(name)
        co = repo.checkout(write=True, branch=name)
        co.metadata["on"] = name.encode("unicode_escape").decode()
        tip = co.commit("x")
        co.close()
        assert Git(code)("rev-parse", f"refs/heads/{name}") == tip
    for name in ("a b", "a..b", "-a", "a.lock", "a~1", "", "HEAD", "@", "a/", "/a", "a\n"):
        with pytest.raises(ValueError):
            repo.create_branch(name)


def test_branches_of_which_one_is_a_directory_of_the_other_are_refused(code):
    commit_data(code)
    repo = Repository(code)
    repo.create_branch("a/b")
    with pytest.raises(ValueError, match="a/b"):
        repo.create_branch("a")
    with pytest.raises(ValueError, match="a/b"):
        repo.create_branch("a/b/c")


def test_a_name_that_means_a_branch_a_tag_and_a_commit_means_the_branch(code):
    first = commit_data(code)
    second = commit_data(code, 2)
    git = Git(code)
    git("branch", "twice", second)
    git("tag", "-a", "-m", "annotated", "twice", first)
    git("tag", "-a", "-m", "annotated", "v1", first)
    git("tag", "blob", "HEAD:.hangar/config")
    repo = Repository(code)
    for revision, oid in (
        ("twice", second), ("v1", first), ("refs/tags/twice", first), (first[:7], first),
        ("HEAD~1", first), ("HEAD", second),
    ):  # fmt: skip
        co = repo.checkout(commit=revision)
        assert co.commit_hash == oid
        co.close()
    for nothing in ("blob", "0" * 40, "nope", "HEAD~9", "twice:x", "a b", "..", "\0"):
        with pytest.raises(ValueError):
            repo.checkout(commit=nothing)
