"""What fsck, gc, repack and du have in common: the lock, the roots, and the containers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..digest import DIGEST_SIZE_BYTES, Digest
from ..records.gitrepo import GitRepository, Oid
from ..records.reachable import reachable_digests
from ..staging.layout import Layout
from ..staging.lock import WriterLock
from ..staging.mergestate import MergeStateFile
from ..staging.replay import StagedEdits
from ..staging.staged import read_edits
from ..store.store import Store

Progress = Callable[[int, int], None]
"""Told bytes done and bytes in all."""


def no_progress(done: int, total: int) -> None:
    """Tell nobody."""


@contextmanager
def locked_store(git: GitRepository) -> Iterator[Store]:
    """The store, with nobody writing to it but this block.

    Raises
    ------
    WriterLockError
        A writer is at work, or another of these commands.
    """
    layout = Layout.of(git)
    layout.check_format()
    layout.create()
    lock = WriterLock(layout.lock)
    lock.acquire()
    try:
        store = Store(layout.root, writable=True)
        try:
            yield store
        finally:
            store.close()
    finally:
        lock.release()


def named_digests(git: GitRepository) -> dict[str, set[Digest]]:
    """Arrayset -> samples that it names: in the history, staged, or in a merge that stopped."""
    area = read_edits(Layout.of(git))
    merge = MergeStateFile(git, Layout.of(git).merge_state).read()
    commits = [] if merge is None else [Oid(hex=merge.ours), Oid(hex=merge.theirs)]
    if area.edits and area.base is not None and git.has(area.base):
        commits.append(area.base)
    found = reachable_digests(git, extra=[*commits, *_pending_move(git)])
    for name, digests in staged_digests(area).items():
        found.setdefault(name, set()).update(digests)
    for conflict, choice in (merge.choices if merge is not None else {}).items():
        kind, _, value = choice.partition(":")
        if kind == "value":
            name = conflict.partition("/")[0]
            found.setdefault(name, set()).add(bytes.fromhex(value)[:DIGEST_SIZE_BYTES])
    return found


def staged_digests(area: StagedEdits) -> dict[str, set[Digest]]:
    """Arrayset -> samples that staged edits name."""
    return {
        name: {value[:DIGEST_SIZE_BYTES] for value in edits.values.values() if value is not None}
        for name, edits in area.edits.arraysets.items()
        if edits is not None
    }


def _pending_move(git: GitRepository) -> list[Oid]:
    """The commit that a branch was being moved to when its process died."""
    try:
        _, _, new, _ = json.loads(Layout.of(git).pending_move.read_bytes())
    except FileNotFoundError:
        return []
    oid = Oid(hex=new)
    return [oid] if git.has(oid) else []
