"""Running parts of a test in processes of their own."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[1]


class Crashed(AssertionError):
    """The process died of a signal."""


def in_child(function, *arguments):
    """What ``function(*arguments)`` returns in a fork of this process."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            result = (True, function(*arguments))
        except BaseException:
            result = (False, traceback.format_exc())
        try:
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(result, pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        raise Crashed(f"killed by {signal.Signals(os.WTERMSIG(status)).name}")
    succeeded, value = pickle.loads(data)
    if not succeeded:
        raise AssertionError(f"in the child:\n{value}")
    return value


def wait_for(condition, timeout_s: float = 60.0) -> None:
    """Look until `condition()` holds; it may take long on a busy machine."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, condition
        time.sleep(0.02)


def run_python(source: str, *arguments: object, **more) -> subprocess.CompletedProcess[str]:
    """Run a Python program that can import this package."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    return subprocess.run(
        [sys.executable, "-c", source, *map(str, arguments)],
        env=environment, capture_output=True, text=True, check=False, **more,
    )  # fmt: skip
