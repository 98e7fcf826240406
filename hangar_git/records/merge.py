"""Three-way merge of snapshots: by sample, by metadata key and by schema, without array data.

The result is a set of edits to our side, and the conflicts. Whatever both sides changed to
different values is a conflict, so that nothing is lost without a choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from ..keys import SampleKey, key_order, key_text
from ..schema import FANOUTS, Schema
from .diff import ArraysetChange, changed_arraysets, changed_metadata
from .edits import ArraysetEdits, Edits
from .gitrepo import Oid
from .recordlines import ValueChange
from .snapshot import Snapshot

V = TypeVar("V")
Kind: TypeAlias = Literal["t1", "t21", "t22", "t3"]
"""``t1`` added on both sides; ``t21`` removed by us, changed by them; ``t22`` changed by us,
removed by them; ``t3`` changed on both sides - each time to different values."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """One thing that both sides changed to different values.

    Parameters
    ----------
    kind
        How it came about.
    arrayset, key
        Which: a sample has both; an arrayset's schema has no key; metadata has no arrayset; a
        file of ``.hangar/`` itself has neither, and stands in `reason`.
    base, ours, theirs
        Its values: a `Schema`, a record value, a text, or a blob; None where there is none.
    reason
        What is wrong, where that is not plain.
    """

    kind: Kind
    arrayset: str | None
    key: SampleKey | None
    base: Any
    ours: Any
    theirs: Any
    reason: str = ""

    def __str__(self) -> str:
        what = {
            "t1": "added on both sides",
            "t21": "removed on our side, changed on theirs",
            "t22": "changed on our side, removed on theirs",
            "t3": "changed on both sides",
        }[self.kind]
        if self.arrayset is None and self.key is None:
            return self.reason
        if self.arrayset is None:
            place = f"metadata {self.key!r}"
        elif self.key is None:
            place = f"arrayset {self.arrayset!r}"
        else:
            place = f"arrayset {self.arrayset!r}, sample {self.key!r}"
        return f"{place}: {self.reason or what}"


@dataclass(frozen=True, slots=True)
class Settled(Generic[V]):
    """What settles a conflict.

    Parameters
    ----------
    value
        The value to take; None removes what the conflict is about.
    side
        Whose it is, if that was chosen: arraysets of one schema can hold other samples.
    """

    value: V | None
    side: Literal["ours", "theirs", "base"] | None = None


Resolver: TypeAlias = Callable[[Conflict], Settled[Any] | None]
"""Settles a conflict, or returns None to leave it."""


@dataclass(slots=True)
class Merge:
    """What a merge came to.

    Parameters
    ----------
    edits
        To our side.
    conflicts
        What nobody settled.
    """

    edits: Edits = field(default_factory=Edits)
    conflicts: list[Conflict] = field(default_factory=list)


def unresolved(_: Conflict) -> None:
    """The resolver that settles nothing."""


def merge_snapshots(
    base: Snapshot,
    ours: Snapshot,
    theirs: Snapshot,
    resolve: Resolver = unresolved,
    disputed: Iterable[tuple[str | None, SampleKey | None]] = (),
) -> Merge:
    """Merge `theirs` into `ours`.

    Parameters
    ----------
    base
        What both sides started from.
    resolve
        Asked about every conflict.
    disputed
        Arrayset and key of what the base does not really know, because its own makers conflicted
        there; where the sides differ it is a conflict.
    """
    return _Merger(base, ours, theirs, resolve, frozenset(disputed)).run()


class _Merger:
    def __init__(
        self,
        base: Snapshot,
        ours: Snapshot,
        theirs: Snapshot,
        resolve: Resolver,
        disputed: frozenset[tuple[str | None, SampleKey | None]],
    ) -> None:
        self._base, self._ours, self._theirs = base, ours, theirs
        self._resolve = resolve
        self._disputed = disputed
        self._result = Merge()

    def run(self) -> Merge:
        ours = {change.name: change for change in changed_arraysets(self._base, self._ours)}
        theirs = {change.name: change for change in changed_arraysets(self._base, self._theirs)}
        disputed = {name for name, _ in self._disputed if name is not None}
        for name in sorted(theirs.keys() | disputed):
            change = theirs.get(name) or self._unchanged(name)
            if name not in ours and name not in disputed:
                self._take(name, self._theirs)
            elif self._ours.arrayset_trees.get(name) != self._theirs.arrayset_trees.get(name):
                self._both_changed(name, ours.get(name) or self._unchanged(name), change)
        self._metadata()
        self._files()
        self._case_twins()
        self._result.conflicts.sort(key=_conflict_order)
        return self._result

    def _settle(self, conflict: Conflict) -> Settled[Any] | None:
        settled = self._resolve(conflict)
        if settled is None:
            self._result.conflicts.append(conflict)
        return settled

    # -- arraysets -----------------------------------------------------------------------------

    def _unchanged(self, name: str) -> ArraysetChange:
        records = self._base.arrayset(name) if name in self._base.arrayset_trees else None
        return ArraysetChange(name, records, records)

    def _take(self, name: str, side: Snapshot) -> None:
        """Take the whole arrayset, or its absence, from `side`."""
        entry = side.arrayset_trees.get(name)
        if entry is None:
            self._result.edits.arraysets[name] = None
        else:
            self._result.edits.grafts[name] = entry.oid

    def _both_changed(self, name: str, ours: ArraysetChange, theirs: ArraysetChange) -> None:
        base, our, their = (
            _comparable(schema)
            for schema in (theirs.schemas[0], ours.schemas[1], theirs.schemas[1])
        )
        disputed = {key for arrayset, key in self._disputed if arrayset == name}
        if (
            our is None
            or their is None
            or None in disputed
            or _incompatible(name, base, our, their)
        ):
            kind, reason = _schema_conflict(base, our, their)
            settled = self._settle(Conflict(kind, name, None, base, our, their, reason))
            if settled is not None:
                value = settled.value
                side = settled.side or (
                    "theirs" if value == their else "ours" if value == our else "base"
                )
                if side != "ours":
                    self._take(name, self._theirs if side == "theirs" else self._base)
            return
        schema = _merged_schema(base, our, their)
        if schema is None:
            settled = self._settle(Conflict("t3", name, None, base, our, their))
            schema = settled.value if settled is not None and settled.value is not None else our
        edits = ArraysetEdits(schema=schema if schema != our else None)
        changed_by_us = ours.samples
        for key in theirs.samples.keys() | {key for key in disputed if key is not None}:
            before, after = theirs.samples.get(key) or self._base_twice(name, key)
            changed = key in changed_by_us
            mine = changed_by_us[key][1] if changed else before
            if mine != after:
                self._value(edits.values, name, key, (before, mine, after), changed=changed)
        if edits.schema is not None or edits.values:
            self._result.edits.arraysets[name] = edits

    def _base_twice(self, name: str, key: SampleKey) -> ValueChange:
        value = self._base.arrayset(name).get(key) if name in self._base.arrayset_trees else None
        return value, value

    # -- values --------------------------------------------------------------------------------

    def _value(
        self,
        edits: dict[SampleKey, V | None],
        arrayset: str | None,
        key: SampleKey,
        values: tuple[V | None, V | None, V | None],
        *,
        changed: bool,
    ) -> None:
        """Merge one value that differs between the sides; `changed`: our side changed it, too."""
        base, ours, theirs = values
        if not changed and (arrayset, key) not in self._disputed:
            edits[key] = theirs
            return
        settled = self._settle(
            Conflict(_kind(base, ours, theirs), arrayset, key, base, ours, theirs)
        )
        if settled is not None and settled.value != ours:
            edits[key] = settled.value

    def _metadata(self) -> None:
        ours = changed_metadata(self._base, self._ours)
        theirs = changed_metadata(self._base, self._theirs)
        edits = self._result.edits.metadata
        disputed = {key for name, key in self._disputed if name is None and key is not None}
        for key in theirs.keys() | disputed:
            before, after = theirs.get(key) or self._metadata_twice(key)
            mine = ours[key][1] if key in ours else before
            if mine != after:
                self._value(edits, None, key, (before, mine, after), changed=key in ours)

    def _metadata_twice(self, key: SampleKey) -> tuple[str | None, str | None]:
        value = self._base.metadata(key) if key in self._base.metadata_files else None
        return value, value

    def _files(self) -> None:
        base, ours, theirs = self._base.files, self._ours.files, self._theirs.files
        for name, their in theirs.items():
            old, our = base.get(name), ours.get(name)
            if their in (old, our):
                continue
            value: Oid | None = their
            if our != old:
                reason = f".hangar/{name} changed on both sides"
                settled = self._settle(Conflict("t3", None, None, old, our, their, reason))
                value = settled.value if settled is not None else our
            if value is not None and value != our:
                self._result.edits.files[name] = value

    # -- names that differ by case only ----------------------------------------------------------

    def _case_twins(self) -> None:
        edits = self._result.edits
        new = [name for name in edits.grafts if name not in self._ours.arrayset_trees]
        for name in new:
            twin = _twin(name, self._ours.arrayset_trees, edits.arraysets)
            if twin is not None:
                self._twin_conflict(name, twin)
        texts = {key_text(key): key for key in self._ours.metadata_files}
        gone = {key_text(key): value for key, value in edits.metadata.items()}
        for key, value in list(edits.metadata.items()):
            twin = _twin(key_text(key), texts, gone) if value is not None else None
            if twin is not None and key not in self._ours.metadata_files:
                reason = f"differs from {texts[twin]!r} on our side by case only"
                settled = self._settle(Conflict("t1", None, key, None, None, value, reason))
                if settled is not None and settled.value == value:
                    edits.metadata[texts[twin]] = None
                else:
                    del edits.metadata[key]

    def _twin_conflict(self, name: str, twin: str) -> None:
        edits = self._result.edits
        ours, theirs = self._ours.arrayset(twin).schema, self._theirs.arrayset(name).schema
        reason = f"differs from {twin!r} on our side by case only"
        settled = self._settle(Conflict("t1", name, None, None, ours, theirs, reason))
        if settled is not None and settled.value == theirs:
            edits.arraysets[twin] = None
        else:
            del edits.grafts[name]


def _conflict_order(conflict: Conflict) -> tuple[str, bool, tuple[bool, SampleKey]]:
    key = conflict.key
    return conflict.arrayset or "", key is not None, key_order(key if key is not None else "")


def _twin(name: str, ours: Iterable[str], edits: Mapping[str, object]) -> str | None:
    """The name among `ours`, as left by `edits`, that differs from `name` by case only."""
    for other in ours:
        if other != name and other.lower() == name.lower() and edits.get(other, True) is not None:
            return other
    return None


def _kind(base: object, ours: object, theirs: object) -> Kind:
    if base is None:
        return "t1"
    if ours is None:
        return "t21"
    return "t22" if theirs is None else "t3"


def _comparable(schema: Schema | None) -> Schema | None:
    """A schema without its fan-out, which follows the number of records."""
    return replace(schema, fanout=FANOUTS[0]) if schema is not None else None


def _incompatible(
    name: str, base: Schema | None, ours: Schema | None, theirs: Schema | None
) -> bool:
    """Whether samples of the two sides cannot lie in one arrayset."""
    if ours is None or theirs is None or ours.tag(name) != theirs.tag(name):
        return True
    return base is None and ours != theirs


def _schema_conflict(
    base: Schema | None, ours: Schema | None, theirs: Schema | None
) -> tuple[Kind, str]:
    kind = _kind(base, ours, theirs)
    if kind == "t3" and base in (ours, theirs):
        side, other = ("our", "their") if theirs == base else ("their", "our")
        return kind, f"its schema changed on {side} side, and samples of the old one on {other}s"
    return kind, ""


def _merged_schema(base: Schema | None, ours: Schema, theirs: Schema) -> Schema | None:
    """The schema that takes the changes of both sides; None if they disagree."""
    if theirs in (base, ours):
        return ours
    return theirs if ours == base else None
