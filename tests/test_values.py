"""The values at the bottom: keys, names, dtypes, schemas, digests, configuration, errors."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hangar_git import errors
from hangar_git.config import Config
from hangar_git.digest import array_digest, digest_prefix
from hangar_git.dtypes import canonical, dtype_from_json, dtype_to_json
from hangar_git.errors import FormatError, HangarError
from hangar_git.keys import (
    STR_KEY,
    arrayset_name,
    key_text,
    metadata_key,
    parse_key_text,
    sample_key,
    sorted_keys,
)
from hangar_git.schema import FANOUTS, Schema

KEYS = st.integers(0, 2**63 - 1) | st.from_regex(STR_KEY, fullmatch=True)
DTYPES = (
    hnp.scalar_dtypes().filter(
        lambda d: not (d.kind in "fc" and d.itemsize > 8 * (1 + (d.kind == "c")))
    )
    | hnp.array_dtypes(hnp.integer_dtypes() | hnp.floating_dtypes(sizes=(32, 64)), max_size=3)
).filter(lambda d: d.itemsize > 0)


@given(KEYS)
def test_a_key_is_read_back_from_its_text(key):
    assert sample_key(key) == key
    back = parse_key_text(key_text(key))
    assert (back, type(back)) == (key, type(key))


@given(st.text(max_size=300))
def test_a_key_is_accepted_if_every_character_is_allowed(text):
    allowed = (
        1 <= len(text) <= 255 and text.isascii() and all(c.isalnum() or c in "._-" for c in text)
    )
    try:
        assert sample_key(text) == text
        assert allowed
    except ValueError:
        assert not allowed


@pytest.mark.parametrize("text", ["#", "#01", "#-1", "#1x", f"#{2**63}", "a b", "", "@0"])
def test_malformed_key_texts_are_refused(text):
    with pytest.raises(ValueError):
        parse_key_text(text)


@given(st.lists(KEYS, unique=True))
def test_keys_are_sorted_integers_first(keys):
    integers = sorted(k for k in keys if isinstance(k, int))
    assert sorted_keys(keys) == integers + sorted(k for k in keys if isinstance(k, str))


def test_names_of_64_characters_pass_and_of_65_do_not():
    for check in (arrayset_name, metadata_key):
        assert check("a" * 64) == "a" * 64
        with pytest.raises(ValueError):
            check("a" * 65)
    assert metadata_key(10) == 10
    with pytest.raises(ValueError):
        metadata_key("con")


@given(DTYPES)
def test_canonical_dtypes_are_little_endian_packed_and_read_back(dtype):
    once = canonical(dtype)
    assert canonical(once) == once
    assert dtype_from_json(json.loads(json.dumps(dtype_to_json(once)))) == once
    assert once == once.newbyteorder("<")
    if once.names:
        assert once.itemsize == sum(once[name].itemsize for name in once.names)


def test_subarrays_and_nested_structures_are_kept():
    nested = np.dtype([("a", ">f8", (2, 3)), ("b", [("c", ">u2", (1,)), ("d", "S3")], (4,))])
    assert dtype_to_json(canonical(nested)) == [
        ["a", "<f8", [2, 3]],
        ["b", [["c", "<u2", [1]], ["d", "|S3", []]], [4]],
    ]
    assert dtype_from_json(dtype_to_json(canonical(nested))) == canonical(nested)


@given(
    st.floats() | st.none() | st.booleans() | st.integers(max_value=-1)
    | st.integers(min_value=2**63) | st.binary() | st.tuples(st.integers(0, 9))
)  # fmt: skip
def test_keys_of_other_types_and_ranges_are_refused(key):
    for check in (sample_key, metadata_key):
        with pytest.raises(ValueError):
            check(key)


@pytest.mark.parametrize(
    "name", ["a b", "a/b", "..", ".", "a\\b", "a\n", "größe", "", "a" * 65, 1, None, True, "a\0"]
)
def test_arrayset_names_that_are_no_names_are_refused(name):
    with pytest.raises(ValueError):
        arrayset_name(name)


def test_padding_titles_and_byte_order_are_dropped():
    padded = np.dtype([(("title", "a"), ">i2"), ("b", "u1")], align=True)
    assert dtype_to_json(canonical(padded)) == [["a", "<i2", []], ["b", "|u1", []]]


@pytest.mark.parametrize(
    "dtype",
    [object, np.longdouble, np.clongdouble, "S0", "U0", "V0", np.dtype("u1", metadata={"a": 1}),
     [("a", object)], [("a", "S0")], [("a", "u1", (0,))], [("a", "u1", (2, 0))], [],
     [("a", np.dtype("u1", metadata={"b": 1}))], [("a", [("b", np.longdouble)])],
     np.dtype(("u1", (2,)))],
)  # fmt: skip
def test_dtypes_without_portable_bytes_are_refused(dtype):
    with pytest.raises(ValueError):
        canonical(np.dtype(dtype))


VECTORS = [
    (np.array([1, 2], "u1"), "3be07f6ebf09394720352607049c369a6b442ffb2c2df3da27c6e27e9b3010db"),
    (
        np.array([0x7FC00001, 0x80000000], "<u4").view("<f4"),
        "32e2bab5d5e7d1da3f6c8e47f606e18dad6537073a6eac94e5ab73993c68cde6",
    ),
    (np.array(7, "<i8"), "cf8b0e8fb64b0884a65866f199662f510b5754db4228351622dc7479d8d6139d"),
]


@pytest.mark.parametrize(("array", "expected"), VECTORS)
def test_the_digest_of_a_known_array_never_changes(array, expected):
    assert array_digest(array).hex() == expected


def test_digests_tell_dtype_shape_and_every_bit_apart():
    arrays = [
        np.zeros(4, "u1"), np.zeros(4, "i1"), np.zeros((2, 2), "u1"), np.zeros(2, "<u2"),
        np.array([0, 0, 0, 1], "u1"), np.array(0.0), np.array(-0.0),
        np.array([0x7FC00000], "<u4").view("<f4"), np.array([0x7FC00001], "<u4").view("<f4"),
        np.zeros(1, "M8[s]"), np.zeros(1, "M8[ms]"),
    ]  # fmt: skip
    assert len({array_digest(a) for a in arrays}) == len(arrays)
    assert array_digest(np.asfortranarray(np.eye(3))) == array_digest(np.eye(3))


def test_the_prefix_states_kind_dtype_and_shape():
    assert digest_prefix("array", np.dtype("u1"), (2,)) == b'hangar1\0array\0["|u1",[2]]\0'


SCHEMAS = st.builds(
    Schema,
    dtype=st.sampled_from([np.dtype("u1"), np.dtype("<f4"), np.dtype([("a", "<i2")])]),
    shape=st.lists(st.integers(1, 9), max_size=4).map(tuple),
    variable_shape=st.booleans(),
    named_samples=st.booleans(),
    fanout=st.sampled_from(FANOUTS),
    backend=st.sampled_from([None, "00", "01"]),
    merge=st.sampled_from([None, "ours", "newest"]),
    extra=st.sampled_from([{}, {"x-note": [1, "a"]}]),
)


@given(SCHEMAS)
def test_a_schema_is_read_back_from_its_one_line(schema):
    text = schema.to_json()
    assert "\n" not in text
    assert Schema.from_json(text + "\n", "here") == schema


@given(SCHEMAS, SCHEMAS)
def test_tags_are_equal_only_where_samples_fit_together(one, two):
    fits = (one.dtype, one.rank, one.variable_shape) == (two.dtype, two.rank, two.variable_shape)
    fits = fits and (one.variable_shape or one.shape == two.shape)
    assert (one.tag("a") == two.tag("a")) == fits
    assert one.tag("a") != one.tag("b")


@pytest.mark.parametrize(
    "edit",
    [
        lambda f: f | {"surprise": 1},
        lambda f: {k: v for k, v in f.items() if k != "dtype"},
        lambda f: f | {"fanout": 17},
        lambda f: f | {"kind": "tensor"},
        lambda f: f | {"digest": "md5"},
        lambda f: f | {"shape": [0]},
        lambda f: f | {"shape": "2"},
        lambda f: f | {"dtype": ">f4"},
        lambda f: f | {"dtype": "O"},
        lambda f: f | {"named_samples": 1},
        lambda f: f | {"merge": "loudest"},
    ],
)
def test_schemas_that_are_not_ours_are_refused_with_file_and_line(edit):
    fields = edit(json.loads(Schema(np.dtype("u1"), (2,)).to_json()))
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    with pytest.raises(FormatError, match=r"^here: line 1: "):
        Schema.from_json(text + "\n", "here")


@pytest.mark.parametrize("text", ["", "{}", "[]\n", "{\n", "null\n", '{"a": 1}\n'])
def test_schema_texts_that_are_not_canonical_are_refused(text):
    good = Schema(np.dtype("u1"), (2,)).to_json()
    for bad in (text, good, " " + good + "\n", good + "\n\n"):
        with pytest.raises(FormatError):
            Schema.from_json(bad, "here")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[include]\n\tpath = /etc/passwd\n", "unknown setting|no hangar.formatVersion"),
        ("[hangar]\n\tformatVersion = 1\n[include]\n\tpath = x\n", "unknown setting include.path"),
        ("[hangar]\n\tformatVersion = 1\n\tsurprise = 2\n", "unknown setting hangar.surprise"),
        ("[hangar]\nformatVersion = 1\n", "line 2: malformed"),
        ("[hangar]\n\tformatVersion = one\n", "no hangar.formatVersion"),
        ("", "no hangar.formatVersion"),
        ('[hangar "x"]\n\tformatVersion = 1\n', "line 1: malformed"),
        ("[hangar]\n\tformatVersion = 1\n\tformatVersion = 1\n", "line 3: malformed"),
        ("[hangar]\n\tformatVersion = 1\n[extensions]\n\tx = maybe\n", "must be 'read' or 'write'"),
    ],
)
def test_configurations_are_parsed_strictly(text, why):
    with pytest.raises(FormatError, match=why):
        Config.parse(text)


def test_newer_versions_and_unknown_extensions_are_refused():
    config = Config(1, {"future": "write"}, "s3://bucket/prefix")
    assert Config.parse(config.to_text()) == config
    config.check_readable()
    with pytest.raises(FormatError, match="'future'"):
        config.check_writable()
    with pytest.raises(FormatError, match="'future'"):
        replace(config, extensions={"future": "read"}).check_readable()
    with pytest.raises(FormatError, match="newer"):
        replace(config, format_version=2).check_readable()


def test_every_error_has_a_kind_of_its_own_and_prints_its_message():
    kinds: dict[str, type] = {}
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, HangarError):
            assert str(error("what 'x' where")) == "what 'x' where"
            assert kinds.setdefault(error.kind, error) is error
    assert issubclass(errors.NotFoundError, KeyError)
    full = errors.StorageError.of(OSError(28, "No space left on device"), "writing x")
    assert full.errno == 28
    assert "No space left" in str(full)
