"""Edits to a snapshot, and the record tree that comes of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pygit2.enums import FileMode

from ..config import Config
from ..errors import InvalidInputError
from ..keys import SampleKey, key_text
from ..schema import Schema
from .gitrepo import Change, Fresh, ObjectWriter, Oid, TreeEntry, edit_tree
from .recordfile import (
    RecordFormat,
    Records,
    RecordValue,
    edited,
    fanout_for,
    file_paths,
    raised_fanout,
)
from .recordlines import edited_file
from .snapshot import ArraysetRecords, Snapshot, metadata_text

GIT_ATTRIBUTES = """\
* -text -eol -filter -ident -working-tree-encoding
arraysets/*/records/** merge=hangar diff=hangar
"""
"""Committed beside the records, so that no setting of a user changes their bytes."""


@dataclass(slots=True)
class ArraysetEdits:
    """Edits to one arrayset.

    Parameters
    ----------
    schema
        The arrayset's new schema, or None to keep it.
    fresh
        The arrayset is created, perhaps in place of one removed: former records do not count.
    values
        New record of each key set, None for each key removed.
    """

    schema: Schema | None = None
    fresh: bool = False
    values: dict[SampleKey, RecordValue | None] = field(default_factory=dict)


@dataclass(slots=True)
class Edits:
    """Edits to a snapshot.

    Parameters
    ----------
    arraysets, metadata
        By name and key; None stands for one that is removed.
    grafts
        Arraysets taken whole from another commit: name -> tree.
    files
        Files of ``.hangar/`` itself taken from another commit: name -> blob.
    """

    arraysets: dict[str, ArraysetEdits | None] = field(default_factory=dict)
    metadata: dict[SampleKey, str | None] = field(default_factory=dict)
    grafts: dict[str, Oid] = field(default_factory=dict)
    files: dict[str, Oid] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.arraysets or self.metadata or self.grafts or self.files)

    def copy(self) -> Edits:
        """These edits as they are now; later ones do not show in it."""
        arraysets = {
            name: edits and replace(edits, values=dict(edits.values))
            for name, edits in self.arraysets.items()
        }
        return Edits(arraysets, dict(self.metadata))

    def effective(self, base: Snapshot) -> Edits:
        """These edits without those that change nothing in `base`."""
        arraysets: dict[str, ArraysetEdits | None] = {}
        for name, edits in self.arraysets.items():
            if name not in base.arrayset_trees:
                if edits is not None:
                    arraysets[name] = edits
            elif edits is None:
                arraysets[name] = None
            elif (left := _effective(edits, base.arrayset(name))) is not None:
                arraysets[name] = left
        metadata = {
            key: value
            for key, value in self.metadata.items()
            if (base.metadata(key) if key in base.metadata_files else None) != value
        }
        grafts = {
            name: oid
            for name, oid in self.grafts.items()
            if name not in base.arrayset_trees or base.arrayset_trees[name].oid != oid
        }
        files = {name: oid for name, oid in self.files.items() if base.files.get(name) != oid}
        return Edits(arraysets, metadata, grafts, files)


def _effective(edits: ArraysetEdits, old: ArraysetRecords) -> ArraysetEdits | None:
    schema = edits.schema and replace(edits.schema, fanout=old.schema.fanout)
    if schema == old.schema:
        schema = None
    if edits.fresh:
        if schema is None and edits.values == old.load_all():
            return None
        return edits
    values = {key: value for key, value in edits.values.items() if old.get(key) != value}
    return ArraysetEdits(schema, False, values) if schema or values else None


class BuiltTree(NamedTuple):
    """A ``.hangar`` tree, and the number of records in each arrayset that was edited."""

    oid: Oid
    counts: dict[str, int]


def build_tree(base: Snapshot, edits: Edits, writer: ObjectWriter) -> BuiltTree:
    """The ``.hangar`` tree of `base` with `edits` made, taken in by `writer`.

    Raises
    ------
    InvalidInputError
        Two names would differ by case only.
    """
    base.config.check_writable()
    _refuse_case_twins("arrayset", set(base.arrayset_trees), {**edits.arraysets, **edits.grafts})
    _refuse_case_twins(
        "metadata key",
        {key_text(key) for key in base.metadata_files},
        {key_text(key): value for key, value in edits.metadata.items()},
    )
    changes: dict[str, Change] = {}
    if base.tree is None:
        changes["config"] = writer.blob(Config().to_text().encode())
        changes[".gitattributes"] = writer.blob(GIT_ATTRIBUTES.encode())
    changes.update(edits.files)
    counts: dict[str, int] = {}
    arraysets: dict[str, Change] = {}
    for name, one in edits.arraysets.items():
        if one is None:
            arraysets[name] = None
        else:
            arraysets[name], counts[name] = _arrayset_changes(base, name, one, writer)
    for name, oid in edits.grafts.items():
        arraysets[name] = TreeEntry(FileMode.TREE, oid)
    if arraysets:
        changes["arraysets"] = arraysets
    if edits.metadata:
        changes["metadata"] = {
            f"{key_text(key)}.json": None
            if value is None
            else writer.blob(metadata_text(key, value).encode())
            for key, value in edits.metadata.items()
        }
    tree = edit_tree(base.git, writer, base.tree, changes)
    assert tree is not None  # .hangar always holds its config
    return BuiltTree(tree, counts)


def _refuse_case_twins(what: str, old: set[str], edits: Mapping[str, object]) -> None:
    names = (old - {name for name, new in edits.items() if new is None}) | {
        name for name, new in edits.items() if new is not None
    }
    seen: dict[str, str] = {}
    for name in sorted(names):
        twin = seen.setdefault(name.lower(), name)
        # A pair that is there already may stay: readers open it, and fsck reports it.
        if twin != name and not {name, twin} <= old:
            raise InvalidInputError(f"{what} {name!r} differs from {twin!r} by case only")


def _arrayset_changes(
    base: Snapshot, name: str, edits: ArraysetEdits, writer: ObjectWriter
) -> tuple[dict[str, Change], int]:
    old = base.arrayset(name) if name in base.arrayset_trees and not edits.fresh else None
    if old is None:
        assert edits.schema is not None
        records = {key: value for key, value in edits.values.items() if value is not None}
        schema = replace(edits.schema, fanout=fanout_for(len(records)))
        return _all_files(name, schema, records, writer)
    schema = replace(edits.schema or old.schema, fanout=old.schema.fanout)
    if schema.tag(name) != old.schema.tag(name):
        return _all_files(name, schema, edited(dict(old.load_all()), edits.values), writer)
    files, grown = _touched_files(old, edits.values) if edits.values else ({}, 0)
    count = old.count() + grown
    fanout = raised_fanout(schema.fanout, count)
    if fanout != schema.fanout:
        records = edited(dict(old.load_all()), edits.values)
        return _all_files(name, replace(schema, fanout=fanout), records, writer)
    changes: dict[str, Change] = {}
    if schema != old.schema:
        changes["schema.json"] = _schema_blob(schema, writer)
    if files:
        changes["records"] = _nested(schema.fanout, files, writer)
    return changes, count


def _touched_files(
    old: ArraysetRecords, values: dict[SampleKey, RecordValue | None]
) -> tuple[dict[str, bytes], int]:
    """The files that `values` touch, edited, by hash prefix; and by how many records they grew."""
    by_file: defaultdict[str, dict[SampleKey, RecordValue | None]] = defaultdict(dict)
    for key, value in values.items():
        by_file[old.format.prefix_of(key)][key] = value
    files, grown = {}, 0
    for prefix, part in by_file.items():
        text, where = old.file_text(prefix)
        files[prefix], more = edited_file(old.format, text, prefix, part, where)
        grown += more
    return files, grown


def _all_files(
    name: str, schema: Schema, records: Records, writer: ObjectWriter
) -> tuple[dict[str, Change], int]:
    """A whole arrayset, written anew; and its number of records."""
    form = RecordFormat.of(name, schema)
    placed: dict[str, Records] = {prefix: {} for prefix in file_paths(schema.fanout)}
    for key, value in records.items():
        placed[form.prefix_of(key)][key] = value
    files = ((prefix, form.serialise(prefix, part)) for prefix, part in placed.items())
    schema_json = _schema_blob(schema, writer)
    changes: dict[str, Change] = {
        "schema.json": schema_json,
        "records": Fresh(_nested(schema.fanout, files, writer)),
    }
    return Fresh(changes), len(records)


def _schema_blob(schema: Schema, writer: ObjectWriter) -> Oid:
    return writer.blob(schema.to_json().encode() + b"\n")


def _nested(
    fanout: int, files: Mapping[str, bytes] | Iterable[tuple[str, bytes]], writer: ObjectWriter
) -> dict[str, Change]:
    """Record files, by hash prefix, as changes below ``records/``."""
    changes: dict[str, Change] = {}
    paths = file_paths(fanout)
    for prefix, text in files.items() if isinstance(files, Mapping) else files:
        *directories, leaf = paths[prefix].split("/")
        level = changes
        for directory in directories:
            level = level.setdefault(directory, {})  # type: ignore[assignment]
        level[leaf] = writer.blob(text)
    return changes
