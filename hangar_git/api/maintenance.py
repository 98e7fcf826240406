"""Checking and cleaning a repository's data: `Repository.maintenance`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..records.gitrepo import GitRepository
from ..store.rewriting import Rewritten
from .du import DiskUsage, du
from .fsck import FsckReport, fsck
from .gc import GRACE_S, GcReport, gc
from .repack import repack
from .upkeep import Progress, no_progress


class Maintenance:
    """What keeps the data of one repository in order."""

    def __init__(self, git: GitRepository) -> None:
        self._git = git

    def fsck(
        self,
        *,
        full: bool = False,
        rebuild_index: bool = False,
        repair: bool = True,
        progress: Progress = no_progress,
    ) -> FsckReport:
        """Check records, index and containers; see `hangar_git.api.fsck.fsck`."""
        return fsck(
            self._git, full=full, rebuild_index=rebuild_index, repair=repair, progress=progress
        )

    def gc(
        self, *, grace_s: float = GRACE_S, dry_run: bool = False, progress: Progress = no_progress
    ) -> GcReport:
        """Remove samples that nothing leads to; see `hangar_git.api.gc.gc`."""
        return gc(self._git, grace_s=grace_s, dry_run=dry_run, progress=progress)

    def repack(
        self,
        *,
        backend: str | None = None,
        codec: Mapping[str, Any] | None = None,
        older_than_s: float = 0,
        progress: Progress = no_progress,
    ) -> Rewritten:
        """Merge small containers, or recompress; see `hangar_git.api.repack.repack`."""
        return repack(
            self._git, backend=backend, codec=codec, older_than_s=older_than_s, progress=progress
        )

    def du(self) -> DiskUsage:
        """Bytes on disk, by arrayset; see `hangar_git.api.du.du`."""
        return du(self._git)
