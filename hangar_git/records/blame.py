"""Which commit last changed each sample, by one walk over the history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from ..keys import SampleKey
from .diff import ArraysetChange
from .gitprogram import run_git
from .gitrepo import GitRepository, Oid
from .mergecommits import SnapshotOf
from .snapshot import Snapshot


def blame(
    git: GitRepository,
    snapshot_of: SnapshotOf,
    start: Oid,
    arrayset: str,
    keys: Collection[SampleKey],
) -> dict[SampleKey, Oid]:
    """The commit, at or before `start`, that gave each of `keys` the value it has there.

    Each commit is compared with its parents by their changed record files, newest first, until
    every key is found. A key that a parent has with the same value came from that parent.
    """
    wanted: defaultdict[Oid, set[SampleKey]] = defaultdict(set)
    wanted[start] = set(keys)
    found: dict[SampleKey, Oid] = {}
    listed = run_git("rev-list", "--topo-order", "--parents", str(start), git_dir=git.git_dir)
    for line in listed.stdout.decode().splitlines():
        commit, *parents = (Oid(hex=oid) for oid in line.split())
        left = wanted.pop(commit, set())
        for parent in parents:
            if not left:
                break
            changed = _changed(snapshot_of(parent), snapshot_of(commit), arrayset)
            wanted[parent] |= left - changed if changed is not None else set()
            left = left & changed if changed is not None else left
        found.update((key, commit) for key in left)
        if len(found) == len(keys):
            break
    return found


def _changed(before: Snapshot, after: Snapshot, arrayset: str) -> set[SampleKey] | None:
    """Keys whose records differ; None if the arrayset was not there before."""
    if arrayset not in before.arrayset_trees:
        return None
    if before.arrayset_trees[arrayset] == after.arrayset_trees.get(arrayset):
        return set()
    change = ArraysetChange(arrayset, before.arrayset(arrayset), after.arrayset(arrayset))
    return set(change.samples)
