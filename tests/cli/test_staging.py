"""``git hangar commit``, ``checkout``, ``status`` and ``reset``, where they meet Git and others."""

from __future__ import annotations

import json
import os
import subprocess

import numpy as np
import pytest

from hangar_git import Repository


def git(path, *arguments):
    return subprocess.run(
        ["git", *arguments], cwd=path, capture_output=True, text=True, check=True
    ).stdout.strip()


def editor(tmp_path, script):
    """An editor that does what a shell script does with file $1; the value of GIT_EDITOR."""
    file = tmp_path / "editor.sh"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


def stage(shell, key="c", value=3, branch=""):
    co = Repository(shell.path).checkout(write=True, branch=branch)
    co["images"][key] = np.full((2, 3), value, np.uint8)
    co.close()


def test_without_a_message_git_s_editor_opens(filled, tmp_path):
    stage(filled)
    keep = editor(tmp_path, f'cp "$1" {tmp_path}/seen')
    assert "empty" in filled.fails("commit", GIT_EDITOR=keep)
    seen = (tmp_path / "seen").read_text()
    assert "images: 1 added" in seen
    assert all(line.startswith("#") for line in seen.splitlines() if line)
    fails = filled.run("commit", GIT_EDITOR=editor(tmp_path, "exit 1"))
    assert fails.returncode == 1
    assert "Traceback" not in fails.stderr
    git(filled.path, "config", "core.editor",
        editor(tmp_path, 'printf "Subject\\n\\nBody\\n# no\\n" > "$1"'))  # fmt: skip
    assert "] Subject" in filled("commit")
    assert git(filled.path, "log", "-1", "--format=%B") == "Subject\n\nBody"


def test_messages_are_lines_and_an_empty_one_aborts(filled):
    stage(filled)
    assert "empty" in filled.fails("commit", "-m", "", "-m", "  ")
    filled("commit", "-m", "one", "-m", "", "-m", "three")
    assert git(filled.path, "log", "-1", "--format=%B") == "one\n\nthree"


def test_status_tells_every_kind_of_change(filled):
    filled("arrayset", "create", "gone", "UINT8", "2")
    filled("arrayset", "create", "other", "UINT8", "2")
    co = Repository(filled.path).checkout(write=True)
    co.metadata["old"] = co.metadata["kept"] = "x"
    co["gone"][7] = np.zeros(2, np.uint8)
    co["other"]["x"] = np.zeros(2, np.uint8)
    co.commit("begin")
    co["images"]["a"] = np.full((2, 3), 77, np.uint8)
    del co["images"]["b"]
    co["images"][5] = np.zeros((2, 3), np.uint8)
    del co.arraysets["gone"]
    del co.arraysets["other"]
    co.arraysets.init_arrayset("other", shape=(3,), dtype=np.uint8)["y"] = np.zeros(3, np.uint8)
    co.arraysets.init_arrayset("new", shape=(3,), dtype=np.uint8)
    del co.metadata["old"]
    co.metadata["kept"] = "y"
    co.metadata["new"] = "z"
    co.close()
    said = json.loads(filled("status", "--json"))
    assert not said["clean"]
    assert said["base"] == git(filled.path, "rev-parse", "HEAD")
    assert said["metadata"] == {"added": ["new"], "mutated": ["kept"], "deleted": ["old"]}
    arraysets = said["arraysets"]
    assert {name: one["change"] for name, one in arraysets.items()} == {
        "gone": "removed", "images": "changed", "new": "new", "other": "replaced",
    }  # fmt: skip
    samples = arraysets["images"]["samples"]
    assert samples == {"added": [5], "mutated": ["a"], "deleted": ["b"]}
    assert arraysets["other"]["samples"] == {"added": ["y"], "mutated": [], "deleted": ["x"]}
    shown = filled("status")
    for text in ("images: 1 added, 1 changed, 1 removed", "new: 0 samples", "gone: 1 sample\n"):
        assert text in shown
    listed = filled("arrayset", "list")
    assert "gone" not in listed
    assert "other   uint8 (3,), 1 sample" in listed
    assert "gone    uint8 (2,), 1 sample" in filled("arrayset", "list", "HEAD")
    assert "images: 1 added" in filled("reset", "--staged")
    assert json.loads(filled("status", "--json"))["clean"]
    assert "nothing staged" in filled("reset", "--staged")


def test_checkout_is_refused_while_someone_writes_and_for_local_changes(filled):
    (filled.path / "code.py").write_text("1\n")
    git(filled.path, "add", "code.py")
    git(filled.path, "commit", "-qm", "code")
    filled("branch", "create", "dev", "HEAD~1")
    co = Repository(filled.path).checkout(write=True)
    assert "writer" in filled.fails("checkout", "dev")
    co.close()
    (filled.path / "code.py").write_text("2\n")
    assert "code.py" in filled.fails("checkout", "dev")
    assert git(filled.path, "branch", "--show-current") == "master"
    assert json.loads(filled("status", "--json"))["branch"] == "master"
    git(filled.path, "restore", "code.py")
    filled("checkout", "dev")
    assert not (filled.path / "code.py").exists()


