"""Samples to a server and back, over real processes."""

from __future__ import annotations

import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from processes import wait_for

from hangar_git.errors import (
    DataNotLocalError,
    IntegrityError,
    InvalidInputError,
    RemoteConnectionError,
    RemoteNotFoundError,
    RemoteProtocolError,
)
from hangar_git.transfer.client import GrpcStore
from hangar_git.transfer.copying import copy_samples
from hangar_git.transfer.packing import PACK_BYTES
from hangar_git.transfer.proto import hangar_pb2 as pb
from hangar_git.transfer.samples import Parcel
from hangar_git.transfer.sealing import seal
from transfer.hangarserver import HangarServer
from transfer.stores import DirectoryStore, MemoryStore, digest_of, encode


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    with HangarServer("--root", root, "--create", "--metrics-port", 0) as running:
        yield running


@pytest.fixture
def store(server, request):
    """The samples of a repository that no other test uses."""
    with GrpcStore(server.url(request.node.name.replace("[", "-").replace("]", ""))) as opened:
        yield opened


def payloads(count: int, size: int = 784) -> list[bytes]:
    return [os.urandom(size) for _ in range(count)]


SIZES = {
    "none": [],
    "one": [784],
    "many small": [100] * 30_000,
    "large among small": [10, 9_000_000, 10, PACK_BYTES, PACK_BYTES + 1, 0, 5],
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("parcel_samples", [1, 50])
def test_samples_come_back_as_they_were_sent(server, sizes, parcel_samples):
    source = MemoryStore([os.urandom(size) for size in sizes], parcel_samples)
    digests = list(source.samples)
    name = f"back-{len(sizes)}-{parcel_samples}"
    with GrpcStore(server.url(name)) as store:
        assert store.missing(digests) == digests
        assert store.receive(source.export(digests)) == len(digests)
        assert store.missing(digests) == []
        target = MemoryStore()
        assert target.receive(store.export(digests)) == len(digests)
    assert target.samples == source.samples


def test_missing_answers_for_each_digest_in_order(store):
    source = MemoryStore(payloads(70_001, 8))
    digests = list(source.samples)
    store.receive(source.export(digests[::3]))
    there = set(digests[::3])
    assert store.missing(digests) == [digest for digest in digests if digest not in there]


def test_sending_again_is_no_conflict(store):
    source = MemoryStore(payloads(10))
    assert [store.receive(source.export(list(source.samples))) for _ in range(3)] == [10] * 3


def test_hello_says_who_and_what(server, store):
    hello = store.hello()
    assert hello.rights == {"read", "write"}
    assert (hello.protocol, hello.user, hello.exists) == (1, "", False)
    assert {"missing", "upload", "download", "git"} <= hello.capabilities
    store.receive(MemoryStore(payloads(1)).export([]))
    assert store.hello().exists
    assert 0 < store.ping() < 5


def test_budget_ends_a_download_before_it_is_exceeded(store):
    source = MemoryStore(payloads(1000, 1000))
    digests = list(source.samples)
    store.receive(source.export(digests))
    size = len(encode([bytes(1000)]))
    got = list(store.export(digests, budget_bytes=10 * size + 1))
    assert [parcel.digests[0] for parcel in got] == digests[:10]
    assert list(store.export(digests, budget_bytes=0)) == []
    assert len(list(store.export(digests, budget_bytes=1000 * size))) == 1000


def test_export_of_an_absent_sample_says_so_after_what_came_before(store):
    source = MemoryStore(payloads(5))
    store.receive(source.export(list(source.samples)))
    with pytest.raises(DataNotLocalError, match="is not here"):
        list(store.export([*source.samples, digest_of(b"absent")]))


def test_a_parcel_that_lies_is_refused_and_what_came_before_is_kept(store):
    source = MemoryStore(payloads(5))
    good = list(source.export(list(source.samples)))
    bad = Parcel((digest_of(b"said"),), encode([b"sent"]))
    with pytest.raises(IntegrityError, match="does not hold what it says"):
        store.receive([*good, bad, *good])
    assert store.missing([*source.samples, digest_of(b"said")]) == [digest_of(b"said")]


def test_an_error_of_the_sender_is_raised_as_it_is_and_sent_messages_are_kept(store):
    source = MemoryStore(payloads(5, PACK_BYTES))

    def failing():
        yield from source.export(list(source.samples))
        raise DataNotLocalError("gone meanwhile")

    with pytest.raises(DataNotLocalError, match="gone meanwhile"):
        store.receive(failing())
    assert len(store.missing(list(source.samples))) <= 1


def test_parcels_over_the_limit_are_refused_before_they_are_sent(store):
    with pytest.raises(InvalidInputError, match="at most"):
        store.receive([Parcel((bytes(32),), bytes((1 << 30) + 1))])
    with pytest.raises(InvalidInputError, match="0 samples"):
        store.receive([Parcel((), b"")])
    with pytest.raises(InvalidInputError, match="32 bytes"):
        store.missing([b"short"])


def test_a_download_that_is_given_up_ends_on_the_server(server, store):
    source = MemoryStore(payloads(20, 1_000_000))
    store.receive(source.export(list(source.samples)))
    export = store.export(list(source.samples) * 50)
    next(export)
    export.close()
    wait_for(lambda: active(server, "Download") == 0)


def test_a_slow_taker_does_not_fill_the_servers_memory(server, store):
    source = MemoryStore(payloads(20, 1_000_000))
    store.receive(source.export(list(source.samples)))
    export = store.export(list(source.samples) * 20)
    next(export)
    before = server.memory_bytes()
    time.sleep(1)  # were it not held back, it would send 400 MB meanwhile
    assert server.memory_bytes() < before + (50 << 20)
    assert sum(1 for _ in export) == 20 - 1  # of each digest once


def test_sixteen_clients_upload_at_once(server):
    sources = [MemoryStore(payloads(1000)) for _ in range(16)]

    def upload(source: MemoryStore) -> list[bytes]:
        with GrpcStore(server.url("sixteen")) as store:
            copy_samples(source, store, list(source.samples))
            return store.missing(list(source.samples))

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(upload, sources)) == [[]] * 16
    everything = [digest for source in sources for digest in source.samples]
    with GrpcStore(server.url("sixteen")) as store:
        target = MemoryStore()
        assert copy_samples(store, target, everything).samples == 16_000


