"""Compaction: fewer packs, nothing lost, and readers who looked before are not disturbed."""

from __future__ import annotations

import os
import time

import pytest

from hangar_git.errors import IntegrityError
from hangar_git.transfer.address import parse_address
from hangar_git.transfer.bucket import BucketStore, open_bucket

from .parcels import digests_of, make_parcels, read_all

NOW = -60.0
"""A grace period that everything is older than, whatever the clock's resolution."""


@pytest.fixture(params=["directory", "s3"])
def address(request, tmp_path):
    if request.param == "directory":
        (tmp_path / "remote").mkdir()
        return parse_address(f"file://{tmp_path}/remote")
    request.getfixturevalue("s3")
    return parse_address("s3://bucket")


@pytest.fixture
def store(address) -> BucketStore:
    return open_bucket(address)


def push_batches(address, count: int = 6) -> list[bytes]:
    digests = []
    for seed in range(count):
        parcels = make_parcels(10, seed)
        open_bucket(address).receive(parcels)
        digests += digests_of(parcels)
    return digests


def names(store: BucketStore, suffix: str) -> list[str]:
    return sorted(s.name for s in store._objects.list() if s.name.endswith(suffix))


def test_small_packs_become_one_and_go_after_the_grace_period(store, address):
    digests = push_batches(address)
    report = store.compact()
    assert (report.merged, report.made, report.deleted) == (6, 1, 0)
    assert (len(names(store, ".pack")), len(names(store, ".old"))) == (7, 6)
    read_all(open_bucket(address), digests)
    report = store.compact()
    assert (report.merged, report.made, report.deleted) == (0, 0, 0)
    report = store.compact(NOW)
    assert (report.merged, report.made, report.deleted) == (0, 0, 6)
    assert (len(store._objects.list()), len(names(store, ".pack"))) == (2, 1)
    read_all(open_bucket(address), digests)


def test_readers_turn_to_what_replaces(s3):
    address = parse_address("s3://bucket")
    digests = push_batches(address)
    open_bucket(address).compact()
    before = len(s3.requests())
    read_all(open_bucket(address), digests)
    # A listing, one index, one range: nothing of the six that are marked.
    assert len(s3.requests()) - before == 3


def test_a_reader_with_an_old_listing_looks_again(store, address):
    digests = push_batches(address)
    reader = open_bucket(address)
    assert reader.missing(digests) == []
    store.compact(NOW)
    store.compact(NOW)
    read_all(reader, digests)


def test_an_export_goes_on_when_packs_vanish_under_it(store, address):
    digests = push_batches(address, 40)
    exported = open_bucket(address).export(digests)
    found = set(next(exported).digests)
    store.compact(NOW)
    store.compact(NOW)
    for parcel in exported:
        found.update(parcel.digests)
    assert found == set(digests)


def test_samples_pushed_twice_are_kept_once(store, address):
    parcels = make_parcels(20)
    for _ in range(3):
        open_bucket(address).receive(parcels)
    store.compact(NOW)
    store.compact(NOW)
    (pack,) = (s for s in store._objects.list() if s.name.endswith(".pack"))
    once = sum(len(parcel.data) + 56 for parcel in parcels)
    assert pack.size_bytes == once + 48


def test_a_large_pack_that_another_holds_entirely_is_replaced(store, address):
    tight = BucketStore(store._objects, pack_size_bytes=1000)
    parcels = make_parcels(30)
    BucketStore(store._objects).receive(parcels)
    BucketStore(store._objects).receive(parcels + make_parcels(5, seed=1))
    report = tight.compact(NOW)
    assert (report.merged, report.made) == (1, 0)
    assert tight.compact(NOW).deleted == 1
    read_all(open_bucket(address), digests_of(parcels + make_parcels(5, seed=1)))


def test_a_marked_pack_that_is_needed_again_is_kept(store, address):
    digests = push_batches(address)
    store.compact()
    # Someone else's compaction marked the new pack, too.
    old = {name.removesuffix(".old") for name in names(store, ".old")}
    (new,) = (n for n in names(store, ".pack") if n.removesuffix(".pack") not in old)
    store._objects.write(new.replace(".pack", ".old"), [b""])
    read_all(open_bucket(address), digests)
    for _ in range(3):
        store.compact(NOW)
        read_all(open_bucket(address), digests)
    assert len(names(store, ".pack")) == 1


def test_what_dead_pushes_left_goes_after_the_grace_period(store, address):
    digests = push_batches(address, 1)
    objects = store._objects
    objects.write("00" * 16 + ".pack", [b"no index ever came"])
    objects.write("11" * 16 + ".idx", [b"no pack"])
    objects.write("22" * 16 + ".old", [b""])
    objects.write("readme.txt", [b"somebody's"])
    assert store.compact().leftovers == 0
    assert store.compact(NOW).leftovers == 3
    assert len(objects.list()) == 3
    assert "readme.txt" in names(store, ".txt")
    read_all(open_bucket(address), digests)


def test_files_half_written_go_after_the_grace_period(tmp_path):
    store = open_bucket(parse_address(f"file://{tmp_path}"))
    store.receive(make_parcels(3))
    old, new = tmp_path / "packs" / ".tmp-00", tmp_path / "packs" / ".tmp-11"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, time.time() - 30 * 24 * 3600))
    assert store.compact().leftovers == 1
    assert (old.exists(), new.exists()) == (False, True)


def test_a_damaged_pack_is_left_as_it_is_and_named(store, address):
    digests = push_batches(address, 3)
    damaged = names(store, ".pack")[0]
    (size,) = (s.size_bytes for s in store._objects.list() if s.name == damaged)
    data = bytearray(store._objects.read(damaged, 0, size))
    data[200] ^= 1
    store._objects.delete([damaged])
    store._objects.write(damaged, [bytes(data)])
    report = open_bucket(address).compact(NOW)
    assert report.merged == 2
    assert len(report.damaged) == 1
    assert f"packs/{damaged} is damaged" in report.damaged[0]
    report = open_bucket(address).compact(NOW)
    assert report.deleted == 2
    assert damaged in names(store, ".pack")
    assert len(open_bucket(address).missing(digests)) == 0


def test_nothing_is_replaced_by_a_pack_that_did_not_arrive_right(store, address, monkeypatch):
    digests = push_batches(address)
    before = names(store, ".pack")
    write = store._objects.write

    def spoiling(name, pieces):
        data = bytearray(b"".join(pieces))
        if name.endswith(".pack"):
            data[len(data) // 2] ^= 1
        write(name, [data])

    with monkeypatch.context() as patch:
        patch.setattr(store._objects, "write", spoiling)
        with pytest.raises(IntegrityError):
            store.compact(NOW)
    assert names(store, ".old") == []
    assert set(before) < set(names(store, ".pack"))
    store._objects.delete([n for n in names(store, "") if n.split(".")[0] + ".pack" not in before])
    read_all(open_bucket(address), digests)


def test_a_remote_that_is_empty_or_tidy_is_left_alone(store, address):
    assert store.compact(NOW).merged == 0
    digests = push_batches(address, 1)
    before = store._objects.list()
    store.compact(NOW)
    assert store._objects.list() == before
    read_all(store, digests)
