"""Moving a branch leaves index and worktree right, and everything of the user's alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from repositories import image

RECORDS = ".hangar/arraysets/images/records/16"


@pytest.fixture
def base(repo, git, writer, aset):
    """A commit of data on top of one of code; a writer checkout goes on."""
    aset["a"] = image(1)
    writer.commit("data")
    top = Path(repo.path)
    (top / "code.py").write_text("1\n")
    (top / "other.py").write_text("1\n")
    git("add", ".")
    git("commit", "-qm", "code")
    writer.close()
    checkout = repo.checkout(write=True)
    yield checkout
    if checkout.__dict__:
        checkout.close()


def change(checkout, number=9):
    checkout["images", "a"] = image(number)


def record_file(repo, git) -> Path:
    """The record file that the sample "a" is in."""
    path = git("grep", "-l", "-P", "\\ta\\t", "--", RECORDS)
    return Path(repo.path) / path


def test_status_is_clean_after_every_commit(repo, git, base):
    for number in range(3):
        change(base, 10 + number)
        base.commit(f"commit {number}")
        assert git("status", "--porcelain") == ""
        assert git("diff", "HEAD", "--stat") == ""
    base.arraysets.init_arrayset("more", shape=(2,), dtype=np.uint8)["x"] = np.zeros(2, "u1")
    base.metadata["m"] = "v"
    base.commit("more")
    assert git("status", "--porcelain") == ""
    del base.arraysets["more"]
    del base.metadata["m"]
    base.commit("less")
    assert git("status", "--porcelain") == ""
    assert not (Path(repo.path) / ".hangar/arraysets/more").exists()
    assert git("log", "--format=%s").splitlines()[:2] == ["less", "more"]
    assert git("reflog", "-1", "--format=%gs") == "hangar commit: less"


def test_staged_and_unstaged_code_is_left_as_it_was(repo, git, base):
    top = Path(repo.path)
    (top / "code.py").write_text("staged\n")
    git("add", "code.py")
    (top / "code.py").write_text("staged, then edited\n")
    (top / "other.py").unlink()
    git("rm", "-q", "--cached", "other.py")
    (top / "new.py").write_text("untracked\n")
    before = git("status", "--porcelain"), git("diff"), git("diff", "--cached")
    change(base)
    base.commit("data")
    assert (git("status", "--porcelain"), git("diff"), git("diff", "--cached")) == before
    assert git("show", "HEAD:code.py") == "1"
    assert git("show", "HEAD:other.py") == "1"


@pytest.mark.parametrize("staged", [False, True])
def test_local_edits_of_records_that_are_to_change_are_refused(staged, repo, git, base):
    file = record_file(repo, git)
    file.write_text(file.read_text() + "edited by hand\n")
    if staged:
        git("add", str(file))
    edited, tip = file.read_text(), git("rev-parse", "HEAD")
    change(base)
    with pytest.raises(RuntimeError, match="git restore"):
        base.commit("data")
    assert file.read_text() == edited
    assert git("rev-parse", "HEAD") == tip
    assert not (Path(repo.path) / ".git/index.lock").exists()
    git("restore", "--staged", "--worktree", ".")
    base.commit("data")
    assert git("status", "--porcelain") == ""


def test_an_index_that_git_holds_is_refused_before_the_ref_moves(repo, git, base):
    lock = Path(repo.path) / ".git/index.lock"
    lock.write_text("held")
    tip = git("rev-parse", "HEAD")
    change(base)
    with pytest.raises(RuntimeError, match=r"index\.lock"):
        base.commit("data")
    assert lock.read_text() == "held"
    assert git("rev-parse", "HEAD") == tip
    assert base.diff.status() == "DIRTY"
    lock.unlink()
    base.commit("data")
    assert git("status", "--porcelain") == ""
    assert base.diff.status() == "CLEAN"


def test_record_files_deleted_from_the_worktree_come_back_with_the_commit(repo, git, base):
    file = record_file(repo, git)
    file.unlink()
    change(base)
    base.commit("data")
    assert file.exists()
    assert git("status", "--porcelain") == ""


def test_code_committed_meanwhile_is_built_upon(repo, git, base):
    change(base)
    (Path(repo.path) / "late.py").write_text("1\n")
    git("add", "late.py")
    git("commit", "-qm", "late code")
    tip = git("rev-parse", "HEAD")
    base.commit("data")
    assert git("rev-parse", "HEAD^") == tip
    assert git("show", "HEAD:late.py") == "1"
    assert git("status", "--porcelain") == ""


def test_data_that_moved_meanwhile_is_refused_and_stays_staged(repo, git, base):
    change(base)
    git("checkout", "-q", "HEAD^", "--", ".hangar")
    git("rm", "-rq", ".hangar/arraysets")
    git("commit", "-qm", "data by hand")
    tip = git("rev-parse", "HEAD")
    with pytest.raises(RuntimeError, match="moved"):
        base.commit("data")
    assert git("rev-parse", "HEAD") == tip
    assert base["images", "a"][0, 0] == 9


@pytest.mark.parametrize("state", ["merge", "rebase", "cherry-pick", "bisect"])
def test_a_worktree_in_the_middle_of_something_is_refused(state, repo, git, base):
    git("branch", "side")
    (Path(repo.path) / "code.py").write_text("2\n")
    git("commit", "-qam", "ours")
    ours = git("symbolic-ref", "--short", "HEAD")
    git("switch", "-q", "side")
    (Path(repo.path) / "code.py").write_text("3\n")
    git("commit", "-qam", "theirs")
    git("switch", "-q", ours)
    if state == "bisect":
        git("bisect", "start")
    else:
        git(state, "side", check=False)
    change(base)
    with pytest.raises(RuntimeError, match=state.replace("cherry-pick", "cherry-pick|in progress")):
        base.commit("data")
    git(*(["bisect", "reset"] if state == "bisect" else [state, "--abort"]))
    base.commit("data")
    assert git("status", "--porcelain") == ""


def test_a_branch_that_is_checked_out_nowhere_moves_alone(repo, git, base):
    base.close()
    repo.create_branch("elsewhere")
    tip = git("rev-parse", "HEAD")
    co = repo.checkout(write=True, branch="elsewhere")
    change(co)
    commit = co.commit("data")
    co.close()
    assert git("rev-parse", "elsewhere") == commit
    assert git("rev-parse", "HEAD") == tip
    assert git("status", "--porcelain") == ""
