"""Which commits touched one sample, by tree walk: no commit's other records are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..keys import SampleKey
from .gitprogram import run_git
from .gitrepo import GitRepository, Oid
from .recordfile import RecordFormat, RecordValue, file_paths
from .snapshot import Snapshot


class SampleHistory:
    """The history of one sample, or of a whole arrayset.

    Parameters
    ----------
    git
        The repository.
    snapshot_of
        Gives the snapshot of a commit.
    arrayset
        Name of the arrayset.
    key
        Of the sample; None for the arrayset as a whole.
    """

    def __init__(
        self,
        git: GitRepository,
        snapshot_of: Callable[[Oid | None], Snapshot],
        arrayset: str,
        key: SampleKey | None = None,
    ) -> None:
        self._git = git
        self._snapshot_of = snapshot_of
        self._arrayset = arrayset
        self._key = key
        self._of_tree: dict[Oid, object] = {}
        self._of_file: dict[tuple[RecordFormat, Oid], RecordValue | None] = {}

    def value(self, commit: Oid) -> object:
        """What the commit records: of a sample its record, of an arrayset its tree; or None."""
        snapshot = self._snapshot_of(commit)
        entry = snapshot.arrayset_trees.get(self._arrayset)
        if entry is None or self._key is None:
            return entry
        if entry.oid not in self._of_tree:
            self._of_tree[entry.oid] = self._record(snapshot)
        return self._of_tree[entry.oid]

    def _record(self, snapshot: Snapshot) -> RecordValue | None:
        assert self._key is not None
        records = snapshot.arrayset(self._arrayset)
        form = records.format
        path = file_paths(form.fanout)[form.prefix_of(self._key)]
        blob = self._git.subtree(records.records_oid, path)
        if blob is None:
            return records.get(self._key)  # which says what is missing
        if (form, blob) not in self._of_file:
            self._of_file[form, blob] = records.get(self._key)
        return self._of_file[form, blob]

    def commits(self, *revisions: str) -> Iterator[Oid]:
        """Commits among `revisions` (as ``git rev-list`` takes them) that changed it, newest first.

        A merge is named only if it differs from all its parents.
        """
        listed = run_git(
            "rev-list", "--topo-order", "--parents", *revisions, "--", git_dir=self._git.git_dir
        )
        for line in listed.stdout.decode().splitlines():
            commit, *parents = (Oid(hex=oid) for oid in line.split())
            value = self.value(commit)
            if all(self.value(parent) != value for parent in parents or ()) and (
                parents or value is not None
            ):
                yield commit
