"""``git hangar init``: where it makes a repository, and who its author is."""

from __future__ import annotations

import subprocess

import pytest
from repositories import USER_EMAIL, USER_NAME

from .conftest import Shell


@pytest.fixture
def shell(tmp_path):
    (tmp_path / "work" / "src").mkdir(parents=True)
    return Shell(tmp_path / "work")


def configured(path, name):
    done = subprocess.run(["git", "config", name], cwd=path, capture_output=True, text=True,
                          check=False)  # fmt: skip
    return done.stdout.strip()


def test_name_and_email_are_git_s_unless_given(shell, global_config):
    assert "user.name" in shell.fails("init")
    assert not (shell.path / ".git").exists()
    global_config("user.name", "Grace")
    global_config("user.email", "grace@example.org")
    assert str(shell.path / ".hangar") in shell("init")
    assert configured(shell.path, "user.name") == "Grace"
    assert "already" in shell("init", "--name", "Ada")
    assert configured(shell.path, "user.name") == "Ada"


def test_a_repository_of_code_is_used_from_its_subdirectories(shell):
    subprocess.run(["git", "init", "-q"], cwd=shell.path, check=True)
    (shell.path / "code.py").write_text("1\n")
    shell("init", "--name", USER_NAME, "--email", USER_EMAIL, cwd=shell.path / "src")
    assert (shell.path / ".hangar" / "config").is_file()
    assert (shell.path / ".git" / "hangar").is_dir()
    assert not (shell.path / "src" / ".git").exists()
    assert "nothing staged" in shell("status", cwd=shell.path / "src")


def test_overwrite_removes_data_and_never_code(filled):
    author = ("--name", USER_NAME, "--email", USER_EMAIL)
    filled("init", "--overwrite", *author)
    assert "No commits yet" in filled("status")
    (filled.path / "code.py").write_text("1\n")
    subprocess.run(["git", "add", "code.py"], cwd=filled.path, check=True)
    assert "nothing was removed" in filled.fails("init", "--overwrite", *author)
    assert (filled.path / ".git").is_dir()


def test_git_dir_leads_to_the_repository(filled, tmp_path):
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(filled.path), str(bare)], check=True)
    assert "first" in filled("log", cwd=tmp_path, GIT_DIR=str(bare))


def test_a_directory_that_cannot_be_written_to_is_told(shell):
    (shell.path / ".git").write_text("gitdir: /nowhere\n")
    shell.fails("init", "--name", USER_NAME, "--email", USER_EMAIL)
