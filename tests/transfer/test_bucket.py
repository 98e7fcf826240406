"""A data remote on a directory and in a bucket: one suite for both."""

from __future__ import annotations

import time
import tracemalloc
from itertools import pairwise

import pytest
from blake3 import blake3

from hangar_git.errors import DataNotLocalError, InvalidInputError
from hangar_git.transfer.address import parse_address
from hangar_git.transfer.bucket import BucketStore, open_bucket
from hangar_git.transfer.fetching import SPAN_SIZE_BYTES
from hangar_git.transfer.samples import Parcel

from .parcels import digests_of, make_parcels, read_all


@pytest.fixture(params=["directory", "s3"])
def address(request, tmp_path):
    """Of an empty data remote."""
    if request.param == "directory":
        (tmp_path / "remote").mkdir()
        return parse_address(f"file://{tmp_path}/remote")
    request.getfixturevalue("s3")
    return parse_address("s3://bucket/some/prefix")


@pytest.fixture
def store(address) -> BucketStore:
    return open_bucket(address)


def test_what_was_received_is_exported(store, address):
    parcels = make_parcels(300, each=2)
    assert len(store.missing(digests_of(parcels))) == 600
    assert store.receive(iter(parcels)) == 600
    for reader in (store, open_bucket(address)):
        assert reader.missing(digests_of(parcels)) == []
        assert len(read_all(reader, digests_of(parcels))) == 600


def test_missing_keeps_the_order_and_names_each_once(store):
    have, lack = make_parcels(5), digests_of(make_parcels(5, seed=1))
    store.receive(have)
    asked = [*lack[::-1], *digests_of(have), lack[0], bytes(32)]
    assert store.missing(asked) == [*lack[::-1], bytes(32)]
    assert store.missing([]) == []


def test_nothing_is_exported_if_one_sample_is_absent(store):
    parcels = make_parcels(3)
    absent = blake3(b"nobody has it").digest()
    with pytest.raises(DataNotLocalError, match="lacks 3 samples"):
        list(store.export(digests_of(parcels)))
    store.receive(parcels)
    with pytest.raises(DataNotLocalError, match=f"lacks 1 samples: {absent.hex()[:16]}"):
        next(store.export([*digests_of(parcels), absent]))
    assert list(store.export([])) == []


def test_an_export_sees_what_others_pushed_since(store, address):
    first, second = make_parcels(3), make_parcels(3, seed=1)
    store.receive(first)
    reader = open_bucket(address)
    read_all(reader, digests_of(first))
    store.receive(second)
    read_all(reader, digests_of(first + second))


def test_receiving_nothing_writes_nothing(store, address):
    assert store.receive([]) == 0
    assert store._objects.list() == []


@pytest.mark.parametrize("digest", [b"", b"x" * 31, b"x" * 33])
def test_digests_of_other_lengths_are_refused(store, digest):
    for use in (store.missing, lambda digests: list(store.export(digests))):
        with pytest.raises(InvalidInputError, match="32 bytes"):
            use([digest])


def test_many_packs_are_filled_and_read(store, address):
    small = BucketStore(store._objects, pack_size_bytes=4000)
    parcels = make_parcels(200)
    assert small.receive(parcels) == 200
    assert len(store._objects.list()) >= 10
    read_all(open_bucket(address), digests_of(parcels))


def test_a_parcel_of_many_megabytes_travels_in_pieces(store, address):
    samples = [bytes([number]) * (3 * SPAN_SIZE_BYTES + number) for number in range(2)]
    parcels = [
        Parcel((blake3(sample).digest(),), len(sample).to_bytes(4, "big") + sample)
        for sample in samples
    ]
    small = make_parcels(4)
    store.receive([small[0], parcels[0], *small[1:], parcels[1]])
    found = read_all(open_bucket(address), digests_of(parcels))
    assert [found[digest] for digest in digests_of(parcels)] == [p.data for p in parcels]
    read_all(open_bucket(address), digests_of(small))


def test_an_export_holds_little_in_memory_however_much_it_gives(store):
    piece = bytes(1 << 20)
    parcels = [Parcel((blake3(bytes([n])).digest(),), piece) for n in range(200)]
    store.receive(parcels)
    tracemalloc.start()
    assert sum(len(parcel.data) for parcel in store.export(digests_of(parcels))) == 200 << 20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 110 << 20


def test_an_export_may_be_left_unfinished(store):
    parcels = make_parcels(500, size=2000)
    BucketStore(store._objects, pack_size_bytes=20_000).receive(parcels)
    exported = store.export(digests_of(parcels))
    next(exported)
    exported.close()


