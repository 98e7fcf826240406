"""What differs between two snapshots. Equal subtrees and record files are never read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from ..errors import FormatError
from ..keys import SampleKey
from ..schema import Schema
from .gitrepo import changed_files
from .recordlines import ValueChange, changed_records, compared
from .snapshot import ArraysetRecords, Snapshot


class ArraysetChange:
    """An arrayset that differs.

    Parameters
    ----------
    name
        Its name.
    before, after
        Its records; None where it does not exist.
    """

    def __init__(
        self, name: str, before: ArraysetRecords | None, after: ArraysetRecords | None
    ) -> None:
        self.name = name
        self.before = before
        self.after = after

    @property
    def schemas(self) -> tuple[Schema | None, Schema | None]:
        """Its schema before and after."""
        before, after = self.before, self.after
        return before.schema if before else None, after.schema if after else None

    @cached_property
    def samples(self) -> dict[SampleKey, ValueChange]:
        """Records before and after of every sample that differs, or came or went."""
        old, new = self.before, self.after
        if old is None or new is None or old.format != new.format:
            return compared(old.load_all() if old else {}, new.load_all() if new else {})
        changes: dict[SampleKey, ValueChange] = {}
        where = f".hangar/arraysets/{self.name}/records/"
        for path, before, after in changed_files(old.git, old.records_oid, new.records_oid):
            if before is None or after is None:
                raise FormatError(f"{where}{path}: this record file is missing on one side")
            prefix = "".join(path.split("/")[1:])
            one, two = old.git.read_blob(before), old.git.read_blob(after)
            changes |= changed_records(old.format, one, two, prefix, where + path)
        return changes


def changed_arraysets(before: Snapshot, after: Snapshot) -> Iterator[ArraysetChange]:
    """The arraysets that differ, by name."""
    old, new = before.arrayset_trees, after.arrayset_trees
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield ArraysetChange(
                name,
                before.arrayset(name) if name in old else None,
                after.arrayset(name) if name in new else None,
            )


def changed_metadata(
    before: Snapshot, after: Snapshot
) -> dict[SampleKey, tuple[str | None, str | None]]:
    """Values before and after of every piece of metadata that differs, or came or went."""
    old, new = before.metadata_files, after.metadata_files
    return {
        key: (
            before.metadata(key) if key in old else None,
            after.metadata(key) if key in new else None,
        )
        for key in old.keys() | new.keys()
        if old.get(key) != new.get(key)
    }
