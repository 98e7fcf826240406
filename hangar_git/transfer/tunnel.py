"""Git's own protocol through a call: bytes between a git process there and a git process here."""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import HangarError, RemoteError, RemoteProtocolError
from .hosting import git_environment
from .proto import hangar_pb2 as pb

SERVICES = ("upload-pack", "receive-pack")
_CHUNK_BYTES = 1 << 18
_END_S = 60.0  # that a program may work on after its caller is gone


class GitProgram:
    """``git upload-pack`` or ``git receive-pack``, running on a repository.

    Parameters
    ----------
    service
        One of `SERVICES`.
    git_dir
        The repository.
    options
        ``name=value`` settings.
    environment
        Variables for it and its hooks.
    """

    def __init__(
        self,
        service: str,
        git_dir: Path,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        if service not in SERVICES:
            raise RemoteProtocolError(f"no service is called {service[:40]!r}")
        self._service = service
        self._failure: HangarError | None = None
        settings = [part for option in options for part in ("-c", option)]
        try:
            self._process = subprocess.Popen(
                ["git", *settings, service, str(git_dir)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                bufsize=0, env=git_environment(environment),
                # Ctrl-C at the server's terminal lets running pushes end.
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise RemoteError(f"the server cannot run git: {error.strerror}") from error
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        self._stdin, self._stdout, self._stderr = stdin, stdout, stderr
        self._process.stdin = None  # the thread that feeds it closes it
        for pipe in (stdin, stdout):
            # Linux only, and only up to a limit: a matter of speed.
            with contextlib.suppress(OSError, AttributeError):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _CHUNK_BYTES)

    def feed(self, requests: Iterator[pb.GitRequest]) -> None:
        """Give it what the caller sends, until either has enough."""
        try:
            for request in requests:
                data = memoryview(request.data)
                while data:
                    data = data[os.write(self._stdin.fileno(), data) :]
        except OSError:
            pass  # it has ended
        except HangarError as error:
            # It must not take a damaged message for the end of its input.
            self._failure = error
            self._kill()
        finally:
            self._stdin.close()

    def replies(self, wanted: Callable[[], bool]) -> Iterator[pb.GitReply]:
        """What it says, and last how it ended, as long as that is `wanted`."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            selector.register(self._stderr, selectors.EVENT_READ)
            while selector.get_map():
                if not wanted():
                    return
                for key, _ in selector.select(timeout=1.0):
                    data = os.read(key.fd, _CHUNK_BYTES)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is self._stdout:
                        yield pb.GitReply(data=data)
                    else:
                        yield pb.GitReply(errors=data)
        exit_code = self._process.wait()
        if self._failure is not None:
            raise self._failure
        yield pb.GitReply(exit_code=exit_code)

    def end(self) -> None:
        """Let it finish a push that arrived whole, hooks and all; end it otherwise."""
        if self._service == "upload-pack":
            self._kill()
        try:
            self._process.communicate(timeout=_END_S)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.communicate()

    def _kill(self) -> None:
        # Not once it has been waited for: its number may be another's by then.
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)


def serve_git(
    program: GitProgram, requests: Iterator[pb.GitRequest], wanted: Callable[[], bool]
) -> Iterator[pb.GitReply]:
    """Join `program` to a caller, as long as that is `wanted`."""
    feeding = threading.Thread(target=program.feed, args=(requests,), name="git-input")
    feeding.start()
    try:
        yield pb.GitReply(opened=True)
        yield from program.replies(wanted)
    finally:
        program.end()