def test_an_error_in_the_source_reaches_the_caller(store):
    def broken():
        yield from make_parcels(5)
        raise KeyError("boom")

    with pytest.raises(KeyError, match="boom"):
        store.receive(broken())
    assert store._objects.list() == []


def test_an_index_is_fetched_once_and_found_in_the_cache(s3, tmp_path):
    address = parse_address("s3://bucket")
    batches = [make_parcels(5, seed) for seed in range(6)]
    for batch in batches:
        open_bucket(address).receive(batch)
    everything = [digest for batch in batches for digest in digests_of(batch)]
    cache = tmp_path / "cache"

    def fetched() -> list[str]:
        before = len(s3.requests())
        assert open_bucket(address, cache).missing(everything) == []
        return [line for line in s3.requests()[before:] if ".idx" in line]

    assert len(fetched()) == 6
    assert fetched() == []
    torn, lost, *_ = sorted(cache.iterdir())
    torn.write_bytes(torn.read_bytes()[:-1])
    lost.unlink()
    assert len(fetched()) == 2


def test_the_cache_forgets_what_the_remote_no_longer_has(s3, tmp_path):
    address, cache = parse_address("s3://bucket"), tmp_path / "cache"
    open_bucket(address, cache).receive(make_parcels(3))
    (cache / "mine.txt").write_text("not ours")
    s3.reset()
    assert len(open_bucket(address, cache).missing(digests_of(make_parcels(3)))) == 3
    assert [path.name for path in cache.iterdir()] == ["mine.txt"]


def test_a_cache_that_cannot_be_written_is_done_without(store, address, tmp_path):
    (tmp_path / "file").write_text("in the way")
    parcels = make_parcels(3)
    open_bucket(address, tmp_path / "file").receive(parcels)
    read_all(open_bucket(address, tmp_path / "file"), digests_of(parcels))


def test_a_push_of_one_sample_costs_three_requests(s3, tmp_path):
    address, cache = parse_address("s3://bucket/p"), tmp_path / "cache"
    for seed in range(20):
        open_bucket(address, cache).receive(make_parcels(5, seed))
    one = make_parcels(1, seed=99)
    before = len(s3.requests())
    store = open_bucket(address, cache)
    store.receive(parcel for parcel in one if store.missing(parcel.digests))
    requests = s3.requests()[before:]
    assert [line.split()[0] for line in requests] == ["GET", "PUT", "PUT"]
    assert "list-type" in requests[0]
    assert requests[1].endswith(".pack")
    assert requests[2].endswith(".idx")


def test_a_partial_fetch_reads_over_small_gaps_in_few_requests(s3, tmp_path):
    address, cache = parse_address("s3://bucket"), tmp_path / "cache"
    parcels = make_parcels(2000, size=1000)
    store = open_bucket(address, cache)
    store.receive(parcels)
    # Every fifth of the first half, which lie close together, and one far from them.
    wanted = digests_of(parcels[:1000:5]) + digests_of(parcels[-1:])
    fresh = open_bucket(address, cache)
    for expected in (3, 2):  # the first time, a listing
        before = len(s3.requests())
        assert len(list(fresh.export(wanted))) == 201
        assert len(s3.requests()) - before == expected


def test_a_directory_is_made_only_if_asked(tmp_path):
    address = parse_address(f"file://{tmp_path}/a/b")
    store = open_bucket(address, create=True)
    store.receive(make_parcels(2))
    assert (tmp_path / "a" / "b" / "packs").is_dir()
    read_all(open_bucket(address), digests_of(make_parcels(2)))


def test_servers_are_not_opened_here():
    with pytest.raises(InvalidInputError, match="is a server"):
        open_bucket(parse_address("hangar://localhost:1/x"))


@pytest.mark.parametrize("count", [50_000])
def test_figures_of_many_small_samples(store, address, tmp_path, record_property, count):
    parcels = make_parcels(count, size=1064)
    digests, total = digests_of(parcels), sum(len(parcel.data) for parcel in parcels)
    times = [time.perf_counter()]
    store.receive(parcels)
    times.append(time.perf_counter())
    reader = open_bucket(address)
    assert reader.missing(digests) == []
    times.append(time.perf_counter())
    assert sum(1 for _ in reader.export(digests)) == count
    times.append(time.perf_counter())
    received, negotiated, exported = (b - a for a, b in pairwise(times))
    record_property(
        "figure",
        f"{address.scheme}: {count:,} parcels of {total // count} bytes: received in"
        f" {received:.2f} s, negotiated in {negotiated:.2f} s, exported in {exported:.2f} s",
    )
