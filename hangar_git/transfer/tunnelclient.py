"""The client's end of the Git tunnel: standard input and output joined to a program there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

from ..errors import RemoteConnectionError
from ..waiting import readable
from .channel import Connection
from .proto import hangar_pb2 as pb
from .sealing import opener

_CHUNK_BYTES = 1 << 18
_STILL_HERE_S = 15.0


def join_git(
    connection: Connection,
    service: str,
    protocol: str,
    stdin: int,
    stdout: int,
    stderr: int,
    opened: Callable[[], None],
) -> int:
    """Run `service` on the server, and give back its exit code.

    Parameters
    ----------
    connection
        To the repository.
    service
        ``upload-pack`` or ``receive-pack``.
    protocol
        Git's wire protocol, as in ``GIT_PROTOCOL``; empty: the oldest.
    stdin, stdout, stderr
        File descriptors. Nothing is read before the server has agreed.
    opened
        Called when it has.

    Raises
    ------
    HangarError
        The server refuses, or the connection broke off.
    """
    with ExitStack() as pipes:
        ended, end = _signal(pipes)
        agreed, agree = _signal(pipes)

        def requests() -> Iterator[pb.GitRequest]:
            yield pb.GitRequest(service=service, protocol=protocol)
            readable([agreed, ended])
            while True:
                ready = readable([stdin, ended], _STILL_HERE_S)
                if ended in ready:
                    return
                data = os.read(stdin, _CHUNK_BYTES) if ready else b""
                if ready and not data:
                    return
                yield pb.GitRequest(data=data)

        replies = connection.stream("Git", requests(), opener(pb.GitReply), interrupt=end)
        exit_code: int | None = None
        # Closed before the pipes are, which the thread that takes requests waits for.
        for reply in pipes.enter_context(closing(replies)):
            if reply.opened:
                opened()
                agree()
            _write(stdout, reply.data)
            _write(stderr, reply.errors)
            if reply.HasField("exit_code"):
                exit_code = reply.exit_code
                end()
    if exit_code is None:
        raise RemoteConnectionError("the connection ended early; try again")
    return exit_code


def _signal(pipes: ExitStack) -> tuple[int, Callable[[], None]]:
    """A descriptor that becomes readable, and what makes it so."""
    reading, writing = os.pipe()
    pipes.callback(os.close, reading)
    pipes.callback(os.close, writing)

    def give() -> None:
        os.write(writing, b"\0")

    return reading, give


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
