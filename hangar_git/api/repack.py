"""repack: merge small containers, or store samples with another backend or codec."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInputError
from ..records.gitrepo import GitRepository
from ..store.backends import BACKENDS
from ..store.checking import ScannedContainer, scan_all
from ..store.codec import Codec
from ..store.rewriting import Rewritten, Target, rewrite
from ..store.store import FLUSH_BYTES
from .upkeep import Progress, locked_store, no_progress

_SMALL_BYTES = FLUSH_BYTES // 4
"""Containers below this size are merged, where there are several of a kind."""


def repack(
    git: GitRepository,
    *,
    backend: str | None = None,
    codec: Mapping[str, Any] | None = None,
    older_than_s: float = 0,
    progress: Progress = no_progress,
) -> Rewritten:
    """Write containers anew. Readers go on meanwhile; nothing but speed and size changes.

    Parameters
    ----------
    backend, codec
        Format code and codec options for all samples; without either, small containers are merged
        and nothing else is touched.
    older_than_s
        Leave containers alone that were written within this many seconds.

    Raises
    ------
    WriterLockError
        A writer is at work, or another of these commands.
    InvalidInputError
        No such backend or codec, or one that does not take some of the samples.
    """
    if backend is not None and backend not in BACKENDS:
        raise InvalidInputError(f"backend {backend!r} is not one of {', '.join(sorted(BACKENDS))}")
    target = Target(backend, None if codec is None else Codec.parse(codec))
    with locked_store(git) as store:
        containers, _ = scan_all(store.containers)
        newest = time.time() - older_than_s
        old = [c for c in containers if c.path.stat().st_mtime <= newest]
        if backend is None and codec is None:
            chosen = _small_ones(old)
        else:
            chosen = [c for c in old if not target.is_met(c.spec)]
            for container in chosen:  # refuse before anything is written
                for shape in set(container.shapes()):
                    target.schema(container.spec, shape)
        total, done = sum(c.size_bytes for c in chosen), 0

        def advance(size: int) -> None:
            nonlocal done
            done += size
            progress(done, total)

        return rewrite(store, chosen, target=target, progress=advance)


def _small_ones(containers: list[ScannedContainer]) -> list[ScannedContainer]:
    """Small containers that have others of their kind to be merged with."""
    alike: defaultdict[str, list[ScannedContainer]] = defaultdict(list)
    for container in containers:
        if container.size_bytes < _SMALL_BYTES:
            key = container.spec.to_json()
            if container.spec.backend in ("01", "10"):  # which hold one shape
                key += str(next(container.shapes()))
            alike[key].append(container)
    return [one for group in alike.values() if len(group) > 1 for one in group]
