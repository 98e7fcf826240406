"""Record files: one text for one content, any order read, everything malformed refused."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangar_git.errors import FormatError
from hangar_git.keys import STR_KEY
from hangar_git.records.recordfile import (
    RecordFormat,
    fanout_for,
    file_paths,
    raised_fanout,
)
from hangar_git.records.recordlines import changed_records, compared, edited_file
from hangar_git.records.textmerge import merge_texts
from hangar_git.schema import FANOUTS, Schema

FIXED = RecordFormat.of("images", Schema(np.dtype("u1"), (2,)))
VARIABLE = RecordFormat.of("images", Schema(np.dtype("u1"), (9, 9), variable_shape=True))
MANY = RecordFormat.of("images", Schema(np.dtype("u1"), (2,), fanout=4096))
KEYS = st.integers(0, 2**63 - 1) | st.from_regex(STR_KEY, fullmatch=True)


def of_one_file(form, keys):
    """Those of `keys` that lie in the record file of the first."""
    keys = list(keys)
    prefix = form.prefix_of(keys[0])
    return prefix, [key for key in keys if form.prefix_of(key) == prefix]


def values(form, keys, seed=0):
    rng = random.Random(seed)
    third = b"3,4" if form.columns == 3 else b""
    return {key: rng.randbytes(32) + third for key in keys}


@given(st.lists(KEYS, min_size=1, unique=True), st.randoms())
def test_one_content_has_one_text_and_is_read_in_any_order(keys, rng):
    for form in (FIXED, VARIABLE, MANY):
        prefix, mine = of_one_file(form, keys)
        records = values(form, mine)
        text = form.serialise(prefix, records)
        shuffled = list(records.items())
        rng.shuffle(shuffled)
        assert form.serialise(prefix, dict(shuffled)) == text
        lines = text.splitlines(keepends=True)
        rng.shuffle(lines)
        assert form.parse(b"".join(lines), prefix, "x") == records


@given(
    st.dictionaries(st.integers(0, 60), st.integers(0, 3)),
    st.dictionaries(st.integers(0, 60), st.integers(0, 3)),
)
def test_line_differences_and_edits_agree_with_whole_files(before, after):
    keys = [key for key in range(4000) if FIXED.prefix_of(key) == "a"][:61]
    one, two = ({keys[k]: bytes([v]) * 32 for k, v in side.items()} for side in (before, after))
    old, new = FIXED.serialise("a", one), FIXED.serialise("a", two)
    changes = changed_records(FIXED, old, new, "a", "x")
    assert changes == compared(one, two)
    edits = {key: value for key, (_, value) in changes.items()}
    assert edited_file(FIXED, old, "a", edits, "x") == (new, len(two) - len(one))


@given(*[st.dictionaries(st.integers(0, 20), st.integers(0, 2)) for _ in range(3)])
def test_the_drivers_merge_of_texts_is_that_of_dicts(base, ours, theirs):
    keys = [key for key in range(4000) if FIXED.prefix_of(key) == "a"][:21]
    sides = [{keys[k]: bytes([v]) * 32 for k, v in side.items()} for side in (base, ours, theirs)]
    texts = [FIXED.serialise("a", side).decode() for side in sides]
    merged = merge_texts(*texts)
    expected, conflicts = dict(sides[1]), set()
    for key in sides[0].keys() | sides[2].keys():
        b, o, t = (side.get(key) for side in sides)
        if t in (b, o):
            continue
        if o != b:
            conflicts.add(f"#{key}")
        elif t is None:
            del expected[key]
        else:
            expected[key] = t
    assert set(merged.conflicts) == conflicts
    assert merged.text == FIXED.serialise("a", expected).decode()


LINE = f"{FIXED.tag}\t{{}}\t{'ab' * 32}\n"


def in_a(n):
    return [key for key in range(4000) if FIXED.prefix_of(key) == "a"][n]


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda t: t + LINE.format(f"#{in_a(0)}") * 2, "a second record of key"),
        (lambda t: t + LINE.format(f"#{in_a(1)}").replace(FIXED.tag, "00000000"), "begins with"),
        (lambda t: "<<<<<<< HEAD\n" + t, "line 1: a conflict marker"),
        (lambda t: t + "=======\n", "a conflict marker"),
        (lambda t: t + LINE.format("#01"), "malformed integer key"),
        (lambda t: t + LINE.format("a b"), "malformed key"),
        (lambda t: t + LINE.format(f"#{in_a(0)}").replace("ab", "AB"), "malformed digest"),
        (lambda t: t + LINE.format(f"#{in_a(0)}").replace("abab", "ab", 1), "malformed digest"),
        (lambda t: t + f"{FIXED.tag}\t#{in_a(0)}\n", "2 columns|columns"),
        (lambda t: t + LINE.format(f"#{in_a(0)}")[:-1] + "\t3\n", "columns"),
        (lambda t: t[: len(t) // 2], "cut off|missing"),
        (lambda t: t[:-1], "cut off"),
        (lambda t: t.split("\n", 1)[1], "anchor '@a00' is missing"),
        (lambda t: t + t.splitlines()[0] + "\n", "duplicate anchor"),
        (lambda t: t + f"{FIXED.tag}\t@b00\n", "foreign or duplicate anchor"),
        (lambda t: t + "\n", "begins with"),
        (lambda t: t + f"{FIXED.tag}\n", "columns"),
        (lambda t: t.replace("\n", "\r\n"), "line 1"),
    ],
)
def test_malformed_files_are_refused_with_file_and_line(edit, why):
    good = FIXED.serialise("a", {}).decode()
    with pytest.raises(FormatError, match=why) as caught:
        FIXED.parse(edit(good).encode(), "a", "images/records/16/a")
    assert str(caught.value).startswith("images/records/16/a: ")


def test_every_flipped_bit_is_refused_or_changes_only_its_own_line():
    keys = [in_a(n) for n in range(6)]
    records = values(FIXED, keys)
    text = FIXED.serialise("a", records)
    for at in range(0, len(text), 7):
        flipped = bytearray(text)
        flipped[at] ^= 1 << (at % 8)
        try:
            found = FIXED.parse(bytes(flipped), "a", "x")
        except FormatError:
            continue
        same = [key for key in keys if found.get(key) == records[key]]
        assert len(found) == 6
        assert len(same) >= 5


def test_fan_outs_follow_the_number_of_records():
    assert [fanout_for(n) for n in (0, 4096, 4097, 65_536, 65_537, 2**20, 2**20 + 1, 10**9)] == [
        16, 16, 256, 256, 4096, 4096, 65_536, 65_536,
    ]  # fmt: skip
    assert raised_fanout(16, 16 * 1024) == 16
    assert raised_fanout(16, 16 * 1024 + 1) == 256
    assert raised_fanout(256, 100) == 256
    assert raised_fanout(16, 10**6) == 4096


@pytest.mark.parametrize("fanout", FANOUTS)
def test_no_directory_holds_more_than_256_entries(fanout):
    paths = list(file_paths(fanout).values())
    assert len(set(paths)) == fanout
    directories: dict[str, set[str]] = {}
    for path in paths:
        *parts, _ = parents = path.split("/")
        for depth in range(1, len(parents)):
            directories.setdefault("/".join(parents[:depth]), set()).add(parents[depth])
        assert parts[0] == str(fanout)
    assert max(map(len, directories.values())) <= 256
