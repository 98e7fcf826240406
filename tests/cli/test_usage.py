"""What a usage error tells the user to type next."""

from __future__ import annotations

import pytest

from hangar_git.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["nope"], "'git hangar -h'"),
        (["--nope"], "'git hangar -h'"),
        (["status", "--nope"], "'git hangar status --help'"),
    ],
)
def test_a_usage_error_names_a_help_option_that_reaches_us(arguments, hint, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"Try {hint} for help.\n" in said.err


@pytest.mark.parametrize("arguments", [["-h"], ["status", "-h"], ["status", "--help"]])
def test_help_is_printed_and_is_no_error(arguments, capsys):
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("Usage: git hangar")
