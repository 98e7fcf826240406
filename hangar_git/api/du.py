"""du: where the bytes are, by arrayset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..digest import Digest
from ..records.gitrepo import GitRepository
from ..staging.layout import Layout
from ..store.checking import scan_all
from ..store.container import element_count
from .upkeep import named_digests


@dataclass
class ArraysetUsage:
    """What one arrayset takes, over the whole history.

    Attributes
    ----------
    samples
        Different samples that are on this machine.
    missing
        Different samples that are not.
    size_bytes, stored_bytes
        Of those here: as arrays, and as encoded in containers.
    shared_bytes
        The part of `stored_bytes` that other arraysets name, too.
    """

    name: str
    samples: int = 0
    missing: int = 0
    size_bytes: int = 0
    stored_bytes: int = 0
    shared_bytes: int = 0

    @property
    def ratio(self) -> float | None:
        """How many times smaller the encoded samples are."""
        return self.size_bytes / self.stored_bytes if self.stored_bytes else None


@dataclass
class DiskUsage:
    """What a repository's data takes on disk.

    Attributes
    ----------
    unreachable_bytes
        Of encoded samples that nothing names.
    containers_bytes, index_bytes, other_bytes, git_bytes
        Of files: containers; the index; the rest of hangar's own; all else of Git's directory.
    """

    arraysets: list[ArraysetUsage] = field(default_factory=list)
    unreachable_samples: int = 0
    unreachable_bytes: int = 0
    containers: int = 0
    containers_bytes: int = 0
    index_bytes: int = 0
    other_bytes: int = 0
    git_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        rows = [{**asdict(one), "ratio": one.ratio} for one in self.arraysets]
        return {**vars(self), "arraysets": rows}


def du(git: GitRepository) -> DiskUsage:
    """Bytes of each arrayset, of what is shared, unreachable, and of the bookkeeping."""
    layout = Layout.of(git)
    directory = layout.root / "containers"
    containers = scan_all(directory)[0] if directory.is_dir() else []
    sizes: dict[Digest, tuple[int, float]] = {}
    for container in containers:
        itemsize = container.spec.dtype.itemsize
        for digest, shape, stored in zip(
            container.digests(), container.shapes(), container.stored_sizes(), strict=True
        ):
            sizes[digest] = element_count(shape) * itemsize, stored
    named = named_digests(git)
    uses = Counter(digest for digests in named.values() for digest in digests)
    usage = DiskUsage(containers=len(containers))
    for name, digests in sorted(named.items()):
        here = [sizes[digest] for digest in digests if digest in sizes]
        shared = (sizes[d][1] for d in digests if uses[d] > 1 and d in sizes)
        usage.arraysets.append(
            ArraysetUsage(
                name,
                len(here),
                len(digests) - len(here),
                sum(size for size, _ in here),
                round(sum(stored for _, stored in here)),
                round(sum(shared)),
            )
        )
    unreachable = [stored for digest, (_, stored) in sizes.items() if digest not in uses]
    usage.unreachable_samples, usage.unreachable_bytes = len(unreachable), round(sum(unreachable))
    usage.containers_bytes = _bytes_of(directory.rglob("*"))
    usage.index_bytes = _bytes_of((layout.root / "index").rglob("*"))
    all_of_it = _bytes_of(layout.root.rglob("*"))
    usage.other_bytes = all_of_it - usage.containers_bytes - usage.index_bytes
    usage.git_bytes = _bytes_of(git.common_dir.rglob("*")) - all_of_it
    return usage


def _bytes_of(paths: Iterable[Path]) -> int:
    """Bytes that files take on disk; files that go away meanwhile take none."""
    total = 0
    for path in paths:
        try:
            stat = path.lstat()
        except FileNotFoundError:
            continue
        total += min(stat.st_size, stat.st_blocks * 512) if path.is_file() else 0
    return total
