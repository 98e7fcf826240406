"""Samples as they travel: what one clone gives, another takes, verified and byte for byte."""

from __future__ import annotations

import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from repositories import make_repository

from hangar_git import Repository
from hangar_git.api.upkeep import named_digests
from hangar_git.errors import DataNotLocalError, HangarError, IntegrityError
from hangar_git.remotes.localstore import LocalSamples
from hangar_git.store.chunks import EncodedChunk
from hangar_git.transfer.samples import Parcel

RNG = np.random.default_rng(1)
VALUES = {
    "digits": ({"shape": (28, 28), "dtype": "u1"},
               [np.full((28, 28), i, "u1") for i in range(100)]),
    "tiny": ({"shape": (4,), "dtype": "<i4"}, [np.full(4, i, "<i4") for i in range(3000)]),
    "noise": ({"shape": (40, 40), "dtype": "<f8"}, list(RNG.random((7, 40, 40)))),
    "large": ({"shape": (300, 300), "dtype": "<f8"},
              [np.full((300, 300), float(i)) for i in range(5)]),
    "crops": ({"shape": (90, 90), "dtype": "u1", "variable_shape": True},
              [np.full((i % 9 + 1, i + 1), i, "u1") for i in range(80)]),
    "rough": ({"shape": (200, 200), "dtype": "u1", "variable_shape": True},
              [RNG.integers(0, 256, (i + 1, 150), np.uint8) for i in range(60)]),
    "volumes": ({"shape": (9, 20, 20), "dtype": "<f4",
                 "backend_opts": {"backend": "20", "chunks": (2, 7, 7)}},
                [np.arange(3600, dtype="<f4").reshape(9, 20, 20) + i for i in range(4)]),
    "notes": ({"kind": "str"}, ["né" * i for i in range(300)]),
    "lzf": ({"shape": (30, 30), "dtype": "<i2",
             "backend_opts": {"backend": "01", "complib": "lzf"}},
            [np.full((30, 30), i, "<i2") for i in range(3)]),
    "dates": ({"shape": (5,), "dtype": "<M8[s]", "backend_opts": "20"},
              [np.full(5, i, "<M8[s]") for i in range(3)]),
}  # fmt: skip


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    repo = make_repository(tmp_path_factory.mktemp("source") / "repo")
    co = repo.checkout(write=True)
    for name, (arguments, values) in VALUES.items():
        co.arraysets.init_arrayset(name, **arguments).add_batch(range(len(values)), values)
    co.commit("all")
    co.close()
    return repo


def samples_of(repo) -> LocalSamples:
    return LocalSamples(Path(repo.path, ".git/hangar"))


def all_digests(repo) -> list[bytes]:
    return sorted({d for digests in named_digests(repo._git).values() for d in digests})


def clone_records(repo, path) -> Repository:
    import subprocess

    subprocess.run(["git", "clone", "-q", repo.path, path], check=True)
    return Repository(path)


def test_everything_given_is_taken_and_read_equal(repo, tmp_path):
    source, digests = samples_of(repo), all_digests(repo)
    other = clone_records(repo, tmp_path / "clone")
    target = samples_of(other)
    assert target.missing(digests) == digests
    count = target.receive(source.export(digests))
    assert count == len(digests)
    assert target.missing(digests) == source.missing(digests) == []
    reader = other.checkout()
    for name, (_, values) in VALUES.items():
        for key, value in enumerate(values):
            np.testing.assert_array_equal(reader[name][key], value)
    reader.close()
    report = other.maintenance.fsck(full=True)
    assert (report.clean, report.missing, report.corrupt, report.problems) == (True, 0, 0, [])
    assert target.receive(source.export(digests)) == len(digests)  # again, to no effect
    assert other.maintenance.fsck().samples == report.samples


def test_encoded_bytes_are_kept_where_the_backend_agrees(repo, tmp_path):
    source, digests = samples_of(repo), all_digests(repo)
    target = LocalSamples(tmp_path / "hangar")
    parcels = list(source.export(digests))
    target.receive(parcels)
    again = {parcel.data for parcel in target.export(digests)}
    kept = sum(parcel.data in again for parcel in parcels if len(parcel.data) < 60_000)
    assert kept > len(parcels) * 0.8


@pytest.mark.parametrize("name", VALUES)
def test_a_few_of_many_are_moved_alone(name, repo, tmp_path):
    reader = repo.checkout()
    records = reader[name]._all()
    wanted = [records[0][:32], records[2][:32]]
    reader.close()
    parcels = list(samples_of(repo).export(wanted))
    target = LocalSamples(tmp_path / "hangar")
    target.receive(parcels)
    assert target.missing(wanted) == []
    moved = {digest for parcel in parcels for digest in parcel.digests}
    assert len(moved) <= max(2, 2 * len(wanted) * 2)
    sizes = samples_of(repo).sizes([*wanted, bytes(32)])
    assert set(sizes) == set(wanted)


