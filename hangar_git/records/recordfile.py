"""Record files: the text that joins a sample's key to its digest, and where each record lies.

A line is ``<tag> TAB <key> TAB <digest>``, then ``TAB <shape>`` where shape varies. Lines are
ordered by key hash; a fixed anchor line ``<tag> TAB @<bucket>`` opens each hash bucket, so that two
small edits rarely touch and plain ``git merge`` keeps them apart. Normative text: docs/format.md,
"Record files".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ..digest import DIGEST_SIZE_BYTES, Digest
from ..errors import FormatError
from ..keys import SampleKey, key_hash, key_text, parse_key_text
from ..schema import FANOUTS, Schema

if TYPE_CHECKING:
    from numpy.typing import NDArray

RecordValue: TypeAlias = bytes
"""A raw digest, followed by the text of the third column where there is one."""

Records: TypeAlias = dict[SampleKey, RecordValue]

MEAN_RECORDS = 256
"""A new fan-out is the smallest with at most this mean number of records a file."""
MAX_MEAN_RECORDS = 1024
"""A fan-out is raised once its mean passes this."""
_BUCKET_DIGITS = 3  # 4,096 buckets an arrayset


def fanout_for(count: int) -> int:
    """The fan-out that an arrayset of `count` records gets."""
    return next((f for f in FANOUTS if count <= f * MEAN_RECORDS), FANOUTS[-1])


def raised_fanout(fanout: int, count: int) -> int:
    """The fan-out to use from now on for `count` records: `fanout`, or a larger one."""
    return fanout_for(count) if count > fanout * MAX_MEAN_RECORDS else fanout


@cache
def file_digits(fanout: int) -> int:
    """How many leading hex digits of the key hash name the record file."""
    return (fanout.bit_length() - 1) // 4


@cache
def file_paths(fanout: int) -> Mapping[str, str]:
    """Hash prefix -> path below ``records/``, for all files of a fan-out.

    No directory holds more than 256 entries: ``16/a``, ``256/ab``, ``4096/a/bc``, ``65536/ab/cd``.
    """
    digits = file_digits(fanout)
    head = max(0, digits - 2)
    prefixes = (f"{number:0{digits}x}" for number in range(fanout))
    return {p: f"{fanout}/{p[:head]}/{p[head:]}" if head else f"{fanout}/{p}" for p in prefixes}


class RecordFormat(NamedTuple):
    """How the record files of one arrayset are written."""

    tag: str
    fanout: int
    columns: int
    """Columns after the tag: 2, or 3 where the shape varies."""
    nested: bool = False
    """Whether keys are pairs."""
    counts_bytes: bool = False
    """Whether the third column is a number of bytes, which may be 0, and no shape."""

    @classmethod
    def of(cls, name: str, schema: Schema) -> RecordFormat:
        """The format of arrayset `name` under `schema`."""
        return cls(
            schema.tag(name),
            schema.fanout,
            3 if schema.variable_shape else 2,
            schema.nested,
            schema.kind != "array",
        )

    def prefix_of(self, key: SampleKey) -> str:
        """Hash prefix of the record file that holds `key`."""
        return place(key_text(key)).hex()[: file_digits(self.fanout)]

    def serialise(self, prefix: str, records: Records) -> bytes:
        """The one text of the record file at hash `prefix` that holds `records`."""
        tag = self.tag
        lines = [(f"{prefix}{bucket}", "", f"{tag}\t@{prefix}{bucket}\n") for bucket in
                 _bucket_suffixes(self.fanout)]  # fmt: skip
        for key, value in records.items():
            text = key_text(key)
            # An anchor is a proper prefix of the hashes in its bucket: it sorts before them.
            lines.append((place(text).hex(), text, self.line(text, value) + "\n"))
        lines.sort()
        return "".join([line for _, _, line in lines]).encode()

    def line(self, key: str, value: RecordValue) -> str:
        """The line, without its newline, of the record of the key written as `key`."""
        line = f"{self.tag}\t{key}\t{value[:DIGEST_SIZE_BYTES].hex()}"
        return f"{line}\t{value[DIGEST_SIZE_BYTES:].decode()}" if self.columns == 3 else line

    def parse(self, data: bytes, prefix: str, where: str) -> Records:
        """The records of the file at hash `prefix`; lines may stand in any order.

        Raises
        ------
        FormatError
            A malformed, foreign, misplaced, duplicate or missing line; names file and line.
        """
        anchors = {prefix + suffix for suffix in _bucket_suffixes(self.fanout)}
        records = self._parse_fast(data, anchors)
        return self._parse_slowly(data, prefix, where) if records is None else records

    def _parse_fast(self, data: bytes, anchors: AbstractSet[str]) -> Records | None:
        """The records of well-formed lines; None for `_parse_slowly` to say what is wrong."""
        found = _fast_pattern(self).findall(data.decode("ascii", "replace"))
        rows = [row for row in found if row[0]]
        if len(rows) != len(found) and {row[-1] for row in found if not row[0]} != anchors:
            return None
        digests = "".join([row[1] for row in rows])
        # The pattern skips what it does not match: only when every byte is accounted for, every
        # digest is in hex, every key is new and every anchor there, was the file well-formed.
        size = sum([len(row[0]) + len(row[-2]) for row in rows]) + len(digests)
        size += len(rows) * (len(self.tag) + self.columns + 1)
        size += len(anchors) * (len(self.tag) + _BUCKET_DIGITS + 3)
        if size != len(data) or len(found) != len(rows) + len(anchors):
            return None
        try:
            raw = bytes.fromhex(digests)
        except ValueError:
            return None
        step = DIGEST_SIZE_BYTES
        values = [raw[i : i + step] for i in range(0, len(raw), step)]
        if self.columns == 3:
            values = [v + row[2].encode() for v, row in zip(values, rows, strict=True)]
        if self.nested:
            keys: list[SampleKey] = [parse_key_text(row[0]) for row in rows]
        else:
            keys = [int(row[0][1:]) if row[0][0] == "#" else row[0] for row in rows]
        records = dict(zip(keys, values, strict=True))
        return records if raw.hex() == digests and len(records) == len(rows) else None

    def _parse_slowly(self, data: bytes, prefix: str, where: str) -> Records:
        """As `parse`, line by line, so that an error can say where it is."""
        if data and not data.endswith(b"\n"):
            raise FormatError(f"{where}: the last line is cut off")
        anchors = {f"@{prefix}{suffix}" for suffix in _bucket_suffixes(self.fanout)}
        records: Records = {}
        for number, raw in enumerate(data.split(b"\n")[:-1], 1):
            try:
                self._parse_line(raw, prefix, anchors, records)
            except ValueError as error:
                raise FormatError(f"{where}: line {number}: {error}") from error
        if anchors:
            raise FormatError(f"{where}: anchor {min(anchors)!r} is missing")
        return records

    def parse_lines(self, lines: Collection[bytes]) -> Records:
        """The records of some lines; ValueError if one is malformed, or an anchor."""
        records = self._parse_fast(b"\n".join(lines) + b"\n", frozenset()) if lines else {}
        if records is None:
            raise ValueError("a malformed line")
        return records

    def _parse_line(self, raw: bytes, prefix: str, anchors: set[str], records: Records) -> None:
        """Take one line into `records`, or one anchor out of those still expected."""
        if raw.startswith((b"<<<<<<<", b"|||||||", b"=======", b">>>>>>>")):
            raise ValueError("a conflict marker; settle the merge that left it, or abort it")
        tag, *columns = raw.decode("ascii", "replace").split("\t")
        if tag != self.tag:
            raise ValueError(f"begins with {tag[:20]!r}, not {self.tag!r}")
        if columns and columns[0].startswith("@"):
            if len(columns) != 1 or columns[0] not in anchors:
                raise ValueError(f"a foreign or duplicate anchor {columns[0][:20]!r}")
            anchors.remove(columns[0])
            return
        key, value = self._record(columns)
        if key in records:
            raise ValueError(f"a second record of key {key!r}")
        if self.prefix_of(key) != prefix:
            raise ValueError(f"key {key!r} belongs in another record file")
        records[key] = value

    def _record(self, columns: list[str]) -> tuple[SampleKey, RecordValue]:
        if len(columns) != self.columns:
            raise ValueError(f"{len(columns) + 1} columns, not {self.columns + 1}")
        key = parse_key_text(columns[0])
        if isinstance(key, tuple) != self.nested:
            raise ValueError(f"key {columns[0][:80]!r} is {'no' if self.nested else 'a'} pair")
        if not re.fullmatch(r"[0-9a-f]{64}", columns[1]):
            raise ValueError(f"malformed digest {columns[1][:80]!r}")
        value = bytes.fromhex(columns[1])
        if self.columns == 3:
            if not re.fullmatch(_BYTES if self.counts_bytes else _SHAPE, columns[2]):
                raise ValueError(f"malformed shape {columns[2][:80]!r}")
            value += columns[2].encode()
        return key, value


def record_value(schema: Schema, digest: Digest, array: NDArray[Any]) -> RecordValue:
    """The record of a sample of arrayset schema `schema`."""
    if not schema.variable_shape:
        return digest
    return digest + ",".join(map(str, array.shape)).encode()


def edited(records: Records, edits: Mapping[SampleKey, RecordValue | None]) -> Records:
    """`records`, changed in place: new values set, None removed."""
    for key, value in edits.items():
        if value is None:
            records.pop(key, None)
        else:
            records[key] = value
    return records


def place(text: str) -> bytes:
    """8 bytes that order and place the record of the key written as `text`.

    Nested samples of one outer key lie together.
    """
    return key_hash(text.partition("/")[0])


@cache
def _bucket_suffixes(fanout: int) -> tuple[str, ...]:
    """What follows a file's hash prefix in the names of its buckets; none where files suffice."""
    digits = _BUCKET_DIGITS - file_digits(fanout)
    return tuple(f"{number:0{digits}x}" for number in range(16**digits)) if digits > 0 else ()


_SHAPE = r"(?:[1-9][0-9]*(?:,[1-9][0-9]*)*)?"
_BYTES = r"(?:0|[1-9][0-9]*)"


@cache
def _fast_pattern(form: RecordFormat) -> re.Pattern[str]:
    # Digests are checked all at once: a class of 64 characters takes twice the time of any 64.
    key = r"(?:#(?:0|[1-9][0-9]{0,17})|[A-Za-z0-9._-]{1,255})"
    if form.nested:
        key += "/" + key
    third = rf"\t({_BYTES if form.counts_bytes else _SHAPE})" if form.columns == 3 else "()"
    anchor = rf"@([0-9a-f]{{{_BUCKET_DIGITS}}})"
    return re.compile(rf"{form.tag}\t(?:({key})\t(.{{64}}){third}|{anchor})\n")


def shape_of(value: RecordValue) -> tuple[int, ...]:
    """The shape that the record of a sample of varying shape states."""
    text = value[DIGEST_SIZE_BYTES:].decode()
    return tuple(map(int, text.split(","))) if text else ()
