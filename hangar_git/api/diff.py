"""Differences as users see them: nested named tuples, as Hangar shapes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..digest import DIGEST_SIZE_BYTES
from ..errors import RevisionNotFoundError
from ..keys import SampleKey
from ..records import refs
from ..records.diff import changed_arraysets, changed_metadata
from ..records.edits import build_tree
from ..records.gitrepo import GitRepository, ObjectWriter, Oid, blob_oid
from ..records.merge import Conflict, merge_snapshots
from ..records.mergecommits import SnapshotOf, merge_base_snapshot
from ..records.recordfile import RecordValue
from ..records.snapshot import Snapshot, metadata_text
from ..schema import Schema
from ..staging.session import WriteSession
from ..store.backends import Storage
from .handles import Handle


class MetadataRecordKey(NamedTuple):
    """A piece of metadata."""

    meta_name: SampleKey


class MetadataRecordVal(NamedTuple):
    """Its value: the hash of what is committed for it."""

    meta_hash: str


class RawDataRecordKey(NamedTuple):
    """A sample."""

    aset_name: str
    data_name: SampleKey


class RawDataRecordVal(NamedTuple):
    """Its value: the digest of its data, in hex."""

    data_hash: str


class RawArraysetSchemaVal(NamedTuple):
    """The schema of an arrayset."""

    schema_hash: str
    schema_dtype: str
    schema_is_var: bool
    schema_max_shape: tuple[int, ...]
    schema_is_named: bool
    schema_default_backend: str


class Changes(NamedTuple):
    """Things by what they are: arraysets by name, samples and metadata by record key."""

    schema: dict[str, RawArraysetSchemaVal]
    samples: dict[RawDataRecordKey, RawDataRecordVal]
    metadata: dict[MetadataRecordKey, MetadataRecordVal]


class Diff(NamedTuple):
    """What was added, deleted and mutated; values are the later ones, of what is gone the last."""

    added: Changes
    deleted: Changes
    mutated: Changes


class Conflicts(NamedTuple):
    """What a merge could not decide.

    ``t1``: added in both with different values; ``t21``: removed in master, mutated in dev;
    ``t22``: mutated in master, removed in dev; ``t3``: mutated in both to different values.
    Values are those of dev or, where it has none, of master.
    """

    t1: Changes
    t21: Changes
    t22: Changes
    t3: Changes
    conflict: bool


class DiffAndConflicts(NamedTuple):
    """A difference, and the conflicts that merging it would meet."""

    diff: Diff
    conflict: Conflicts


def _changes() -> Changes:
    return Changes({}, {}, {})


def _schema(schema: Schema) -> RawArraysetSchemaVal:
    return RawArraysetSchemaVal(
        schema.hash,
        str(schema.dtype),
        schema.variable_shape,
        schema.shape,
        schema.named_samples,
        Storage.of(schema).backend.code,
    )


def _sample(value: RecordValue) -> RawDataRecordVal:
    return RawDataRecordVal(value[:DIGEST_SIZE_BYTES].hex())


def _metadata(key: SampleKey, value: str) -> MetadataRecordVal:
    return MetadataRecordVal(blob_oid(metadata_text(key, value).encode()))


def snapshot_diff(before: Snapshot, after: Snapshot) -> Diff:
    """What differs between two snapshots."""
    diff = Diff(_changes(), _changes(), _changes())

    def side(old: object, new: object) -> Changes:
        return diff.added if old is None else diff.deleted if new is None else diff.mutated

    for change in changed_arraysets(before, after):
        old, new = change.schemas
        if old is None or new is None or old.hash != new.hash:
            side(old, new).schema[change.name] = _schema(new or old)  # type: ignore[arg-type]
        for key, (one, two) in change.samples.items():
            value = two if two is not None else one
            assert value is not None
            side(one, two).samples[RawDataRecordKey(change.name, key)] = _sample(value)
    for key, (text, other) in changed_metadata(before, after).items():
        kept = other if other is not None else text
        assert kept is not None
        side(text, other).metadata[MetadataRecordKey(key)] = _metadata(key, kept)
    return diff


def conflicts_tuple(conflicts: Iterable[Conflict]) -> Conflicts:
    """Conflicts in the shape that users see."""
    found = {kind: _changes() for kind in ("t1", "t21", "t22", "t3")}
    count = 0
    for conflict in conflicts:
        count += 1
        changes = found[conflict.kind]
        value = conflict.theirs if conflict.theirs is not None else conflict.ours
        if conflict.arrayset is None and conflict.key is not None:
            changes.metadata[MetadataRecordKey(conflict.key)] = _metadata(conflict.key, value)
        elif conflict.arrayset is not None and conflict.key is None:
            changes.schema[conflict.arrayset] = _schema(value)
        elif conflict.arrayset is not None and conflict.key is not None:
            key = RawDataRecordKey(conflict.arrayset, conflict.key)
            changes.samples[key] = _sample(value)
    return Conflicts(**found, conflict=count > 0)


def commit_diff(
    git: GitRepository, snapshot_of: SnapshotOf, master: Oid, dev: Oid
) -> DiffAndConflicts:
    """What merging commit `dev` into commit `master` would change, and its conflicts.

    Where one is an ancestor of the other, what differs between the two.
    """
    if refs.is_ancestor(git, master, dev) or refs.is_ancestor(git, dev, master):
        diff = snapshot_diff(snapshot_of(master), snapshot_of(dev))
        return DiffAndConflicts(diff, conflicts_tuple(()))
    base, disputed = merge_base_snapshot(git, snapshot_of, master, dev)
    theirs = snapshot_of(dev)
    merge = merge_snapshots(base, snapshot_of(master), theirs, disputed=disputed)
    return DiffAndConflicts(snapshot_diff(base, theirs), conflicts_tuple(merge.conflicts))


class ReaderUserDiff(Handle):
    """Compares the commit of a reader checkout with others."""

    def __init__(self, git: GitRepository, snapshot_of: SnapshotOf, commit: Oid | None) -> None:
        self._git = git
        self._snapshot_of = snapshot_of
        self._commit = commit

    def _head(self) -> Oid:
        if self._commit is None:
            raise RevisionNotFoundError("there is no commit yet to compare with")
        return self._commit

    def branch(self, dev_branch: str) -> DiffAndConflicts:
        """What merging a branch into this commit would change, and its conflicts.

        Raises
        ------
        ValueError
            There is no such branch.
        """
        tip = refs.require_tip(self._git, dev_branch)
        return commit_diff(self._git, self._snapshot_of, self._head(), tip)

    def commit(self, dev_commit_hash: str) -> DiffAndConflicts:
        """What merging a commit into this one would change, and its conflicts.

        Parameters
        ----------
        dev_commit_hash
            Any Git revision.

        Raises
        ------
        ValueError
            There is no such commit.
        """
        dev = refs.resolve(self._git, dev_commit_hash)
        return commit_diff(self._git, self._snapshot_of, self._head(), dev)


class WriterUserDiff(ReaderUserDiff):
    """Compares the tip of a writer checkout's branch with others, and with what is staged."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session.git, session.snapshot_of, None)
        self._session = session

    def _head(self) -> Oid:
        self._commit = self._session.area.base
        return super()._head()

    def staged(self) -> DiffAndConflicts:
        """What the staged changes change."""
        session = self._session
        writer = ObjectWriter(session.git)
        built = build_tree(session.base, session.staged_edits(), writer)
        writer.flush()
        diff = snapshot_diff(session.base, session.base.at(built.oid))
        return DiffAndConflicts(diff, conflicts_tuple(()))

    def status(self) -> str:
        """``"DIRTY"`` if the staged changes change anything, else ``"CLEAN"``."""
        return "DIRTY" if self._session.staged_edits() else "CLEAN"
