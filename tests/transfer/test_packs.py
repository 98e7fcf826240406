"""Packs and indexes: the documented bytes, and nothing else, are accepted."""

from __future__ import annotations

import random
import re
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from hangar_git.errors import FormatError, IntegrityError, InvalidInputError
from hangar_git.transfer.packindex import PackIndex, digest_array, max_index_size_bytes
from hangar_git.transfer.packs import PIECE_SIZE_BYTES, PackWriter, parse_frame, parse_pack
from hangar_git.transfer.samples import Parcel

from .parcels import digests_of, make_parcels

PACK_ID = bytes(range(16))
DOCUMENT = (Path(__file__).parents[2] / "docs" / "bucket.md").read_text()
VECTORS = [bytes.fromhex(block) for block in re.findall(r"```hex\n(.*?)```", DOCUMENT, re.DOTALL)]


def pack_of(parcels) -> tuple[bytes, PackIndex]:
    writer = PackWriter(PACK_ID)
    for parcel in parcels:
        writer.add(parcel)
    pieces, index = writer.finish()
    data = b"".join(pieces)
    assert len(data) == writer.size_bytes == index.pack_size_bytes
    return data, index


def resealed(data: bytes) -> bytes:
    """`data` with a checksum at its end that fits."""
    return data[:-8] + xxh3_64_intdigest(data[:-8]).to_bytes(8, "little")


def test_the_document_shows_what_is_written():
    one, two, three = (blake3(word).digest() for word in (b"one", b"two", b"three"))
    parcels = [Parcel((one,), b"one"), Parcel((two, three), b"twothree")]
    data, index = pack_of(parcels)
    assert [data, index.to_bytes()] == VECTORS
    assert list(parse_pack(VECTORS[0], PACK_ID, "pack")) == parcels
    parsed = PackIndex.parse(VECTORS[1], PACK_ID, "index")
    assert parsed.to_bytes() == VECTORS[1]


@given(st.integers(0, 40), st.integers(1, 4), st.integers(30, 400), st.integers(0, 5))
def test_parcels_are_found_where_the_index_says(count, each, size, seed):
    parcels = make_parcels(count, seed, size, each)
    data, index = pack_of(parcels)
    index = PackIndex.parse(index.to_bytes(), PACK_ID, "index")
    assert list(parse_pack(data, PACK_ID, "pack")) == parcels
    assert len(index.to_bytes()) <= max_index_size_bytes(len(data))
    wanted = np.sort(digest_array({*digests_of(parcels)[::2], bytes(32), b"\xff" * 32}))
    positions, frames = index.find(wanted)
    assert len(positions) == len(digests_of(parcels)[::2])
    for position, frame in zip(positions, frames, strict=True):
        start, stop = index.offsets[frame], index.offsets[frame + 1]
        parcel = parse_frame(memoryview(data)[start:stop], "pack")
        assert wanted[position : position + 1].tobytes() in parcel.digests


def test_a_sample_that_is_there_already_is_not_stored_twice():
    first, second = make_parcels(2)
    both = Parcel(first.digests + second.digests, b"both")
    data, index = pack_of([first, first, both, second])
    assert list(parse_pack(data, PACK_ID, "pack")) == [first, both]
    assert len(index.digests) == 2


def test_digests_that_end_in_nul_are_distinct():
    digests = [b"a" * 31 + b"\0", b"a" * 30 + b"\0\0", b"a" * 30 + b"\0\1", bytes(32)]
    _, index = pack_of([Parcel((digest,), digest) for digest in digests])
    index = PackIndex.parse(index.to_bytes(), PACK_ID, "index")
    assert len(index.find(np.sort(digest_array(digests)))[0]) == 4
    assert len(index.find(digest_array([b"a" * 30 + b"\0\2"]))[0]) == 0


def test_large_data_is_kept_in_pieces_and_not_copied():
    large = bytes(3 * PIECE_SIZE_BYTES + 5)
    small = make_parcels(3)
    parcels = [small[0], Parcel((b"x" * 32,), large), *small[1:]]
    tracemalloc.start()
    writer = PackWriter(PACK_ID)
    for parcel in parcels:
        writer.add(parcel)
    pieces, _ = writer.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < PIECE_SIZE_BYTES
    assert max(map(len, pieces)) <= PIECE_SIZE_BYTES
    assert list(parse_pack(b"".join(pieces), PACK_ID, "pack")) == parcels


@pytest.mark.parametrize("digests", [(), (b"short",), (b"x" * 32, b"x" * 33)])
def test_parcels_without_proper_digests_are_refused(digests):
    with pytest.raises(InvalidInputError):
        PackWriter(PACK_ID).add(Parcel(digests, b"data"))


def test_every_changed_or_missing_byte_is_noticed():
    data, index = pack_of(make_parcels(3, size=40, each=2))
    for good, parse in (
        (data, lambda bad: list(parse_pack(bad, PACK_ID, "pack"))),
        (index.to_bytes(), lambda bad: PackIndex.parse(bad, PACK_ID, "index")),
    ):
        for at in range(len(good)):
            for bad in (good[:at], good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :]):
                with pytest.raises((IntegrityError, FormatError)):
                    parse(bad)
        with pytest.raises(IntegrityError):
            parse(good + b"\0")


