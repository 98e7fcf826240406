"""Record files as lines: what differs between two, and small edits, without parsing all of them.

A file of 256 records in which one changed differs in two lines of 256. Only those are parsed; a
file that turns out to be malformed is parsed whole, for its error.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from typing import TypeAlias

from ..keys import SampleKey, key_text
from .recordfile import RecordFormat, Records, RecordValue, edited, place

ValueChange: TypeAlias = tuple[RecordValue | None, RecordValue | None]
"""A record before and after; None where there is none."""

_KEY_COLUMN = re.compile(rb"\t([^\t\n]+)\t")


def changed_records(
    form: RecordFormat, before: bytes, after: bytes, prefix: str, where: str
) -> dict[SampleKey, ValueChange]:
    """What differs between two versions of the record file at hash `prefix`.

    Raises
    ------
    FormatError
        A line that differs is malformed, or the key of one stands twice.
    """
    old, new = set(before.split(b"\n")), set(after.split(b"\n"))
    try:
        gone = form.parse_lines(old - new)
        come = form.parse_lines(new - old)
        _refuse_second_lines(come.keys() - gone.keys(), before)
        _refuse_second_lines(gone.keys() - come.keys(), after)
    except ValueError:
        one, two = form.parse(before, prefix, where), form.parse(after, prefix, where)
        return compared(one, two)
    return {key: (gone.get(key), come.get(key)) for key in gone.keys() | come.keys()}


def _refuse_second_lines(keys: set[SampleKey], text: bytes) -> None:
    if keys and not keys_in(text).isdisjoint(key_text(key).encode() for key in keys):
        raise ValueError("a second record of a key")


def keys_in(text: bytes) -> set[bytes]:
    """All keys of a record file, as it writes them."""
    return set(_KEY_COLUMN.findall(text))


def compared(before: Records, after: Records) -> dict[SampleKey, ValueChange]:
    """What differs between two sets of records."""
    changes: dict[SampleKey, ValueChange] = {
        key: (before.get(key), value) for key, value in after.items() if before.get(key) != value
    }
    changes.update((key, (value, None)) for key, value in before.items() if key not in after)
    return changes


def edited_file(
    form: RecordFormat,
    text: bytes,
    prefix: str,
    edits: Mapping[SampleKey, RecordValue | None],
    where: str,
) -> tuple[bytes, int]:
    """A record file with `edits` made, and by how many records it grew.

    Lines are put where their key hash belongs, by bisection. A file whose lines are not in that
    order, which only editing by hand can bring about, is written anew.
    """
    lines = text.split(b"\n")
    if lines.pop() != b"" or len(edits) > len(lines) // 4:
        return _rewritten(form, text, prefix, edits, where)
    grown, present = 0, keys_in(text)
    for key, value in edits.items():
        name = key_text(key)
        order = (place(name).hex(), name)
        at = bisect_left(lines, order, key=_line_order)
        found = at < len(lines) and _line_order(lines[at]) == order
        if not found and name.encode() in present:
            return _rewritten(form, text, prefix, edits, where)
        if found:
            grown -= 1
            del lines[at]
        if value is not None:
            grown += 1
            lines.insert(at, form.line(name, value).encode())
    return b"".join([line + b"\n" for line in lines]), grown


def _line_order(line: bytes) -> tuple[str, str]:
    _, _, rest = line.partition(b"\t")
    name = rest.partition(b"\t")[0].decode("ascii", "replace")
    return (name[1:], "") if name.startswith("@") else (place(name).hex(), name)


def _rewritten(
    form: RecordFormat,
    text: bytes,
    prefix: str,
    edits: Mapping[SampleKey, RecordValue | None],
    where: str,
) -> tuple[bytes, int]:
    before = form.parse(text, prefix, where)
    after = edited(dict(before), edits)
    return form.serialise(prefix, after), len(after) - len(before)
