"""Codecs: what their options may be, and that libraries of others decode what they encode."""

from __future__ import annotations

import contextlib
import random
import zlib

import numpy as np
import pytest
from numcodecs import blosc, zstd
from processes import in_child

from hangar_git.errors import InvalidInputError
from hangar_git.store.codec import BLOSC_COMPRESSORS, DECODE_ERRORS, NONE, SHUFFLES, Codec

COMPLIBS = ("none", "zstd", "gzip", *(f"blosc:{name}" for name in BLOSC_COMPRESSORS))
LEVELS = {"none": (0, 0), "zstd": (1, 22), "gzip": (0, 9), "blosc": (0, 9)}
CHUNK = np.arange(3000, dtype="<u4").tobytes()


def stock_decode(complib: str, data: bytes) -> bytes:
    family = complib.partition(":")[0]
    return {"none": bytes, "gzip": zlib.decompress, "zstd": zstd.decompress,
            "blosc": blosc.decompress}[family](data)  # fmt: skip


@pytest.mark.parametrize("complib", COMPLIBS)
def test_every_level_and_shuffle_is_decoded_to_what_was_encoded(complib):
    family = complib.partition(":")[0]
    lowest, highest = LEVELS[family]
    for level in range(lowest, highest + 1):
        shuffles = {"blosc": 3, "none": 1}.get(family, 2)
        for shuffle in SHUFFLES[:shuffles]:
            codec = Codec.parse({"complib": complib, "complevel": level, "shuffle": shuffle})
            assert Codec.parse(codec.to_json()) == codec
            data = codec.encoder(4)(CHUNK)
            decoded = bytes(stock_decode(complib, data))
            if codec.shuffles_apart:
                decoded = np.frombuffer(decoded, "u1").reshape(4, -1).T.tobytes()
            assert decoded == CHUNK
            decode = codec.decoder(4)
            if decode is None:
                assert (complib, data) == ("none", CHUNK)
                continue
            assert bytes(decode(data)) == CHUNK
            out = np.empty(len(CHUNK), np.uint8)
            decode(data, out)
            assert out.tobytes() == CHUNK


@pytest.mark.parametrize("complib", COMPLIBS)
def test_options_left_out_take_defaults(complib):
    codec = Codec.parse({"complib": complib})
    assert codec.shuffle == ("byte" if complib.startswith("blosc") else "none")
    assert codec.complevel == {"none": 0, "zstd": 3, "gzip": 4}.get(complib, 5)


def test_no_options_are_no_codec():
    assert Codec.parse({}) == Codec.parse({"complib": None}) == NONE
    assert Codec.parse({"complib": "none", "complevel": 7}) == NONE


@pytest.mark.parametrize(("given", "means"), [(True, "byte"), (False, "none"), (None, "none")])
def test_shuffle_may_be_given_as_pytables_names_it(given, means):
    assert Codec.parse({"complib": "blosc:lz4", "shuffle": given}).shuffle == means


@pytest.mark.parametrize(
    "complib",
    ["blosc", "blosc:", "blosc:lzo", "zstd:", "zstd:lz4", "gzip:x", "lzma", "", 5, "None"],
)
def test_an_unknown_complib_is_refused_with_the_list_of_valid_ones(complib):
    if not complib:
        assert Codec.parse({"complib": complib}) == NONE
        return
    with pytest.raises(InvalidInputError) as caught:
        Codec.parse({"complib": complib})
    assert all(name in str(caught.value) for name in COMPLIBS)
    assert repr(complib) in str(caught.value)


@pytest.mark.parametrize("family", ["zstd", "gzip", "blosc"])
@pytest.mark.parametrize("level", [-1, 10, 23, True, 1.0, "5", None])
def test_a_level_out_of_range_is_refused_with_the_range(family, level):
    if family == "zstd" and level == 10:
        level = 0
    lowest, highest = LEVELS[family]
    complib = "blosc:lz4" if family == "blosc" else family
    with pytest.raises(InvalidInputError, match=f"is {lowest} to {highest}, not"):
        Codec.parse({"complib": complib, "complevel": level})


