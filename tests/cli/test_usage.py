"""What a usage error tells the user to type next."""

from __future__ import annotations

import pytest

from hangar_git.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["nope"], "'git hangar -h'"),
        (["--nope"], "'git hangar -h'"),
        (["status", "--nope"], "'git hangar status -h'"),
        (["branch", "create"], "'git hangar branch create -h'"),
        (["merge"], "'git hangar merge -h'"),
        (["export", "x", "--out"], "'git hangar -h'"),
        (["diff", "--color=sometimes"], "'git hangar diff -h'"),
        (["completion", "tcsh"], "'git hangar completion -h'"),
    ],
)
def test_a_usage_error_is_a_line_with_a_help_option_that_reaches_us(arguments, hint, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("error: ")
    assert said.err.endswith(f"; try {hint}\n")


def test_a_group_without_a_command_lists_its_commands(capsys):
    assert main(["branch"]) == 2
    assert "create" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["-h"], ["status", "-h"], ["status", "--help"]])
def test_help_is_printed_and_is_no_error(arguments, capsys):
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("Usage: git hangar")


@pytest.mark.parametrize("arguments", [["export", "x"], ["summary"], ["branch", "delete"]])
def test_a_name_that_is_not_utf_8_is_an_error_of_a_line(arguments, repo, monkeypatch, capsys):
    monkeypatch.chdir(repo.path)
    assert main([*arguments, "caf\udce9"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
