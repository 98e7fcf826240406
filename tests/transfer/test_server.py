"""A server as its operator and its enemies know it."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import wait_for
from xxhash import xxh3_64_intdigest

from hangar_git.errors import (
    InvalidInputError,
    NotFoundError,
    NotPermittedError,
    RemoteConnectionError,
    RemoteNotFoundError,
    StateError,
)
from hangar_git.transfer.auth import Right
from hangar_git.transfer.channel import ClientOptions
from hangar_git.transfer.client import GrpcStore
from hangar_git.transfer.config import ServerConfig, ServerLimits
from hangar_git.transfer.hosting import Hosting, create_repository, overwrite_repository, run_git
from hangar_git.transfer.packing import MessageLimits
from hangar_git.transfer.proto import hangar_pb2 as pb
from hangar_git.transfer.samples import Parcel
from hangar_git.transfer.sealing import seal, seal_of_metadata
from hangar_git.transfer.server import Server
from transfer.hangarserver import Authority, HangarServer
from transfer.stores import DirectoryStore, MemoryStore

METHODS = ("Hello", "Missing", "Upload", "Download", "Git")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    create_repository(root / "repo.git")
    with HangarServer("--root", root, "--metrics-port", 0) as running:
        yield running


class Raw:
    """A caller that does not keep to the rules."""

    def __init__(self, server: HangarServer) -> None:
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{server.port}", [("grpc.max_send_message_length", -1)]
        )

    def call(self, method: str, *messages: bytes, repository: str = "repo", **metadata: str):
        """Status and text of the answer to `messages`."""
        keys = {
            "hangar-repository": repository,
            "hangar-seal": seal_of_metadata(repository, metadata.get("authorization")),
            **{key.replace("_", "-"): value for key, value in metadata.items()},
        }
        sent = tuple((key, value) for key, value in keys.items() if value)
        try:
            if method == "Hello":
                self._channel.unary_unary(f"/hangar.v1.Hangar/{method}")(
                    messages[0], metadata=sent, timeout=20
                )
            else:
                stream = self._channel.stream_stream(f"/hangar.v1.Hangar/{method}")
                list(stream(iter(messages), metadata=sent, timeout=20))
        except grpc.RpcError as error:
            return error.code().name, error.details()
        return "OK", ""

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
def raw(server):
    caller = Raw(server)
    yield caller
    caller.close()


def still_serves(server: HangarServer) -> bool:
    with GrpcStore(server.url()) as store:
        return store.missing([bytes(32)]) == [bytes(32)]


@pytest.mark.parametrize("method", METHODS)
def test_messages_without_sense_are_refused(server, raw, method):
    for data in (b"", bytes(9), os.urandom(100)):
        code, said = raw.call(method, data)
        assert (code, "damaged" in said) == ("UNAVAILABLE", True)
    assert still_serves(server)


@settings(suppress_health_check=list(HealthCheck), max_examples=100)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=3), st.sampled_from(METHODS))
def test_sealed_nonsense_is_refused_or_harmless(server, raw, bodies, method):
    def sealed(body: bytes) -> bytes:
        return body + b"\x79" + xxh3_64_intdigest(body).to_bytes(8, "little")

    code, said = raw.call(method, *map(sealed, bodies))
    assert code in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED", "DATA_LOSS"), said


@pytest.mark.parametrize(
    ("method", "message", "said"),
    [
        ("Missing", pb.MissingRequest(digests=bytes(33)), "no whole number of digests"),
        ("Missing", pb.MissingRequest(digests=bytes(32 * 32769)), "more than 32768 digests"),
        ("Download", pb.DownloadRequest(digests=bytes(32 * 32769)), "more than 32768 digests"),
        ("Upload", pb.Pack(), "table is incomplete"),
        ("Upload", pb.Pack(data=b"x"), "table is incomplete"),
        (
            "Upload",
            pb.Pack(digest_counts=[1], sizes=[1], digests=bytes(31)),
            "do not fit its table",
        ),
        ("Upload", pb.Pack(digest_counts=[1], sizes=[2**40], digests=bytes(32)), "over the limit"),
        ("Upload", pb.Pack(digest_counts=[2**31], sizes=[1], digests=bytes(32)), "than the limit"),
        (
            "Upload",
            pb.Pack(digest_counts=[1], sizes=[1], digests=bytes(32)),
            "does not fit its par",
        ),
        ("Git", pb.GitRequest(service="upload-archive"), "no service is called"),
        ("Git", pb.GitRequest(service="../../bin/sh"), "no service is called"),
    ],
)
def test_messages_that_contradict_themselves_or_a_limit_are_refused(
    server, raw, method, message, said
):
    code, details = raw.call(method, seal(message))
    assert (code, said in details) == ("INVALID_ARGUMENT", True), details
    assert still_serves(server)


def test_a_message_over_the_limit_is_not_even_read(server, raw):
    before = server.memory_bytes()
    code, details = raw.call("Upload", bytes(200 << 20))
    assert code == "RESOURCE_EXHAUSTED" and "larger than max" in details
    assert server.memory_bytes() < before + (100 << 20)
    assert still_serves(server)


def test_an_announced_size_is_not_believed(server, raw):
    """A parcel of 1 GiB costs memory only as it comes."""
    before = server.memory_bytes()
    first = pb.Pack(digest_counts=[1], sizes=[1 << 30], digests=bytes(32), data=bytes(100))
    code, details = raw.call("Upload", seal(first))
    assert (code, "in the middle of a parcel" in details) == ("UNAVAILABLE", True)
    assert server.memory_bytes() < before + (50 << 20)


def test_damaged_metadata_may_be_tried_again(raw):
    hello = seal(pb.HelloRequest(protocol=1))
    assert raw.call("Hello", hello) == ("OK", "")
    assert raw.call("Hello", hello, hangar_seal="00")[0] == "UNAVAILABLE"
    assert raw.call("Hello", hello, hangar_seal="")[0] == "UNAVAILABLE"


@pytest.mark.parametrize(
    "name",
    ["../repo", "repo/../repo", "/../etc", "repo.git/objects", "..", ".git", "a\\b", "repo//x"],
)
def test_a_repository_outside_the_root_is_never_reached(server, raw, name):
    for method in METHODS:
        first = pb.HelloRequest(protocol=1) if method == "Hello" else pb.GitRequest()
        code, _ = raw.call(method, seal(first), repository=name)
        assert code == "INVALID_ARGUMENT"
    with pytest.raises((InvalidInputError, RemoteNotFoundError)):
        GrpcStore(server.url(name)).missing([bytes(32)])


def test_names_find_repositories_below_the_root_only(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside.git"
    for path in (root / "a.git", root / "plain", root / "deep" / "b.git", outside):
        create_repository(path)
    (root / "link.git").symlink_to(outside)
    (root / "file.git").write_text("")
    hosting = Hosting(root, None, True, DirectoryStore)
    found = {
        name: hosting.find(name) and hosting.find(name).git_dir
        for name in ("a", "plain", "deep/b", "link", "file", "deep", "none", "")
    }
    assert found == {
        "a": root / "a.git", "plain": root / "plain", "deep/b": root / "deep" / "b.git",
        "link": None, "file": None, "deep": None, "none": None, "": None,
    }  # fmt: skip
    for inside in ("a/x", "plain/refs", "plain/hooks/x/y"):
        with pytest.raises(RemoteNotFoundError):
            hosting.find_or_create(inside)
    assert hosting.find_or_create("new/one").git_dir == root / "new" / "one.git"
    assert hosting.find_or_create("new/one") is hosting.find("new/one")


def test_a_repository_made_by_many_at_once_is_one(tmp_path):
    hosting = Hosting(tmp_path, None, True, DirectoryStore)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(hosting.find_or_create("x")))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12 and len(set(map(id, found))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.git"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "needs a root"),
        ({"root": Path(), "cert": Path("c")}, "needs its key"),
        ({"root": Path(), "client_ca": Path("c")}, "need TLS"),
        ({"root": Path(), "ip": "0.0.0.0", "anonymous": Right.WRITE}, "may not write"),
        ({"root": Path(), "ip": "0.0.0.0"}, "give it --users"),
        ({"root": Path(), "ip": "10.1.2.3", "users": Path("u")}, "passwords in clear"),
    ],
)
def test_a_server_that_would_be_unsafe_does_not_start(settings, said):
    with pytest.raises(InvalidInputError, match=said):
        ServerConfig(**settings)


def test_only_a_machine_of_its_own_may_be_written_to_without_credentials():
    assert ServerConfig(root=Path()).anonymous_right is Right.WRITE
    assert ServerConfig(root=Path(), users=Path("u")).anonymous_right is Right.NONE
    open_to_read = ServerConfig(root=Path(), ip="0.0.0.0", anonymous=Right.READ)
    assert open_to_read.anonymous_right is Right.READ


def test_a_port_that_is_taken_is_one_clear_line(server, tmp_path):
    config = ServerConfig(ip="127.0.0.1", port=server.port, root=tmp_path)
    with pytest.raises(StateError, match=f"cannot listen on 127.0.0.1:{server.port}"):
        Server(config, DirectoryStore)


def test_a_root_or_certificate_that_is_missing_is_one_clear_line(tmp_path):
    with pytest.raises(NotFoundError, match="no directory"):
        Server(ServerConfig(port=0, root=tmp_path / "nowhere"), DirectoryStore)
    missing = tmp_path / "none.pem"
    with pytest.raises(NotFoundError, match=r"none\.pem"):
        Server(ServerConfig(port=0, root=tmp_path, cert=missing, key=missing), DirectoryStore)


def test_sigterm_lets_a_running_upload_end(tmp_path):
    source = MemoryStore([os.urandom(1_000_000) for _ in range(20)])
    with HangarServer("--root", tmp_path, "--create") as server, GrpcStore(server.url()) as store:

        def parcels():
            for number, parcel in enumerate(source.export(list(source.samples))):
                if number == 10:
                    server.process.send_signal(signal.SIGTERM)
                    wait_for(lambda: any(line["event"] == "stopping" for line in server.log))
                yield parcel

        assert store.receive(parcels()) == 20
        assert server.process.wait(20) == 0
        with pytest.raises(RemoteConnectionError):
            store.missing([bytes(32)])
    assert DirectoryStore(tmp_path / "repo.git").samples == source.samples
    assert server.log[-1]["event"] == "stopped"


@pytest.mark.parametrize("grace", ["0.2", "30"])
def test_a_caller_that_does_not_end_is_cut_off_and_what_it_brought_is_kept(tmp_path, grace):
    source = MemoryStore([os.urandom(3_000_000) for _ in range(5)])
    go_on = threading.Event()
    with (
        HangarServer("--root", tmp_path, "--create", "--grace", grace) as server,
        GrpcStore(server.url()) as store,
    ):
        store.ping()

        def parcels():
            yield from source.export(list(source.samples))
            server.process.send_signal(signal.SIGINT)
            if grace == "30":
                wait_for(lambda: any(line["event"] == "stopping" for line in server.log))
                server.process.send_signal(signal.SIGINT)  # in a hurry
            go_on.wait(60)

        errors = []

        def upload():
            try:
                store.receive(parcels())
            except RemoteConnectionError as error:
                errors.append(error)

        thread = threading.Thread(target=upload)
        thread.start()
        assert server.process.wait(20) == 0
        go_on.set()
        thread.join(20)
    assert len(errors) == 1
    assert len(DirectoryStore(tmp_path / "repo.git").samples) >= 4


def test_it_stops_by_itself_after_its_time(tmp_path):
    with HangarServer("--root", tmp_path, "--timeout", "0.3") as server:
        assert server.process.wait(20) == 0


def test_metrics_count_calls_bytes_and_samples(server):
    source = MemoryStore([os.urandom(100) for _ in range(7)])
    with GrpcStore(server.url()) as store:
        store.receive(source.export(list(source.samples)))
        list(store.export(list(source.samples)))
    with urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics") as response:
        text = response.read().decode()

    def value(name: str) -> float:
        return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)[1])

    assert value('hangar_calls_total{method="Upload",result="ok"}') >= 1
    assert value('hangar_samples_total{direction="in"}') >= 7
    assert value('hangar_samples_total{direction="out"}') >= 7
    assert value('hangar_bytes_total{direction="in",method="Upload"}') > 700
    assert value('hangar_call_seconds_count{method="Download"}') >= 1


def test_metrics_are_for_this_machine_only(server):
    assert urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics").status == 200
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        outside = probe.getsockname()[0]
    with pytest.raises(OSError):
        socket.create_connection((outside, server.metrics_port), timeout=1).close()


def test_the_health_service_answers(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "hangar.v1.Hangar"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_the_log_says_who_did_what(server):
    # Other tests' lines may still be coming.
    told = [("Missing", "ok", "repo", "127.0.0.1")]
    before = len(server.log)
    with GrpcStore(server.url()) as store:
        store.missing([bytes(32)] * 3)

    def found() -> list[dict]:
        names = ("method", "result", "repository", "peer")
        lines = server.log[before:]
        return [line for line in lines if [tuple(map(line.get, names))] == told]

    wait_for(found)
    assert found()[0].keys() >= {"time", "level", "user", "seconds", "bytes_in"}


def test_calls_beyond_the_limit_are_told_to_come_again(tmp_path):
    with HangarServer("--root", tmp_path, "--create", "--max-calls", 3) as server:
        go_on = threading.Event()
        stores = [GrpcStore(server.url()) for _ in range(3)]
        for store in stores:
            store.ping()

        def busy():
            go_on.wait(60)
            yield from ()

        threads = []
        for store in stores:
            threads.append(threading.Thread(target=store.receive, args=(busy(),)))
            threads[-1].start()

        def is_full() -> bool:
            with GrpcStore(server.url()) as third:
                try:
                    third.hello()
                except RemoteConnectionError as error:
                    return error.retryable
            return False

        wait_for(is_full)
        go_on.set()
        for thread in threads:
            thread.join(20)
        wait_for(lambda: not is_full())
        for store in stores:
            store.close()


def test_calls_are_limited_in_rate(tmp_path):
    limits = ServerLimits(calls_per_second=2)
    config = ServerConfig(ip="127.0.0.1", port=0, root=tmp_path, limits=limits)
    with (
        Server(config, DirectoryStore) as server,
        GrpcStore(f"127.0.0.1:{server.port}") as store,
    ):
        with pytest.raises(RemoteConnectionError, match="too many calls") as caught:
            for _ in range(50):
                store.hello()
        assert caught.value.retryable


def test_one_host_cannot_take_all_places(tmp_path):
    limits = ServerLimits(calls_per_host=2)
    config = ServerConfig(ip="127.0.0.1", port=0, root=tmp_path, create=True, limits=limits)
    with Server(config, DirectoryStore) as server:
        go_on = threading.Event()

        def busy():
            go_on.wait(60)
            yield from ()

        with GrpcStore(f"127.0.0.1:{server.port}/r") as store:
            store.ping()
            threads = [threading.Thread(target=store.receive, args=(busy(),)) for _ in range(2)]
            for thread in threads:
                thread.start()

            def is_full() -> bool:
                try:
                    store.hello()
                except RemoteConnectionError as error:
                    return "at once from this host" in str(error)
                return False

            wait_for(is_full)
            go_on.set()
            for thread in threads:
                thread.join(20)
            wait_for(lambda: not is_full())


def test_limits_of_a_server_bind_its_clients(tmp_path):
    limits = ServerLimits(messages=MessageLimits(request_digests=3, parcel_bytes=1000))
    config = ServerConfig(ip="127.0.0.1", port=0, root=tmp_path, create=True, limits=limits)
    source = MemoryStore([os.urandom(900) for _ in range(10)])
    with (
        Server(config, DirectoryStore) as server,
        GrpcStore(f"127.0.0.1:{server.port}/r") as store,
    ):
        assert store.missing(list(source.samples)) == list(source.samples)
        assert store.receive(source.export(list(source.samples))) == 10
        assert len(list(store.export(list(source.samples)))) == 10
        with pytest.raises(InvalidInputError, match="at most 1000"):
            store.receive([Parcel((bytes(32),), bytes(1001))])


def test_overwrite_removes_only_what_a_server_made_and_only_arrays(tmp_path):
    path = tmp_path / "served.git"
    overwrite_repository(path)
    create_repository(path)
    overwrite_repository(path)
    assert not path.exists()

    run_git("init", "--quiet", "--bare", str(path))
    with pytest.raises(NotPermittedError, match="not made by a Hangar server"):
        overwrite_repository(path)
    run_git("--git-dir", str(path), "config", "hangar.server", "true")

    work = tmp_path / "work"
    run_git("init", "--quiet", str(work))
    (work / ".hangar").mkdir()
    (work / ".hangar" / "config").write_text("x")
    in_work = ("-C", str(work), "-c", "user.name=x", "-c", "user.email=x")

    def commit_and_push() -> None:
        run_git(*in_work, "add", ".")
        run_git(*in_work, "commit", "--quiet", "--message", "x")
        run_git(*in_work, "push", "--quiet", str(path), "HEAD:refs/heads/main")

    commit_and_push()
    (work / "code.py").write_text("x")
    commit_and_push()
    (work / "code.py").unlink()
    commit_and_push()
    with pytest.raises(NotPermittedError, match="more than arrays"):
        overwrite_repository(path)
    run_git("--git-dir", str(path), "update-ref", "refs/heads/main", "refs/heads/main~2")
    overwrite_repository(path)
    assert not path.exists()


def test_without_a_root_one_repository_of_the_directory_is_served(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = MemoryStore([b"x"])
    with HangarServer() as server, GrpcStore(f"127.0.0.1:{server.port}") as store:
        store.receive(source.export(list(source.samples)))
        with pytest.raises(RemoteNotFoundError):
            GrpcStore(server.url("other")).missing([bytes(32)])
    assert (tmp_path / ".hangar_server" / "HEAD").exists()
    with HangarServer("--overwrite") as server, GrpcStore(f"127.0.0.1:{server.port}") as store:
        assert store.missing(list(source.samples)) == list(source.samples)


def tls(server: HangarServer, authority: Authority | None, host: str = "localhost") -> GrpcStore:
    options = ClientOptions(authority.file if authority else None, connect_s=10)
    return GrpcStore(f"hangars://{host}:{server.port}/repo", None, options)


def test_tls_works_and_a_bad_certificate_is_one_clear_line(tmp_path):
    authority = Authority(tmp_path)
    root = tmp_path / "root"
    create_repository(root / "repo.git")
    cases = {
        "good": (authority.issue("good"), authority, ""),
        "unknown": (authority.issue("unknown"), None, "not trusted.*HANGAR_SSL_CAINFO"),
        "expired": (authority.issue("expired", days=-1), authority, "expired; or .* clock"),
        "early": (authority.issue("early", days=9, since=5), authority, "not yet valid; .* clock"),
        "other": (authority.issue("other", "elsewhere"), authority, "[Hh]ostname mismatch"),
    }
    for (cert, key), trusted, said in cases.values():
        with (
            HangarServer("--root", root, "--cert", cert, "--key", key) as server,
            tls(server, trusted) as store,
        ):
            if not said:
                assert store.missing([bytes(32)]) == [bytes(32)]
                continue
            with pytest.raises(RemoteConnectionError, match=said) as caught:
                store.hello()
            assert not caught.value.retryable and "\n" not in str(caught.value)


def test_tls_and_no_tls_do_not_mix_silently(server, tmp_path):
    with (
        tls(server, None) as store,
        pytest.raises(RemoteConnectionError, match="does the server speak TLS"),
    ):
        store.hello()
    cert, key = Authority(tmp_path).issue("x")
    with (
        HangarServer("--root", tmp_path, "--cert", cert, "--key", key) as secured,
        GrpcStore(secured.url()) as store,
        pytest.raises(RemoteConnectionError),
    ):
        store.hello()


def test_a_full_disk_is_said_and_the_server_lives_on(tmp_path):
    source = MemoryStore([b"x"])
    with (
        HangarServer("--root", tmp_path, "--create", store="FullStore") as server,
        GrpcStore(server.url()) as store,
    ):
        for _ in range(2):
            with pytest.raises(OSError, match="No space left on device"):
                store.receive(source.export(list(source.samples)))
        assert store.missing(list(source.samples)) == list(source.samples)
