"""Transfers over several streams: all of it once, errors as they are, nothing left running."""

from __future__ import annotations

import os

import pytest
from processes import wait_for
from remotes.remoteplaces import add, samples
from repositories import make_repository

from hangar_git.errors import DataNotLocalError, HangarError, InvalidInputError
from hangar_git.remotes.localstore import LocalSamples
from hangar_git.transfer.channel import ClientOptions
from hangar_git.transfer.client import GrpcStore
from hangar_git.transfer.copying import copy_samples
from hangar_git.transfer.serveraddress import ServerAddress
from hangar_git.transfer.sharing import merged, spread
from transfer.faultproxy import FaultProxy
from transfer.hangarserver import HangarServer
from transfer.stores import MemoryStore

FOUR = ClientOptions(streams=4, connect_s=5, idle_s=5)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A repository whose samples share chunks: 2,000 of them in containers of two commits."""
    path = tmp_path_factory.mktemp("digits")
    repo = make_repository(path)
    sparse = samples(2000) * (samples(2000, 1) < 40)
    add(repo, "x", range(1500), sparse[:1500])
    add(repo, "x", range(1500, 2000), sparse[1500:])
    return LocalSamples(path / ".git/hangar")


@pytest.fixture(params=["repositories", "bucket"])
def server(request, tmp_path):
    """A server with its data beside the repositories, or in a directory of packs."""
    (tmp_path / "root").mkdir()
    store = ("--store", f"file://{tmp_path}/packs") if request.param == "bucket" else ()
    with HangarServer("--root", tmp_path / "root", "--create", *store, store=None) as running:
        yield running


def all_of(store: LocalSamples) -> list[bytes]:
    return sorted(digest for digest, _ in store._store.index.all())


def test_each_sample_travels_once_over_four_streams(digits, server, tmp_path):
    digests = all_of(digits)
    with GrpcStore(server.url(), options=FOUR) as store:
        up = copy_samples(digits, store, digests)
        assert up.samples == len(digests)
        assert store.missing(digests) == []
        target = LocalSamples(tmp_path / "target")
        down = copy_samples(store, target, digests)
    assert down.samples == len(digests)  # what shares a chunk is in one share: none comes twice
    assert down.size_bytes == pytest.approx(up.size_bytes, rel=0.02)
    assert target.missing(digests) == []


def test_an_absent_sample_is_said_after_the_others_came(digits, server):
    digests = all_of(digits)
    with GrpcStore(server.url(), options=FOUR) as store:
        copy_samples(digits, store, digests)
        got: set[bytes] = set()
        with pytest.raises(DataNotLocalError):
            for parcel in store.export([*digests, os.urandom(32)]):
                got.update(parcel.digests)
        with pytest.raises(DataNotLocalError):
            copy_samples(digits, store, [os.urandom(32)])


def test_a_download_that_is_left_ends_all_its_streams(server, tmp_path):
    repo = make_repository(tmp_path / "big")
    add(repo, "x", range(40), samples(40 * 1000).reshape(40, 1000, 28, 28))
    source = LocalSamples(tmp_path / "big/.git/hangar")
    digests = all_of(source)
    with GrpcStore(server.url(), options=FOUR) as store:
        copy_samples(source, store, digests)
        parcels = store.export(digests)
        next(parcels)
        parcels.close()
        wait_for(lambda: sum(line.get("method") == "Download" for line in server.log) == 4)


def test_a_bad_line_ends_right_or_retryable(digits, tmp_path):
    (tmp_path / "root").mkdir()
    digests = all_of(digits)
    with (
        HangarServer("--root", tmp_path / "root", "--create", store=None) as server,
        FaultProxy(server.port, 5, within=60_000, cut=0.7, corrupt=0.2) as proxy,
    ):
        address = ServerAddress.parse(f"hangar://127.0.0.1:{proxy.port}/repo")
        target = LocalSamples(tmp_path / "target")
        with GrpcStore(address, options=FOUR) as store:
            for source, sink in ((digits, store), (store, target)):
                for _ in range(60):
                    try:
                        copy_samples(source, sink, digests, pause=lambda _: None)
                        break
                    except HangarError as error:
                        assert error.retryable, repr(error)
                else:
                    raise AssertionError("never done")
        assert proxy.done
    assert target.missing(digests) == []


def test_an_error_of_one_stream_gives_the_others_no_more():
    source = MemoryStore([bytes([number]) for number in range(100)])

    def send(parcels) -> int:
        next(parcels)
        raise DataNotLocalError("no")

    parcels = source.export(list(source.samples))
    with pytest.raises(DataNotLocalError):
        spread(parcels, send, 3)
    assert len(list(parcels)) >= 97
    assert spread(iter([]), send, 3) == []


def test_an_error_of_one_source_is_raised_when_the_others_have_ended():
    source = MemoryStore([bytes([number]) for number in range(100)])

    def whole():
        yield from source.export(list(source.samples))

    def broken():
        yield from source.export(list(source.samples)[:1])
        raise DataNotLocalError("no")

    got = []
    with pytest.raises(DataNotLocalError):
        got.extend(merged([whole, broken]))
    assert len(got) == 101


def test_the_number_of_streams_follows_the_address_and_the_environment():
    near, far = (ServerAddress.parse(f"hangar://{host}/r") for host in ("localhost", "example.org"))
    assert [ClientOptions().streams_to(address) for address in (near, far)] == [1, 4]
    assert ClientOptions.of_environment({"HANGAR_STREAMS": "3"}).streams_to(near) == 3
    for wrong in ("-1", "many", "17"):
        with pytest.raises(InvalidInputError, match="HANGAR_STREAMS"):
            ClientOptions.of_environment({"HANGAR_STREAMS": wrong})