def test_a_pack_under_the_name_of_another_is_noticed():
    data, index = pack_of(make_parcels(3))
    with pytest.raises(IntegrityError, match="holds pack 000102"):
        list(parse_pack(data, b"y" * 16, "pack"))
    with pytest.raises(IntegrityError, match="is of pack 000102"):
        PackIndex.parse(index.to_bytes(), b"y" * 16, "index")


def test_a_later_version_asks_for_an_update():
    data, index = pack_of(make_parcels(3))
    for good, parse in (
        (data, lambda bad: list(parse_pack(bad, PACK_ID, "pack"))),
        (index.to_bytes(), lambda bad: PackIndex.parse(bad, PACK_ID, "index")),
    ):
        with pytest.raises(FormatError, match="format 2, unknown here; update hangar_git"):
            parse(resealed(good[:8] + b"\2" + good[9:]))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda i: {"offsets": i.offsets + np.uint64(1)}, "does not follow the header"),
        (lambda i: {"offsets": i.offsets[[0, 2, 1, 3]]}, "frames overlap"),
        (lambda i: {"offsets": np.array([32, 2**64 - 8, 60, 600], "<u8")}, "frames overlap"),
        (lambda i: {"offsets": i.offsets[[0, 1, 1, 3]]}, "frames overlap"),
        (lambda i: {"digests": i.digests[::-1]}, "ascending order"),
        (lambda i: {"digests": i.digests[[0, 0, 2]]}, "ascending order"),
        (lambda i: {"frames": i.frames + np.uint32(1)}, "in no frame"),
    ],
)
def test_an_index_that_contradicts_itself_is_refused(change, why):
    _, index = pack_of(make_parcels(3))
    fields = {name: getattr(index, name) for name in ("digests", "frames", "offsets")}
    bad = PackIndex(PACK_ID, **{**fields, **change(index)}).to_bytes()
    with pytest.raises(IntegrityError, match=why):
        PackIndex.parse(bad, PACK_ID, "index")


def test_a_frame_ends_where_its_pack_says():
    _, index = pack_of(make_parcels(3))
    data = bytearray(index.to_bytes())
    struct.pack_into("<Q", data, 32, index.pack_size_bytes + 1)
    with pytest.raises(IntegrityError, match="does not end where the pack does"):
        PackIndex.parse(resealed(bytes(data)), PACK_ID, "index")


GOOD_PACK, GOOD_INDEX = pack_of(make_parcels(5, size=60, each=2))


def spoiled(good: bytes):
    """`good` with some bytes overwritten by others, sealed anew or not."""
    edits = st.lists(
        st.tuples(st.integers(0, len(good) - 1), st.binary(min_size=1, max_size=8)), max_size=4
    )

    def apply(edits, length, sealed):
        data = bytearray(good)
        for at, new in edits:
            data[at : at + len(new)] = new
        cut = bytes(data[:length])
        return resealed(cut) if sealed and len(cut) > 8 else cut

    return st.builds(apply, edits, st.integers(0, len(good) + 8), st.booleans())


@given(st.one_of(st.binary(), spoiled(GOOD_PACK)))
def test_any_bytes_are_a_pack_or_refused_without_much_memory(data):
    tracemalloc.start()
    try:
        for parcel in parse_pack(data, PACK_ID, "pack"):
            assert parcel.digests
        if len(data) >= 32:
            parse_frame(memoryview(data)[32:], "pack")
    except (IntegrityError, FormatError) as error:
        assert str(error).startswith("pack ")
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 20


@given(st.one_of(st.binary(), spoiled(GOOD_INDEX.to_bytes())))
def test_any_bytes_are_an_index_or_refused_without_much_memory(data):
    tracemalloc.start()
    try:
        index = PackIndex.parse(data, PACK_ID, "index")
        index.find(index.digests)
    except (IntegrityError, FormatError) as error:
        assert str(error).startswith("index ")
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_million_entries_are_loaded_and_searched_quickly(record_property):
    n = 1_000_000
    raw = random.Random(1).randbytes(32 * n)
    digests = np.sort(np.frombuffer(raw, "S32"))
    offsets = 32 + 100 * np.arange(n + 1, dtype="<u8")
    index = PackIndex(PACK_ID, digests, np.arange(n, dtype="<u4"), offsets)
    data = index.to_bytes()
    began = time.perf_counter()
    index = PackIndex.parse(data, PACK_ID, "index")
    loaded = time.perf_counter()
    positions, frames = index.find(digests)
    found = time.perf_counter()
    assert len(positions) == n
    assert (frames == positions).all()
    record_property(
        "figure",
        f"index of 1,000,000 entries ({len(data) >> 20} MiB): loaded in"
        f" {(loaded - began) * 1e3:.0f} ms, all found in {(found - loaded) * 1e3:.0f} ms",
    )