def test_a_shuffle_that_the_codec_has_not_is_refused_with_those_it_has():
    with pytest.raises(InvalidInputError, match="none or byte or bit"):
        Codec.parse({"complib": "blosc:lz4", "shuffle": "nibble"})
    with pytest.raises(InvalidInputError, match="is none, not 'byte'"):
        Codec.parse({"complib": "none", "shuffle": "byte"})
    for complib in ("zstd", "gzip", "lzf"):
        assert Codec.parse({"complib": complib, "shuffle": True}).shuffle == "byte"
        with pytest.raises(InvalidInputError, match="is none or byte, not 'bit'"):
            Codec.parse({"complib": complib, "shuffle": "bit"})
    with pytest.raises(InvalidInputError):
        Codec.parse({"complib": "blosc:lz4", "shuffle": []})


def test_an_unknown_option_is_refused_with_those_there_are():
    with pytest.raises(InvalidInputError, match="complib, complevel, shuffle"):
        Codec.parse({"complib": "zstd", "level": 3})


@pytest.mark.parametrize("complib", COMPLIBS[1:])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 100])
def test_what_is_cut_off_is_an_error_and_not_a_crash(complib, size):
    codec = Codec.parse({"complib": complib})
    decode = codec.decoder(4)
    data = codec.encoder(4)(CHUNK)[:size]
    for out in (None, np.empty(len(CHUNK), np.uint8)):
        with pytest.raises(DECODE_ERRORS):
            decode(data) if out is None else decode(data, out)


@pytest.mark.parametrize("complib", COMPLIBS[1:])
def test_a_damaged_chunk_is_an_error_or_other_bytes_and_not_a_crash(complib):
    rng = random.Random(complib)
    codec = Codec.parse({"complib": complib})
    decode, good = codec.decoder(4), codec.encoder(4)(CHUNK)

    def decode_all() -> None:
        for _ in range(1500):
            bad = bytearray(good)
            # Headers are where it hurts.
            bad[rng.randrange(40 if rng.random() < 0.7 else len(bad))] ^= 1 << rng.randrange(8)
            with contextlib.suppress(*DECODE_ERRORS):
                decode(bytes(bad))
            with contextlib.suppress(*DECODE_ERRORS):
                decode(bytes(bad), np.empty(len(CHUNK), np.uint8))

    in_child(decode_all)


def test_items_wider_than_blosc_can_say_are_encoded_all_the_same():
    codec = Codec.parse({"complib": "blosc:lz4"})
    data = codec.encoder(1000)(CHUNK)
    assert bytes(blosc.decompress(data)) == CHUNK


@pytest.mark.parametrize("shuffle", ["none", "byte"])
@pytest.mark.parametrize("chunk", [CHUNK, random.Random(1).randbytes(5000), b"x"])
def test_lzf_decodes_what_it_encoded_and_what_it_could_not_shorten(shuffle, chunk):
    codec = Codec.parse({"complib": "lzf", "shuffle": shuffle, "complevel": None})
    data = codec.encoder(4 if len(chunk) % 4 == 0 else 1)(chunk)
    assert len(data) <= len(chunk)
    out = np.empty(len(chunk), np.uint8)
    decode = codec.decoder(4 if len(chunk) % 4 == 0 else 1)
    decode(data, out)
    assert out.tobytes() == chunk


def test_lzf_that_is_damaged_is_an_error_or_other_bytes():
    codec = Codec.parse({"complib": "lzf"})
    data = codec.encoder(1)(CHUNK)
    rng = random.Random(2)
    for _ in range(100):
        bad = bytearray(data)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        out = np.empty(len(CHUNK), np.uint8)
        with contextlib.suppress(*DECODE_ERRORS):
            codec.decoder(1)(bytes(bad), out)


def test_gzip_of_either_framing_is_decoded():
    codec = Codec.parse({"complib": "gzip"})
    for gzip_framing in (False, True):
        data = codec.encoder(1, gzip_framing=gzip_framing)(CHUNK)
        assert (data[:2] == b"\x1f\x8b") is gzip_framing
        assert codec.decoder(1)(data) == CHUNK
