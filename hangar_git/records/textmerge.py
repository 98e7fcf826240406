"""Three-way merge of record files by their text alone, for Git's merge driver.

It knows no schema and needs no repository: lines of one tag, keyed by their second column, each
side's changes taken, and what both changed to different values left as ours and reported. Imports
are light, since git starts a process for every file.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from blake3 import blake3

_LINE = re.compile(r"([0-9a-f]{8})\t(?:@[0-9a-f]+|([A-Za-z0-9#._/-]+)\t[0-9a-f]{64}(?:\t[0-9,]*)?)")


class RecordText(NamedTuple):
    """A record file: its tag, its anchor lines, and its record lines by key."""

    tag: str | None
    anchors: frozenset[str]
    records: dict[str, str]


class TextMerge(NamedTuple):
    """The merged file, and the keys that both sides changed to different values."""

    text: str
    conflicts: list[str]


def parse(text: str) -> RecordText:
    """The lines of a record file; ValueError, with the line's number, if one is malformed."""
    tag: str | None = None
    anchors: set[str] = set()
    records: dict[str, str] = {}
    if text and not text.endswith("\n"):
        raise ValueError("the last line is cut off")
    for number, line in enumerate(text.split("\n")[:-1], 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} is malformed: {line[:60]!r}")
        if tag not in (None, match[1]):
            raise ValueError(f"line {number} is of another arrayset or schema")
        tag = match[1]
        if match[2] is None:
            anchors.add(line)
        elif match[2] in records:
            raise ValueError(f"line {number} is a second record of key {match[2]!r}")
        else:
            records[match[2]] = line
    return RecordText(tag, frozenset(anchors), records)


def merge_texts(base: str, ours: str, theirs: str) -> TextMerge:
    """Merge two versions of one record file.

    Raises
    ------
    ValueError
        A file is malformed, or the sides are not of one arrayset, schema and fan-out.
    """
    one, two = parse(ours), parse(theirs)
    if one.tag is not None and two.tag is not None and one.tag != two.tag:
        raise ValueError("the sides hold records of different schemas")
    if one.anchors != two.anchors:
        raise ValueError("the sides have different anchors")
    old = parse(base)
    former = old.records if old.tag in (None, one.tag or two.tag) else {}
    merged, conflicts = dict(one.records), []
    for key in former.keys() | two.records.keys():
        before, ours_now, theirs_now = (
            side.get(key) for side in (former, one.records, two.records)
        )
        if theirs_now in (before, ours_now):
            continue
        if ours_now != before:
            conflicts.append(key)
        elif theirs_now is None:
            del merged[key]
        else:
            merged[key] = theirs_now
    return TextMerge(serialise(one.anchors, merged), sorted(conflicts))


def serialise(anchors: frozenset[str], records: dict[str, str]) -> str:
    """The one text of a record file with these lines."""
    rows = [(line.split("@")[1], "", line) for line in anchors]
    # A nested sample is placed by its outer key.
    rows += [
        (blake3(key.partition("/")[0].encode()).hexdigest(8), key, line)
        for key, line in records.items()
    ]
    return "".join(f"{line}\n" for _, _, line in sorted(rows))


def key_name(key: str) -> str:
    """A key as Python writes it: ``10`` for ``#10``, ``'a7'`` for ``a7``."""
    return key[1:] if key.startswith("#") else repr(key)
