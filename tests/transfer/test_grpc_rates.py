"""What the transport itself costs: a server that stores nothing, beside a bare gRPC stream."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

import grpc
import pytest

from hangar_git.transfer.client import GrpcStore
from hangar_git.transfer.samples import Parcel
from transfer.hangarserver import HangarServer

_BARE = """
import sys
from concurrent.futures import ThreadPoolExecutor
import grpc

def up(messages, context):
    yield str(sum(map(len, messages))).encode()

def down(messages, context):
    data = bytes(1 << 21)
    for count in messages:
        yield from [data] * int(count)

handlers = {f.__name__: grpc.stream_stream_rpc_method_handler(f) for f in (up, down)}
server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bare", handlers)])
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
sys.stdin.read()
"""


class Bare:
    """A gRPC server that takes and gives bytes, and does nothing else."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        port = self.process.stdout.readline().strip()
        options = [("grpc.max_receive_message_length", -1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)

    def up(self, messages: int) -> None:
        list(self._channel.stream_stream("/bare/up")(iter([bytes(1 << 21)] * messages)))

    def down(self, messages: int) -> None:
        for _ in self._channel.stream_stream("/bare/down")(iter([str(messages).encode()])):
            pass

    def close(self) -> None:
        self._channel.close()
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def bare():
    server = Bare()
    yield server
    server.close()


def seconds(work) -> float:
    """The median of five runs, after one that is not counted."""
    work()
    times = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


@pytest.mark.parametrize(("count", "size"), [(50_000, 784), (2_000, 150_528)])
def test_rates_beside_a_bare_stream(tmp_path, bare, record_property, count, size):
    parcels = [Parcel((os.urandom(32),), os.urandom(size)) for _ in range(count)]
    digests = [parcel.digests[0] for parcel in parcels]
    messages = count * size >> 21
    options = ("--root", tmp_path, "--create")
    with HangarServer(*options, store="NullStore", TEST_PARCEL_BYTES=str(size)) as server:
        with GrpcStore(server.url()) as store:
            up = seconds(lambda: store.receive(parcels))
            down = seconds(lambda: sum(1 for _ in store.export(digests)))
        memory = server.memory_bytes()
    bare_up, bare_down = seconds(lambda: bare.up(messages)), seconds(lambda: bare.down(messages))
    record_property(
        "figure",
        f"{count:,} parcels of {size:,} bytes: up {up:.2f} s, down {down:.2f} s; a bare stream"
        f" {bare_up:.2f} s and {bare_down:.2f} s; server's memory {memory >> 20} MiB",
    )
    # Far from what is measured, so that a busy machine passes.
    assert max(up, down) < 3
    assert memory < 300 << 20


def test_a_million_digests_are_negotiated_in_seconds(tmp_path, record_property):
    digests = [number.to_bytes(32, "little") for number in range(1_000_000)]
    with HangarServer("--root", tmp_path, "--create", store="NullStore") as server:
        with GrpcStore(server.url()) as store:
            store.receive([])
            started = time.perf_counter()
            assert len(store.missing(digests)) == 1_000_000
            took = time.perf_counter() - started
        memory = server.memory_bytes()
    record_property(
        "figure", f"a million digests negotiated in {took:.2f} s, server {memory >> 20} MiB"
    )
    assert took < 10
    assert memory < 300 << 20
