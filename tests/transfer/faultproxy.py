"""A TCP proxy that does what bad networks do, at random but repeatably.

::

    with FaultProxy(server.port, seed=7, cut=0.3, corrupt=0.1) as proxy:
        client.connect("127.0.0.1", proxy.port)

For each connection one fault is drawn, or none: it is cut (reset or closed), stalls, is delayed,
throttled, or has bytes changed, after a random number of bytes in a random direction.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from hangar_git.waiting import readable

FAULTS = ("cut", "stall", "delay", "throttle", "corrupt")
_CHUNK = 1 << 16


@dataclass
class Fault:
    """What will happen to one connection, after so many bytes in one direction."""

    kind: str = "none"
    after: int = 0
    upstream: bool = True


class FaultProxy:
    """Forwards a port of loopback to another one.

    Parameters
    ----------
    target
        Port that connections are forwarded to.
    seed
        Of all that is random.
    within
        A fault happens after at most so many bytes of its direction.
    stall_s
        How long a stalled connection is held before it is cut; None: until the proxy ends.
    planned
        Faults of the first connections, which are then not drawn.
    cut, stall, delay, throttle, corrupt
        Probabilities of each fault for a connection.
    """

    def __init__(
        self,
        target: int,
        seed: int = 0,
        *,
        within: int = 1 << 20,
        stall_s: float | None = 1.0,
        planned: Iterable[Fault] = (),
        **probabilities: float,
    ) -> None:
        assert probabilities.keys() <= set(FAULTS)
        self.target = target
        self.done: list[Fault] = []
        self.sent = {"up": 0, "down": 0}
        """Bytes that reached the server, and the client."""
        self._random = random.Random(seed)
        self._probabilities = probabilities
        self._within = within
        self._planned = iter(planned)
        self._stall_s = stall_s
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            if not readable([self._listener.fileno()], 0.1):
                continue
            client, _ = self._listener.accept()
            try:
                server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            fault = next(self._planned, None) or self._draw()
            thread = threading.Thread(target=self._forward, args=(client, server, fault))
            thread.start()
            self._threads.append(thread)

    def _draw(self) -> Fault:
        luck = self._random.random()
        # Drawn always, so that one connection's fault does not depend on another's.
        after = int(self._within * self._random.random() ** 2)
        upstream = self._random.random() < 0.5
        for kind, probability in self._probabilities.items():
            if luck < probability:
                return Fault(kind, after, upstream)
            luck -= probability
        return Fault()

    def _forward(self, client: socket.socket, server: socket.socket, fault: Fault) -> None:
        ends = {client: (server, True), server: (client, False)}
        self._open |= ends.keys()
        left = fault.after
        rng = random.Random(f"{fault}")
        try:
            while ends and not self._stopping.is_set():
                ready = readable([end.fileno() for end in ends], 0.1)
                for end in [end for end in ends if end.fileno() in ready]:
                    other, upstream = ends[end]
                    data = end.recv(_CHUNK)
                    if not data:
                        with contextlib.suppress(OSError):
                            other.shutdown(socket.SHUT_WR)
                        del ends[end]
                        continue
                    if fault.kind != "none" and upstream == fault.upstream:
                        data, left = self._spoil(fault, data, left, rng)
                    other.sendall(data)
                    self.sent["up" if upstream else "down"] += len(data)
        except (OSError, _Cut):
            pass
        finally:
            for end in (client, server):
                self._open.discard(end)
                if fault.kind == "cut" and rng.random() < 0.5:
                    # Reset: what lies in buffers is lost, too.
                    with contextlib.suppress(OSError):
                        linger = struct.pack("ii", 1, 0)
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                end.close()

    def _spoil(self, fault: Fault, data: bytes, left: int, rng: random.Random) -> tuple[bytes, int]:
        if left >= len(data):
            return data, left - len(data)
        if left >= 0:
            self.done.append(fault)
        if fault.kind == "cut":
            raise _Cut
        if fault.kind == "stall":
            self._stopping.wait(self._stall_s)
            raise _Cut
        if fault.kind == "delay":
            time.sleep(rng.random() * 0.05)
        elif fault.kind == "throttle":
            time.sleep(len(data) / 20e6)
        elif fault.kind == "corrupt" and left >= 0:
            place = min(left, len(data) - 1)
            changed = data[place] ^ (1 << rng.randrange(8))
            data = data[:place] + bytes([changed]) + data[place + 1 :]
        return data, -1

    def cut_all(self) -> None:
        """Cut every connection there is now."""
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()


class _Cut(Exception):
    """The connection ends here."""