def test_an_empty_text_is_moved_alone_out_of_the_chunk_it_shares(repo, tmp_path):
    empty = repo.checkout()["notes"]._record(0)[:32]
    (parcel,) = samples_of(repo).export([empty])
    assert parcel.digests == (empty,)
    target = LocalSamples(tmp_path / "hangar")
    assert target.receive([parcel]) == 1
    assert target.missing([empty]) == []
    assert list(target.export([empty]))


def test_what_is_not_here_cannot_be_given(repo):
    with pytest.raises(DataNotLocalError, match="00" * 32):
        list(samples_of(repo).export([bytes(32)]))
    assert samples_of(repo).missing([bytes(32)]) == [bytes(32)]


def test_a_break_keeps_what_came_before(repo, tmp_path):
    digests = all_digests(repo)
    parcels = list(samples_of(repo).export(digests))

    def breaking():
        yield from parcels[: len(parcels) // 2]
        raise ConnectionResetError

    target = LocalSamples(tmp_path / "hangar")
    with pytest.raises(ConnectionResetError):
        target.receive(breaking())
    half = {d for parcel in parcels[: len(parcels) // 2] for d in parcel.digests}
    assert set(digests) - set(target.missing(digests)) >= half & set(digests)
    target.receive(parcels)
    assert target.missing(digests) == []


def test_many_threads_give_and_take_at_once(repo, tmp_path):
    digests = all_digests(repo)
    source, target = samples_of(repo), LocalSamples(tmp_path / "hangar")
    errors = []

    def run(part):
        try:
            target.receive(source.export(part))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(digests[i::3] + digests[:50],)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert target.missing(digests) == []


# -- what must be refused ----------------------------------------------------------------------


def a_chunk(repo) -> EncodedChunk:
    reader = repo.checkout()
    digest = reader["digits"]._all()[0]
    reader.close()
    (parcel,) = samples_of(repo).export([digest])
    return EncodedChunk.parse(parcel.data)


def test_wrong_data_is_refused_and_not_stored(repo, tmp_path):
    source, digests = samples_of(repo), all_digests(repo)
    target = LocalSamples(tmp_path / "hangar")
    parcels = list(source.export(digests))
    swapped = Parcel(parcels[1].digests, parcels[0].data)
    with pytest.raises(IntegrityError, match="other samples"):
        target.receive([swapped])
    chunk = a_chunk(repo)
    wrong = (bytes(32),)
    forged = EncodedChunk(chunk.spec, wrong, chunk.shapes[:1], chunk.places[:1], chunk.size_bytes,
                          chunk.data)  # fmt: skip
    with pytest.raises(IntegrityError, match="not that of digest"):
        target.receive([Parcel(wrong, forged.to_bytes())])
    assert target.missing([*digests, bytes(32)]) == [*digests, bytes(32)]


def test_bombs_are_refused_before_they_take_memory(repo, tmp_path):
    chunk = a_chunk(repo)
    target = LocalSamples(tmp_path / "hangar")
    huge = 1 << 40
    bombs = [
        EncodedChunk(chunk.spec, chunk.digests[:1], ((huge,),), (0,), huge, chunk.data),
        EncodedChunk(chunk.spec, chunk.digests, chunk.shapes, chunk.places, 1 << 30, chunk.data),
    ]
    from dataclasses import replace

    from hangar_git.store.codec import Codec

    gzip = replace(chunk.spec, codec=Codec.parse({"complib": "gzip"}))
    bombs.append(EncodedChunk(gzip, chunk.digests[:1], chunk.shapes[:1], (0,), 784,
                              zlib.compress(bytes(100 << 20))))  # fmt: skip
    for bomb in bombs:
        with pytest.raises(IntegrityError):
            target.receive([Parcel(bomb.digests, bomb.to_bytes())])


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_any_bytes_are_samples_or_one_error(repo, tmp_path_factory, data):
    good = a_chunk(repo).to_bytes()
    kind = data.draw(st.sampled_from(["random", "flip", "cut", "header"]))
    if kind == "random":
        bad = data.draw(st.binary(max_size=400))
    elif kind == "flip":
        at = data.draw(st.integers(0, len(good) - 1))
        bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    elif kind == "cut":
        bad = good[: data.draw(st.integers(0, len(good) - 1))]
    else:
        header = data.draw(st.text(max_size=200)).encode()
        bad = b"HGP1" + struct.pack("<I", len(header)) + header + good[-200:]
    try:
        EncodedChunk.parse(bad).verified()
    except HangarError:
        return
    assert kind == "flip"  # of a byte that says nothing, in the padding of an encoding
