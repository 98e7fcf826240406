"""What the terminal can show: it is asked, since its name does not tell."""

from __future__ import annotations

import os
import re
import termios
import tty
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

from ..waiting import readable

_QUESTION = b"\x1b[16t\x1b[c"
"""The size of a character in pixels, and the device's attributes: every terminal answers these."""
_CELL = re.compile(rb"\x1b\[6;(\d+);(\d+)t")
_ATTRIBUTES = re.compile(rb"\x1b\[\?([\d;]*)c")
_SIXEL = "4"
_WAIT_S = 0.3
_DEFAULT_CELL = (16, 8)


class Graphics(NamedTuple):
    """Whether the terminal shows sixels, and how large a character is, in pixels."""

    sixel: bool
    cell_height: int
    cell_width: int


def graphics() -> Graphics:
    """Ask the terminal that controls this process; no sixels if there is none, or no answer."""
    none = Graphics(False, *_DEFAULT_CELL)
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return none
    try:
        answer = _asked(terminal)
    except (OSError, termios.error):
        return none
    finally:
        os.close(terminal)
    return parsed(answer)


def parsed(answer: bytes) -> Graphics:
    """What a terminal's answer says."""
    attributes, cell = _ATTRIBUTES.search(answer), _CELL.search(answer)
    height, width = map(int, cell.groups()) if cell else _DEFAULT_CELL
    has_sixel = attributes is not None and _SIXEL in attributes[1].decode().split(";")[1:]
    return Graphics(has_sixel, height or _DEFAULT_CELL[0], width or _DEFAULT_CELL[1])


def _asked(terminal: int) -> bytes:
    before = termios.tcgetattr(terminal)
    answer = b""
    try:
        tty.setcbreak(terminal)  # neither echo the answer nor wait for the end of a line
        os.write(terminal, _QUESTION)
        until = monotonic() + _WAIT_S
        while not _ATTRIBUTES.search(answer) and (left := until - monotonic()) > 0:
            if readable([terminal], left):
                answer += os.read(terminal, 1024)
    finally:
        with suppress(termios.error):
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
    return answer
