"""``git hangar view`` in a terminal, which answers what it is asked or does not."""

from __future__ import annotations

import os
import pty
import time

import numpy as np
import pytest

from hangar_git import Repository
from hangar_git.cli.terminalquery import Graphics, parsed
from hangar_git.waiting import readable


@pytest.fixture
def viewed(hangar):
    co = Repository(hangar.path).checkout(write=True)
    images = co.arraysets.init_arrayset("images", shape=(8, 10, 3), dtype=np.uint8)
    images["red"] = np.full((8, 10, 3), [255, 0, 0], np.uint8)
    co.commit("red")
    co.close()
    return hangar


def in_terminal(shell, answer, *arguments):
    """What a command writes to a terminal that answers a question about itself with `answer`."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(shell.path)
        os.execvpe("git-hangar", ["git-hangar", *arguments],
                   shell.environment | {"TERM": "xterm-256color", "NO_COLOR": ""})  # fmt: skip
    written, until, answered = b"", time.monotonic() + 60, False
    try:
        while time.monotonic() < until:
            if not readable([terminal], 0.1):
                continue
            try:
                part = os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            written += part
            if not answered and written.endswith(b"\x1b[c"):
                os.write(terminal, answer)
                answered = True
    finally:
        os.close(terminal)
    assert os.waitpid(child, 0)[1] == 0, written
    return written.decode()


def test_a_terminal_with_sixels_is_drawn_pixels(viewed):
    shown = in_terminal(viewed, b"\x1b[6;20;10t\x1b[?62;4;22c", "view", "images", "red")
    assert '\x1bPq"1;1;10;8' in shown
    assert "#0;2;100;0;0" in shown
    assert "uint8" in shown


def test_another_terminal_is_drawn_half_blocks(viewed):
    shown = in_terminal(viewed, b"\x1b[?62;22c", "view", "images", "red")
    assert "\x1bPq" not in shown
    assert shown.count("\N{UPPER HALF BLOCK}") == 40
    assert "\x1b[38;2;255;0;0" in shown


def test_a_terminal_that_does_not_answer_is_drawn_half_blocks(viewed):
    assert "\N{UPPER HALF BLOCK}" in in_terminal(viewed, b"", "view", "images", "red")


def test_elsewhere_there_are_numbers(viewed):
    shown = viewed("view", "images", "red")
    assert "\x1b" not in shown
    assert "shape" in shown


@pytest.mark.parametrize(
    ("answer", "graphics"),
    [
        (b"\x1b[6;20;10t\x1b[?62;4;22c", Graphics(True, 20, 10)),
        (b"\x1b[?1;2;4c", Graphics(True, 16, 8)),
        (b"\x1b[?64;22c", Graphics(False, 16, 8)),
        (b"\x1b[?4c", Graphics(False, 16, 8)),  # the first number is the kind of device
        (b"", Graphics(False, 16, 8)),
    ],
)
def test_attributes_of_a_terminal_tell_whether_it_has_sixels(answer, graphics):
    assert parsed(answer) == graphics
