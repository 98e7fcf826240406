"""A real S3 HTTP server as a process, and a TCP proxy that spoils what passes through it."""

from __future__ import annotations

import http.client
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

BUCKET = "bucket"


class S3Server:
    """moto's server on a loopback port; its log counts requests."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._log = directory / "s3server.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                stdout=log,
                stderr=log,
            )
        for _ in range(600):
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            assert self._process.poll() is None, self._log.read_text()
            time.sleep(0.05)
        raise AssertionError("the S3 server does not come up")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def request(self, method: str, path: str) -> bytes:
        """Ask the server directly, past obstore."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        assert response.status < 300, (method, path, response.status, body)
        return body

    def reset(self) -> None:
        """Forget everything; make one empty bucket."""
        self.request("POST", "/moto-api/reset")
        self.request("PUT", f"/{BUCKET}")

    def requests(self) -> list[str]:
        """Method and path of every request to the bucket so far."""
        log = re.sub(r"\x1b\[[0-9;]*m", "", self._log.read_text())
        return re.findall(r'"([A-Z]+ /bucket\S*) HTTP/1.1"', log)


class FaultyProxy:
    """Forwards TCP connections to `port`, and spoils some of them, after some bytes.

    Parameters
    ----------
    port
        Where to.
    seed
        Of what happens; threads still race.
    cut, corrupt, stall
        Probability that a connection is cut, that one bit of an answer is changed, that an answer
        pauses, for `STALLS_S`.
    """

    STALLS_S = (0.02, 0.02, 0.8)

    def __init__(self, port: int, seed: int, *, cut=0.0, corrupt=0.0, stall=0.0) -> None:
        self._target = port
        self._random = random.Random(seed)
        self._odds = cut, corrupt, stall
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.faults = 0
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        # A listener that is only closed keeps accept() waiting.
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            fate = [self._random.random() < odds for odds in self._odds]
            after = int(10 ** self._random.uniform(1, 5.5))
            thread = threading.Thread(target=self._serve, args=(client, after, *fate))
            thread.start()
            self._threads.append(thread)

    def _serve(self, client, after: int, cut: bool, corrupt: bool, stall: bool) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            # No transfer of a test is idle for so long.
            client.settimeout(5)
            server.settimeout(5)
            asking = threading.Thread(target=self._pump, args=(client, server, after, cut))
            asking.start()
            self._pump(server, client, after, cut, corrupt, stall)
            asking.join()

    def _pump(self, source, sink, after: int, cut: bool, corrupt=False, stall=False) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if passed <= after < passed + len(data) and (cut or corrupt or stall):
                    self.faults += 1
                    at = after - passed
                    if cut:
                        sink.sendall(data[:at])
                        break
                    if stall:
                        time.sleep(self._random.choice(self.STALLS_S))
                    if corrupt:
                        data = data[:at] + bytes([data[at] ^ 1 << after % 8]) + data[at + 1 :]
                passed += len(data)
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="session")
def s3_process(tmp_path_factory):
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture
def s3(s3_process, monkeypatch):
    """The server, with one empty bucket and the environment that leads there."""
    s3_process.reset()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    set_environment(monkeypatch, s3_process.port)
    return s3_process


def set_environment(monkeypatch, port: int) -> None:
    """Credentials and endpoint, in the usual variables."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
