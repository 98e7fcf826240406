"""Staged changes, told as what they do to the base: for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..keys import SampleKey, sorted_keys
from ..records.edits import ArraysetEdits
from ..records.snapshot import Snapshot
from ..staging.staged import Staged
from .output import counted


@dataclass(slots=True)
class KeyChanges:
    """Names of samples, or of metadata, by what happens to them."""

    added: list[SampleKey] = field(default_factory=list)
    changed: list[SampleKey] = field(default_factory=list)
    removed: list[SampleKey] = field(default_factory=list)

    def put(self, key: SampleKey, before: object, after: object) -> None:
        """Take in one name, whose value was `before` (None: it was not there)."""
        if before is None:
            self.added.append(key)
        elif after is None:
            self.removed.append(key)
        elif before != after:
            self.changed.append(key)

    def to_json(self) -> dict[str, list[SampleKey]]:
        """Lists of names: integers by value, then strings by text."""
        return {
            "added": sorted_keys(self.added),
            "mutated": sorted_keys(self.changed),
            "deleted": sorted_keys(self.removed),
        }

    def __str__(self) -> str:
        parts = ((self.added, "added"), (self.changed, "changed"), (self.removed, "removed"))
        return ", ".join(f"{len(keys):,} {what}" for keys, what in parts if keys)


@dataclass(slots=True)
class ArraysetChange:
    """What happens to one arrayset: ``new``, ``removed``, ``replaced`` or ``changed``."""

    name: str
    what: str
    samples: KeyChanges
    schema_changed: bool = False

    def __str__(self) -> str:
        if self.what in ("new", "removed"):
            return counted(len(self.samples.added) + len(self.samples.removed), "sample")
        parts = [str(self.samples)] if str(self.samples) else []
        if self.schema_changed:
            parts.append("other backend")
        return ", ".join(parts)


def arrayset_changes(staged: Staged) -> list[ArraysetChange]:
    """What the staged edits do to each arrayset that they change, by name."""
    edits = staged.edits.arraysets
    return [_arrayset_change(name, edits[name], staged.base) for name in sorted(edits)]


def _arrayset_change(name: str, edits: ArraysetEdits | None, base: Snapshot) -> ArraysetChange:
    old = base.arrayset(name) if name in base.arrayset_trees else None
    samples = KeyChanges()
    if edits is None or edits.fresh:
        before = old.load_all() if old is not None else {}
        after = edits.values if edits is not None else {}
        for key in before.keys() | after.keys():
            samples.put(key, before.get(key), after.get(key))
        what = "removed" if edits is None else "new" if old is None else "replaced"
        return ArraysetChange(name, what, samples)
    assert old is not None  # edits that are not fresh are to something
    for key, value in edits.values.items():
        samples.put(key, old.get(key), value)
    return ArraysetChange(name, "changed", samples, edits.schema is not None)


def metadata_changes(staged: Staged) -> KeyChanges:
    """What the staged edits do to metadata."""
    changes = KeyChanges()
    base = staged.base
    for key, value in staged.edits.metadata.items():
        before = base.metadata(key) if key in base.metadata_files else None
        changes.put(key, before, value)
    return changes


def change_lines(staged: Staged) -> Iterator[str]:
    """One line for each arrayset that changes, and one for metadata."""
    rows = [(f"{one.what} arrayset", f"{one.name}: {one}") for one in arrayset_changes(staged)]
    if metadata := str(metadata_changes(staged)):
        rows.append(("metadata", metadata))
    width = max((len(what) for what, _ in rows), default=0)
    return (f"{what:{width}}  {text}" for what, text in rows)


def changes_json(staged: Staged) -> dict[str, Any]:
    """All changes, with the names of all samples."""
    return {
        "arraysets": {
            one.name: {
                "change": one.what,
                "schema_changed": one.schema_changed,
                "samples": one.samples.to_json(),
            }
            for one in arrayset_changes(staged)
        },
        "metadata": metadata_changes(staged).to_json(),
    }