def test_one_store_serves_many_threads(store):
    sources = [MemoryStore(payloads(500)) for _ in range(8)]

    def there_and_back(source: MemoryStore) -> bool:
        target = MemoryStore()
        copy_samples(source, store, list(source.samples))
        copy_samples(store, target, list(source.samples))
        return target.samples == source.samples

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(there_and_back, sources))


def test_copy_says_what_it_moved_and_what_was_there(store):
    source = MemoryStore(payloads(100))
    digests = list(source.samples)
    store.receive(source.export(digests[:40]))
    seen = []
    copied = copy_samples(source, store, digests, progress=lambda *moved: seen.append(moved))
    assert (copied.samples, copied.were_there) == (60, 40)
    assert copied.size_bytes == sum(size for _, size in seen)
    assert copy_samples(source, store, digests).were_there == 100


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "connection refused; is the server running"),
        ("no.such.host.invalid:50051", "unknown host"),
    ],
)
def test_a_server_that_is_not_there_is_one_clear_line(address, said):
    with GrpcStore(address) as store, pytest.raises(RemoteConnectionError, match=said):
        store.ping()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_something_else_on_the_port_is_one_clear_line(answer):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    with listener.accept()[0] as connection:
                        connection.recv(1)
                        connection.sendall(answer)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        with (
            GrpcStore(f"127.0.0.1:{listener.getsockname()[1]}") as store,
            pytest.raises(RemoteConnectionError, match=r"127\.0\.0\.1") as caught,
        ):
            store.missing([bytes(32)])
        assert "\n" not in str(caught.value)
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def foreign():
    """Starts a gRPC server with one method, as another program would."""
    servers = []

    def start(service: str, method: str, answer: bytes) -> str:
        handler = grpc.unary_unary_rpc_method_handler(lambda _request, _context: answer)
        server = grpc.server(ThreadPoolExecutor(1))
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(service, {method: handler})]
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(0).wait()


def test_a_server_of_another_version_is_one_clear_line(foreign):
    with (
        GrpcStore(foreign("hangar.v2.Hangar", "Hello", b"")) as store,
        pytest.raises(RemoteProtocolError, match="no Hangar server, or one of another"),
    ):
        store.hello()
    newer = seal(pb.HelloReply(protocol=2))
    with (
        GrpcStore(foreign("hangar.v1.Hangar", "Hello", newer)) as store,
        pytest.raises(RemoteProtocolError, match="speaks protocol 2, this program 1"),
    ):
        store.hello()
    with (
        GrpcStore(foreign("hangar.v1.Hangar", "Hello", b"nonsense")) as store,
        pytest.raises(RemoteConnectionError, match="damaged on the way"),
    ):
        store.hello()


def test_a_client_of_another_version_is_told(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        from hangar_git.transfer.sealing import seal_of_metadata

        metadata = (("hangar-repository", ""), ("hangar-seal", seal_of_metadata("", None)))
        hello = channel.unary_unary("/hangar.v1.Hangar/Hello")
        with pytest.raises(grpc.RpcError, match="speaks protocol 1, this program only 0"):
            hello(seal(pb.HelloRequest(protocol=0)), metadata=metadata)
        assert hello(seal(pb.HelloRequest(protocol=7)), metadata=metadata)


def test_a_repository_that_is_missing_is_one_clear_line(tmp_path):
    with HangarServer("--root", tmp_path) as server, GrpcStore(server.url("nowhere")) as store:
        for use in (store.missing, lambda digests: list(store.export(digests))):
            with pytest.raises(RemoteNotFoundError, match="no repository 'nowhere'"):
                use([bytes(32)])
        with pytest.raises(RemoteNotFoundError, match="--create"):
            store.receive([])
    assert list(tmp_path.iterdir()) == []


def test_what_was_acknowledged_survives_a_kill(tmp_path):
    server = HangarServer("--root", tmp_path, "--create")
    source = MemoryStore(payloads(100))
    with GrpcStore(server.url("kept")) as store:
        store.receive(source.export(list(source.samples)))
    server.kill()
    assert DirectoryStore(tmp_path / "kept.git").samples == source.samples


def active(server: HangarServer, method: str) -> float:
    from urllib.request import urlopen

    with urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics") as response:
        lines = response.read().decode().splitlines()
    name = f'hangar_calls_active{{method="{method}"}}'
    return next((float(line.split()[1]) for line in lines if line.startswith(name)), 0.0)
