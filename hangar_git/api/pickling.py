"""Readers of arraysets pickle as what they read: a repository's path and the oid of records.

One of a streaming checkout can be unpickled where the repository is not: it has no records there,
but whoever brings them, as views and loaders do, reads samples from the remote.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import FormatError
from ..records.counts import RecordCounts
from ..records.gitrepo import GitRepository, Oid
from ..records.recordfile import Records
from ..records.snapshot import ArraysetRecords
from ..schema import Schema
from ..staging.layout import Layout
from ..store.store import Store

_opened: dict[str, tuple[GitRepository, Store]] = {}
"""Repositories that readers were unpickled for in this process, which share them."""


def pickled(aset: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What `copyreg` makes of an arrayset of a reader checkout."""
    records: ArraysetRecords = aset._base
    return unpickled, (
        type(aset),
        str(records.git.git_dir),
        records.name,
        records.schema.to_json(),
        str(records.records_oid),
        aset._store if aset._store.streams else None,
    )


def unpickled(
    kind: type[Any], git_dir: str, name: str, schema: str, oid: str, streamed: Store | None
) -> Any:
    """The arrayset that was pickled.

    Raises
    ------
    FormatError
        Its repository is not where it was.
    """
    parsed = Schema.from_json(schema + "\n", f"pickled arrayset {name!r}")
    if git_dir not in _opened:
        if not Path(git_dir).is_dir():
            records = _RecordsElsewhere(name, parsed, Oid(hex=oid), git_dir)
            if streamed is not None:
                return kind(records, streamed)
            raise records.not_there()
        git = GitRepository(Path(git_dir))
        _opened[git_dir] = git, Store(Layout.of(git).root, writable=False)
    git, store = _opened[git_dir]
    counts = RecordCounts(Layout.of(git).counts)
    return kind(ArraysetRecords(git, name, parsed, Oid(hex=oid), counts), streamed or store)


class _RecordsElsewhere(ArraysetRecords):
    """Records of a repository that is not on this machine."""

    def __init__(self, name: str, schema: Schema, records: Oid, git_dir: str) -> None:
        super().__init__(None, name, schema, records, None)
        self._git_dir = git_dir

    def read_file(self, prefix: str) -> Records:  # noqa: ARG002
        raise self.not_there()

    def count(self) -> int:
        raise self.not_there()

    def not_there(self) -> FormatError:
        return FormatError(f"{self._git_dir}: the repository of a pickled arrayset is not there")
