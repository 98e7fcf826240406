"""Bad networks and sudden deaths: every transfer ends right, or can be resumed."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from processes import wait_for

from hangar_git.errors import HangarError, RemoteConnectionError
from hangar_git.transfer.channel import ClientOptions
from hangar_git.transfer.client import GrpcStore
from hangar_git.transfer.config import ServerLimits
from hangar_git.transfer.copying import copy_samples
from hangar_git.transfer.packing import PACK_BYTES
from transfer.faultproxy import Fault, FaultProxy
from transfer.hangarserver import HangarServer
from transfer.stores import DirectoryStore, MemoryStore, digest_of

TRANSFERS = 200
WORKERS = 5
WINDOW_BYTES = ServerLimits().window_bytes


def samples(seed: int, count: int = 300, size: int = 4000) -> MemoryStore:
    rng = random.Random(seed)
    return MemoryStore([rng.randbytes(size) for _ in range(count)])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    with HangarServer("--root", root, "--create", "--idle", 1) as running:
        running.root = root
        yield running


def until_done(transfer, tries: int = 100) -> int:
    """Run `transfer` until it ends well; how often. Only retryable errors may end it."""
    for number in range(1, tries + 1):
        try:
            transfer()
            return number
        except HangarError as error:
            assert error.retryable, error
    raise AssertionError(f"not done after {tries} tries")


FAULTS = {"cut": 0.25, "stall": 0.1, "delay": 0.1, "throttle": 0.1, "corrupt": 0.25}


def transfer_through_faults(server: HangarServer, seed: int) -> tuple[int, list[str]]:
    """Uploads and downloads through a proxy of their own: how many tries, and what happened."""
    tries = 0
    options = ClientOptions(connect_s=2, idle_s=1)
    with FaultProxy(server.port, seed, within=1_200_000, stall_s=0.2, **FAULTS) as proxy:
        for number in range(TRANSFERS // 2 // WORKERS):
            name = f"r{seed}-{number}"
            source, target = samples(1000 * seed + number), MemoryStore()
            digests = list(source.samples)
            with GrpcStore(f"127.0.0.1:{proxy.port}/{name}", None, options) as store:
                tries += until_done(partial(copy_samples, source, store, digests, attempts=1))
                tries += until_done(partial(copy_samples, store, target, digests, attempts=1))
            assert target.samples == source.samples
            assert DirectoryStore(server.root / f"{name}.git").samples == source.samples
    return tries, [fault.kind for fault in proxy.done]


def test_transfers_through_a_bad_network_end_right(server, record_property):
    started = time.monotonic()
    with ThreadPoolExecutor(WORKERS) as threads:
        results = list(threads.map(partial(transfer_through_faults, server), range(WORKERS)))
    tries = sum(tries for tries, _ in results)
    happened = Counter(kind for _, kinds in results for kind in kinds)
    assert happened.keys() == FAULTS.keys()
    record_property(
        "figure",
        f"{TRANSFERS} transfers through a bad network: {tries} tries, {dict(happened)},"
        f" {time.monotonic() - started:.1f} s",
    )
    assert [line for line in server.log if line["event"] == "failed"] == []


@pytest.mark.parametrize("upstream", [True, False])
def test_a_damaged_header_does_not_damage_the_calls_after_it(server, upstream):
    """Both ends of a connection remember headers; one that is wrong there stays wrong."""
    source = samples(55, 3)
    digests = list(source.samples)
    options = ClientOptions(connect_s=1, idle_s=1)
    for place in range(40, 420, 12):
        damage = Fault("corrupt", place, upstream)
        with (
            FaultProxy(server.port, planned=[damage]) as proxy,
            GrpcStore(f"127.0.0.1:{proxy.port}/headers", None, options) as store,
        ):
            tries = until_done(partial(copy_samples, source, store, digests, attempts=1), 10)
        assert tries <= 3, place


def test_copy_resumes_by_itself(server):
    source = samples(1000, 2000)
    with (
        FaultProxy(server.port, seed=3, within=4_000_000, cut=0.7) as proxy,
        GrpcStore(f"127.0.0.1:{proxy.port}/resumed") as store,
    ):
        copy_samples(source, store, list(source.samples), attempts=50, pause=lambda _: None)
        assert store.missing(list(source.samples)) == []
    assert proxy.done


@pytest.mark.parametrize("seed", range(8))
def test_after_a_cut_nothing_is_sent_twice_beyond_one_message(server, seed):
    source = samples(seed, 3000, 10_000)  # 30 MB
    digests = list(source.samples)
    size = sum(len(parcel.data) + 40 for parcel in source.export(digests))
    rng = random.Random(seed)
    with FaultProxy(server.port) as proxy:
        with GrpcStore(f"127.0.0.1:{proxy.port}/twice{seed}") as store:
            store.missing(digests)
            cutter = Cutter(proxy, at=rng.randrange(7_000_000, size - 4_000_000))
            with pytest.raises(RemoteConnectionError):
                copy_samples(source, store, digests, attempts=1)
            cutter.join()
            copied = copy_samples(source, store, digests)
        asked = 3 * 32 * len(digests)  # what `missing` sends
        beyond = proxy.sent["up"] - size - asked
    assert copied.were_there > 0
    # What was cut in its middle or not read yet: a message and a window, 4 MiB, and frames.
    assert beyond < PACK_BYTES + WINDOW_BYTES + (1 << 17)
    wanted_twice = copied.samples + copied.were_there - len(digests)
    assert wanted_twice == 0


class Cutter(threading.Thread):
    """Cuts all connections of a proxy once so many bytes have gone up."""

    def __init__(self, proxy: FaultProxy, at: int) -> None:
        super().__init__()
        self._proxy = proxy
        self._at = proxy.sent["up"] + at
        self.start()

    def run(self) -> None:
        while self._proxy.sent["up"] < self._at:
            time.sleep(0.0005)
        self._proxy.cut_all()


def test_a_download_goes_on_where_it_was_cut(server):
    source = samples(77, 3000, 10_000)
    digests = list(source.samples)
    with GrpcStore(server.url("cutdown")) as store:
        copy_samples(source, store, digests)
    target = MemoryStore()
    with (
        FaultProxy(server.port, seed=2, within=20_000_000, cut=1.0) as proxy,
        GrpcStore(f"127.0.0.1:{proxy.port}/cutdown") as store,
    ):
        until_done(partial(copy_samples, store, target, digests, attempts=1))
    assert target.samples == source.samples
    assert target.received == len(digests)


def test_a_lost_reply_is_no_conflict(server):
    """The upload is whole and durable; only the client never hears of it."""
    source = samples(88, 10)
    digests = list(source.samples)
    with FaultProxy(server.port) as proxy, GrpcStore(f"127.0.0.1:{proxy.port}/lost") as store:
        store.missing(digests)

        def parcels():
            yield from source.export(digests)
            proxy.cut_all()

        with pytest.raises(RemoteConnectionError):
            store.receive(parcels())
        copied = copy_samples(source, store, digests)
        assert copied.samples + copied.were_there == len(digests)
        assert store.missing(digests) == []


def test_a_server_that_falls_silent_is_given_up(server):
    with FaultProxy(server.port, seed=1, within=1, stall=1.0, stall_s=None) as proxy:
        options = ClientOptions(connect_s=1.0)
        with GrpcStore(f"127.0.0.1:{proxy.port}/silent", None, options) as store:
            started = time.monotonic()
            with pytest.raises(RemoteConnectionError):
                store.missing([digest_of(b"x")])
            assert time.monotonic() - started < 10


def test_a_caller_that_falls_silent_is_cut_off_and_what_it_brought_is_kept(server):
    source = samples(99, 5, PACK_BYTES)
    go_on = threading.Event()
    with GrpcStore(server.url("quiet")) as store:

        def parcels():
            yield from source.export(list(source.samples))
            go_on.wait(20)

        def upload():
            with pytest.raises(RemoteConnectionError):
                store.receive(parcels())

        thread = threading.Thread(target=upload)
        thread.start()
        wait_for(lambda: any(line["event"] == "idle" for line in server.log))
        go_on.set()
        thread.join(20)
        assert len(store.missing(list(source.samples))) <= 1


@pytest.mark.parametrize("seed", range(10))
def test_a_killed_server_loses_nothing_it_acknowledged(tmp_path, seed):
    rng = random.Random(seed)
    source = samples(seed, 2000, 10_000)
    digests = list(source.samples)
    server = HangarServer("--root", tmp_path, "--create")
    port = server.port
    killer = threading.Timer(rng.random() * 0.2, server.kill)
    with GrpcStore(server.url("k")) as store:
        store.ping()
        killer.start()
        try:
            copy_samples(source, store, digests, attempts=1)
            killed_before_the_end = False
        except RemoteConnectionError:
            killed_before_the_end = True
        killer.join()
        kept = (
            DirectoryStore(tmp_path / "k.git") if (tmp_path / "k.git").exists() else MemoryStore()
        )
        assert killed_before_the_end or kept.samples == source.samples
        assert all(digest_of(payload) == digest for digest, payload in kept.samples.items())
        with HangarServer("--root", tmp_path, "--create", port=port):
            copied = copy_samples(source, store, digests)
            assert copied.were_there == len(kept.samples)
            assert store.missing(digests) == []


def test_a_killed_client_leaves_what_arrived(server, tmp_path):
    import subprocess
    import sys

    program = """
import os, sys
from transfer.stores import MemoryStore
from hangar_git.transfer.client import GrpcStore
import random
rng = random.Random(4242)
source = MemoryStore([rng.randbytes(1_000_000) for _ in range(40)])
def parcels():
    for number, parcel in enumerate(source.export(list(source.samples))):
        if number == 30:
            os.kill(os.getpid(), 9)
        yield parcel
GrpcStore(sys.argv[1]).receive(parcels())
"""
    source = samples(4242, 40, 1_000_000)
    digests = list(source.samples)
    from transfer.hangarserver import ROOT

    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    done = subprocess.run(
        [sys.executable, "-c", program, server.url("dead")], env=environment, check=False
    )
    assert done.returncode == -9
    with GrpcStore(server.url("dead")) as store:
        wait_for(lambda: len(store.missing(digests)) < 40)
        copied = copy_samples(source, store, digests)
        assert copied.were_there >= 20
        assert store.missing(digests) == []
