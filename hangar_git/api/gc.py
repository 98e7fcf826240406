"""gc: remove the samples that nothing leads to any more."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..errors import StateError
from ..records.gitrepo import GitRepository
from ..records.reachable import ref_state
from ..store.checking import ScannedContainer, scan_all
from ..store.rewriting import rewrite
from .upkeep import Progress, locked_store, named_digests, no_progress

GRACE_S = 14 * 86400.0
"""Containers younger than this are kept whole: as long as Git keeps unreachable objects."""
_WORTH_REWRITING = 0.25
"""A container is rewritten if at least this part of it is of no use."""


@dataclass
class GcReport:
    """What gc did, or with `dry_run` would do.

    Attributes
    ----------
    removed, kept
        Numbers of samples.
    spared
        Unreachable samples that are too young, or too few in their container to be worth it.
    freed_bytes
        Of files.
    """

    dry_run: bool = False
    containers: int = 0
    removed: int = 0
    kept: int = 0
    spared: int = 0
    freed_bytes: int = 0


def gc(
    git: GitRepository,
    *,
    grace_s: float = GRACE_S,
    dry_run: bool = False,
    progress: Progress = no_progress,
) -> GcReport:
    """Remove samples that no ref, reflog, stash, worktree, merge or staged change leads to.

    Parameters
    ----------
    grace_s
        Containers written within this many seconds are left alone: somebody may be about to refer
        to what is in them.
    dry_run
        Change nothing, and say what would be done.

    Raises
    ------
    WriterLockError
        A writer is at work, or another gc.
    StateError
        A ref moved meanwhile: nothing was removed.
    """
    report = GcReport(dry_run=dry_run)
    with locked_store(git) as store:
        before = ref_state(git)
        live = {digest for digests in named_digests(git).values() for digest in digests}
        containers, _ = scan_all(store.containers)
        report.containers = len(containers)
        now = time.time()
        chosen = [c for c in containers if _is_worth(c, live, now - grace_s, report)]
        total = sum(container.size_bytes for container in chosen)
        if dry_run or not chosen:
            report.freed_bytes = int(sum(_dead_bytes(c, live) for c in chosen))
            return report
        if ref_state(git) != before:
            raise StateError("a branch or another ref moved meanwhile; nothing was removed: again")
        done = rewrite(
            store, chosen, keep=live.__contains__, progress=lambda size: progress(size, total)
        )
        report.freed_bytes = done.bytes_before - done.bytes_after
    return report


def _is_worth(
    container: ScannedContainer, live: set[bytes], newest: float, report: GcReport
) -> bool:
    """Whether to rewrite a container; counts its samples in the report."""
    digests = list(container.digests())
    dead = sum(digest not in live for digest in digests)
    report.kept += len(digests) - dead
    old = container.path.stat().st_mtime <= newest
    share = _dead_bytes(container, live) / container.size_bytes
    if dead and old and (dead == len(digests) or share >= _WORTH_REWRITING):
        report.removed += dead
        return True
    report.spared += dead
    return False


def _dead_bytes(container: ScannedContainer, live: set[bytes]) -> float:
    sizes = zip(container.digests(), container.stored_sizes(), strict=True)
    return sum(size for digest, size in sizes if digest not in live)
