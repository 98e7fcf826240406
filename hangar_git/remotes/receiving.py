"""The check that a server makes of each push, through the hooks of the git program it runs.

A hook of ours cannot judge by itself: another Python with all that it takes would cost each push a
quarter of a second. So a small one asks the server, over a socket that only its user can reach.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import socket
import socketserver
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from ..errors import HangarError, InvalidInputError, StateError, cannot_write
from ..records.gitrepo import GitRepository
from ..transfer.jsonlog import log
from ..transfer.samples import SampleStore
from ..transfer.wireerrors import told
from .checks import lacking_data, pushed_commits, refusal

SOCKET_VARIABLE = "HANGAR_PUSH_CHECK"
_LONGEST_QUESTION = 256 << 20
_LONGEST_SOCKET_PATH = 100
_PREFIX = "hangar-server-"
_ALONE, _ALL = "check", "check-and-chain"
_CHAINED = ("update", "post-receive", "post-update", "reference-transaction", "proc-receive")

_ASK = '''"""Asks the server whether a push may be taken, then runs the repository's own hook."""
import os
import socket
import sys

updates = sys.stdin.buffer.read()
asking = socket.socket(socket.AF_UNIX)
try:
    asking.connect(os.environ["{variable}"])
    where = os.fsencode(os.getcwd())
    objects = os.fsencode(os.environ.get("GIT_QUARANTINE_PATH", ""))
    asking.sendall(b"\\0".join([where, objects, updates]))
    asking.shutdown(socket.SHUT_WR)
    answer = b""
    while data := asking.recv(65536):
        answer += data
except OSError:
    answer = b""
if answer != b"yes":
    answer = answer or b"the server is stopping; push again"
    sys.stderr.buffer.write(b"hangar: " + answer + b"\\n")
    sys.exit(1)
own = os.path.join(os.environ.get("GIT_DIR", "."), "hooks", "pre-receive")
if os.access(own, os.X_OK):
    import subprocess
    sys.exit(subprocess.run([own], input=updates).returncode and 1)
'''
_PRE_RECEIVE = """#!/bin/sh
exec {python} -I -S {ask}
"""
_CHAIN = """#!/bin/sh
# Runs the repository's own hook.
own="$GIT_DIR/hooks/{name}"
[ -x "$own" ] || exit 0
exec "$own" "$@"
"""


class PushChecks:
    """Hooks for the git programs of a server, and the socket at which these ask.

    Parameters
    ----------
    open_store
        The samples of the repository at a path.

    Attributes
    ----------
    git_environment
        What the git programs have to be given, with what `git_options` says.
    """

    def __init__(self, open_store: Callable[[Path], SampleStore]) -> None:
        _remove_abandoned()
        self._directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            address = self._directory / "socket"
            _write_hooks(self._directory)
            if len(str(address)) > _LONGEST_SOCKET_PATH:
                raise StateError(f"{self._directory}: too long for a socket; set TMPDIR to another")
            self._server = _Server(str(address), _Question)
            self._server.open_store = open_store
        except OSError as error:
            self._remove()
            raise cannot_write(self._directory, error) from error
        except BaseException:
            self._remove()
            raise
        self.git_environment = {SOCKET_VARIABLE: str(address)}
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="push-checks", daemon=True
        )
        self._thread.start()

    def git_options(self, git_dir: Path) -> tuple[str, ...]:
        """Settings for the git program that takes a push to the repository at `git_dir`."""
        own = git_dir / "hooks"
        # Each hook is a process: those that would do nothing are not there.
        chained = any(os.access(own / name, os.X_OK) for name in _CHAINED)
        return (f"core.hooksPath={self._directory / (_ALL if chained else _ALONE)}",)

    def close(self) -> None:
        """Answer no more questions: pushes under way are refused."""
        self._server.shutdown()
        self._server.server_close()
        self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _remove_abandoned() -> None:
    """Remove what servers left that were killed: nobody answers at their sockets."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with socket.socket(socket.AF_UNIX) as asking:
            try:
                asking.connect(str(directory / "socket"))
            except ConnectionRefusedError:
                shutil.rmtree(directory, ignore_errors=True)
            except OSError:
                pass  # it is another user's, or only begins


def refuse_other_hooks(git_options: tuple[str, ...]) -> None:
    """Raise InvalidInputError if an option would put other hooks in the place of ours."""
    if any(option.partition("=")[0].lower() == "core.hookspath" for option in git_options):
        raise InvalidInputError(
            "core.hooksPath is the server's own, for it checks pushes; put hooks into the"
            " repository's directory 'hooks', where they run as well"
        )


def _write_hooks(directory: Path) -> None:
    ask = directory / "ask.py"
    ask.write_text(_ASK.format(variable=SOCKET_VARIABLE))
    python, path = shlex.quote(sys.executable), shlex.quote(str(ask))
    pre_receive = {"pre-receive": _PRE_RECEIVE.format(python=python, ask=path)}
    chained = {name: _CHAIN.format(name=name) for name in _CHAINED}
    for hooks, texts in ((_ALONE, pre_receive), (_ALL, pre_receive | chained)):
        (directory / hooks).mkdir()
        for name, text in texts.items():
            hook = directory / hooks / name
            hook.write_text(text)
            hook.chmod(0o700)
            _check_runs(hook)


def _check_runs(hook: Path) -> None:
    # Git passes over a hook that it may not run, and would take every push.
    if not os.access(hook, os.X_OK):
        raise StateError(
            f"programs in {hook.parent} may not be run, and the server's check of pushes is one;"
            " set TMPDIR to a directory where they may"
        )


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128
    open_store: Callable[[Path], SampleStore]


class _Question(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        question = self.rfile.read(_LONGEST_QUESTION)
        if not question:  # another server only wants to know whether we are alive
            return
        try:
            answer = self._judge(question)
        except HangarError as error:
            log("push-not-checked", level=logging.ERROR, error=True)
            answer = f"the push could not be checked: {told(error)}"
        except Exception:  # noqa: BLE001  # callers are told no more than that it failed
            log("push-not-checked", level=logging.ERROR, error=True)
            answer = "the push could not be checked; the server's log says why"
        with suppress(BrokenPipeError):  # whoever asked has died
            self.wfile.write((answer or "yes").encode())

    def _judge(self, question: bytes) -> str:
        where, objects, updates = question.split(b"\0", 2)
        new = pushed_commits(updates.decode(errors="surrogateescape"))
        if not new:
            return ""
        git_dir = Path(where.decode(errors="surrogateescape"))
        arriving = Path(objects.decode(errors="surrogateescape")) if objects else None
        store = self.server.open_store(git_dir)
        lacking = lacking_data(GitRepository(git_dir), new, store, arriving)
        if lacking is None:
            return ""
        log("push-refused", repository=str(git_dir), lacking=lacking.count)
        return refusal(lacking)