def test_checkout_helps_out_of_a_detached_head(filled):
    git(filled.path, "switch", "-q", "--detach")
    (filled.path / ".git/hangar/staging/branch").unlink(missing_ok=True)
    assert "detached" in filled("status")
    assert "git hangar checkout" in filled.fails("arrayset", "create", "x", "UINT8", "2")
    filled("checkout", "master")
    filled("arrayset", "create", "x", "UINT8", "2")


def test_in_a_bare_repository_the_writer_branch_alone_changes(filled, tmp_path):
    filled("branch", "create", "dev")
    bare = tmp_path / "bare"
    git(filled.path, "clone", "-q", "--bare", str(filled.path), str(bare))
    filled("checkout", "dev", cwd=bare)
    assert git(bare, "symbolic-ref", "HEAD") == "refs/heads/master"
    filled("arrayset", "create", "x", "UINT8", "2", cwd=bare)
    filled("commit", "-m", "in bare", cwd=bare)
    assert git(bare, "log", "-1", "--format=%s", "dev") == "in bare"
    assert "* dev" in filled("branch", "list", cwd=bare)


def test_a_clone_s_remote_branch_can_be_checked_out(filled, tmp_path):
    filled("branch", "create", "topic")
    clone = tmp_path / "clone"
    git(filled.path, "clone", "-q", str(filled.path), str(clone))
    filled("checkout", "topic", cwd=clone)
    assert git(clone, "rev-parse", "--abbrev-ref", "topic@{upstream}") == "origin/topic"
    with pytest.raises(ValueError, match="no local branch"):
        Repository(clone).checkout(write=True, branch="origin/topic")
    assert "origin/topic" in filled.fails("checkout", "origin/topic", cwd=clone)


def test_a_linked_worktree_has_its_own_branch_and_shares_what_is_staged(filled, tmp_path):
    linked = tmp_path / "linked"
    git(filled.path, "worktree", "add", "-q", "-b", "side", str(linked))
    assert "checked out" in filled.fails("checkout", "master", cwd=linked)
    stage(filled, branch="side")
    for place in (filled.path, linked):
        assert json.loads(filled("status", "--json", cwd=place))["branch"] == "side"
    filled("commit", "-m", "beside", cwd=linked)
    assert git(linked, "log", "-1", "--format=%s") == "beside"
    assert git(linked, "status", "--porcelain") == ""


def test_changes_staged_for_a_branch_that_is_gone_are_set_aside(filled):
    filled("branch", "create", "dev")
    stage(filled, branch="dev")
    git(filled.path, "branch", "-D", "dev")
    assert "reset --staged" in filled.fails("commit", "-m", "x")
    assert "is gone" in filled("reset", "--staged")
    assert "nothing staged" in filled("status")
    filled("arrayset", "create", "x", "UINT8", "2")


def test_data_that_moved_meanwhile_is_told(filled):
    stage(filled)
    filled("branch", "create", "other")
    other = filled.path.parent / "other"
    git(filled.path, "worktree", "add", "-q", str(other), "other")
    (other / ".hangar/metadata").mkdir()
    (other / ".hangar/metadata/k.json").write_text('["k","v"]\n')
    git(other, "add", "-A")
    git(other, "commit", "-qm", "by hand")
    git(filled.path, "merge", "-q", "other")
    assert "has moved" in filled("status")
    assert json.loads(filled("status", "--json"))["outdated"]
    assert "moved" in filled.fails("commit", "-m", "x")
    filled("reset", "--staged")
    assert "nothing staged" in filled("status")


def test_a_reader_that_stops_early_is_no_error(filled):
    reading, writing = os.pipe()
    os.close(reading)
    command = subprocess.Popen(["git", "hangar", "summary"], cwd=filled.path, stdout=writing,
                               stderr=subprocess.PIPE, text=True,
                               env=filled.environment)  # fmt: skip
    os.close(writing)
    assert command.communicate()[1] == ""


def test_the_writer_lock_can_be_taken_from_a_stuck_process(filled):
    co = Repository(filled.path).checkout(write=True)
    filled.fails("lock", "release", code=2)
    filled("lock", "release", "--force")
    filled("arrayset", "create", "x", "UINT8", "2")
    with pytest.raises(PermissionError):
        co["images"]["z"] = np.zeros((2, 3), np.uint8)
    with pytest.raises(PermissionError):
        co.commit("x")
    co.close()
