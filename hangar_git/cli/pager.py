"""Long output through a pager, as Git does it: on terminals, with the user's own program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress

import click

from .coloring import PAGED as IS_PAGED

PAGED = frozenset({"log", "diff", "show", "summary", "blame"})


@contextmanager
def paging(ctx: click.Context, command: str) -> Iterator[None]:
    """A block whose output goes through the pager, if `command` writes much and to a terminal."""
    if command not in PAGED or not sys.stdout.isatty() or ctx.resilient_parsing:
        yield
        return
    # Git asks GIT_PAGER, core.pager and PAGER; with 'git --no-pager' the answer is cat.
    found = subprocess.run(
        ["git", "var", "GIT_PAGER"], capture_output=True, text=True, check=False
    ).stdout.strip()
    if found in ("", "cat"):
        yield
        return
    environment = {"LESS": "FRX", "LV": "-c"} | os.environ
    with subprocess.Popen(found, shell=True, stdin=subprocess.PIPE, text=True,  # noqa: S602
                          env=environment) as pager:  # fmt: skip
        assert pager.stdin is not None
        ctx.meta[IS_PAGED] = True
        try:
            with redirect_stdout(pager.stdin):
                yield
        except BrokenPipeError:
            pass  # the user has seen enough
        finally:
            with suppress(BrokenPipeError):
                pager.stdin.close()
