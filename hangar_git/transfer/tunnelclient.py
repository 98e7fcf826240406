"""The client's end of the Git tunnel: standard input and output joined to a program there."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from contextlib import closing

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
    ending_read, ending_write = os.pipe()
    may_read_read, may_read_write = os.pipe()

    def requests() -> Iterator[pb.GitRequest]:
        yield pb.GitRequest(service=service, protocol=protocol)
        select.select([may_read_read, ending_read], [], [])
        while True:
            ready, _, _ = select.select([stdin, ending_read], [], [], _STILL_HERE_S)
            if ending_read in ready:
                return
            data = os.read(stdin, _CHUNK_BYTES) if ready else b""
            if ready and not data:
                return
            yield pb.GitRequest(data=data)

    def end() -> None:
        os.write(ending_write, b"\0")

    exit_code = 1
    try:
        with closing(
            connection.stream("Git", requests(), opener(pb.GitReply), interrupt=end)
        ) as replies:
            for reply in replies:
                if reply.opened:
                    opened()
                    os.write(may_read_write, b"\0")
                _write(stdout, reply.data)
                _write(stderr, reply.errors)
                if reply.HasField("exit_code"):
                    exit_code = reply.exit_code
                    end()
    finally:
        for pipe in (ending_read, ending_write, may_read_read, may_read_write):
            os.close(pipe)
    return exit_code


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
