"""Reading from a remote through a process of its own, for forked processes that cannot themselves.

The threads of gRPC and obstore do not survive a fork: a forked process that uses them hangs. The
process that is started here is a fresh one; pipes lead to it, and it ends when they are closed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread

from ..errors import HangarError, RemoteConnectionError
from ..transfer.samples import Parcel
from .connections import ConnectionPool, Opener

_PROGRAM = "import sys; from hangar_git.remotes.apart import serve; serve(*sys.argv[1:])"
_PIPES = 4
"""Reads at once; more wait."""
_END_S = 5.0


class ReaderApart:
    """A remote, read by another process. Safe to use from several threads.

    Parameters
    ----------
    opener
        Opens the remote, there.

    Attributes
    ----------
    ended
        Whether the process is gone.
    """

    def __init__(self, opener: Opener) -> None:
        self.ended = False
        self._pipes: SimpleQueue[Connection | None] = SimpleQueue()  # None: closed
        paths = [path for path in sys.path if path]
        with ExitStack() as theirs:
            pairs = [Pipe() for _ in range(_PIPES)]
            fds = [theirs.enter_context(other).fileno() for _, other in pairs]
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *map(str, fds)],
                stdin=subprocess.DEVNULL,
                pass_fds=fds,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            )
        for ours, _ in pairs:
            self._pipes.put(ours)
        pairs[0][0].send(opener)

    def export(self, digests: Collection[bytes]) -> Iterator[Parcel]:
        """As `SampleStore.export`; all of it has come when it returns."""
        pipe = self._pipes.get()
        try:
            if pipe is None:
                raise EOFError
            return iter(_asked(pipe, list(digests)))
        except (EOFError, OSError) as error:
            if isinstance(error, HangarError):
                raise
            self.ended = True
            raise RemoteConnectionError("the process that read from the remote ended") from error
        finally:
            self._pipes.put(pipe)

    def close(self) -> None:
        """End the process, once what is being read has come."""
        self.ended = True
        for _ in range(_PIPES):
            pipe = self._pipes.get()
            if pipe is None:
                break
            pipe.close()
        self._pipes.put(None)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _asked(pipe: Connection, digests: list[bytes]) -> list[Parcel]:
    pipe.send(digests)
    parcels = []
    while (reply := pipe.recv()) is not None:
        if isinstance(reply, HangarError):
            raise reply
        parcels.append(Parcel(*reply))
    return parcels


def serve(*fds: str) -> None:
    """Be the other process: read what is asked for at the pipes, until they are closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the pipes tell when to end
    pipes = [Connection(int(fd)) for fd in fds]
    connections = ConnectionPool(pipes[0].recv())
    threads = [Thread(target=_answer, args=(pipe, connections)) for pipe in pipes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()  # an interpreter that ends starts no more threads


def _answer(pipe: Connection, connections: ConnectionPool) -> None:
    # Whatever else is raised closes the pipe, which tells the other side.
    with pipe, suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            digests = pipe.recv()
            try:
                for parcel in connections.export(digests):
                    pipe.send(tuple(parcel))
                pipe.send(None)
            except HangarError as error:
                pipe.send(error)
