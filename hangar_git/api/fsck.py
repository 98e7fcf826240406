"""fsck: whether records, index and containers fit each other, and samples are what they were."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..digest import Digest
from ..errors import HangarError, IntegrityError
from ..keys import key_text
from ..records.counts import RecordCounts
from ..records.gitrepo import GitRepository, Oid
from ..records.reachable import named_samples, record_files
from ..records.recordfile import file_paths, shape_of
from ..records.refs import all_tips
from ..records.snapshot import ArraysetRecords, Snapshots
from ..staging.area import StagingArea
from ..staging.layout import Layout
from ..store.checking import ScannedContainer, index_faults, scan_all, verify
from ..store.rewriting import rewrite
from ..store.store import Store
from .upkeep import Progress, locked_store, named_digests, no_progress, staged_digests

_NAMED_AT_MOST = 1000


class Problem(NamedTuple):
    """Something that is not as it should be.

    Parameters
    ----------
    kind
        ``records``, ``missing``, ``corrupt``, ``container``, ``index`` or ``staging``.
    where
        File, sample or digest.
    what
        One line.
    repaired
        Whether it has been put right.
    """

    kind: str
    where: str
    what: str
    repaired: bool = False


@dataclass
class FsckReport:
    """What fsck found.

    Attributes
    ----------
    problems
        Those found; of missing samples, the first thousand.
    missing, corrupt, orphaned
        Numbers of samples: known and not here; here and damaged; here and named by nothing.
    """

    full: bool = False
    containers: int = 0
    samples: int = 0
    size_bytes: int = 0
    missing: int = 0
    corrupt: int = 0
    orphaned: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong that was not repaired; missing data alone is not wrong."""
        return all(p.repaired or p.kind == "missing" for p in self.problems)

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**vars(self), "clean": self.clean, "problems": [p._asdict() for p in self.problems]}


def fsck(
    git: GitRepository,
    *,
    full: bool = False,
    rebuild_index: bool = False,
    repair: bool = True,
    progress: Progress = no_progress,
) -> FsckReport:
    """Check the records of all branches, tags and other refs, the index, and the containers.

    Parameters
    ----------
    full
        Also hash every sample.
    rebuild_index
        Make the index anew from the containers.
    repair
        Put right what can be: the index; a damaged container, whose whole samples are saved and
        which is then moved to ``damaged/`` beside the containers.
    progress
        Told how far hashing is.

    Raises
    ------
    WriterLockError
        A writer is at work.
    """
    report = FsckReport(full=full)
    with locked_store(git) as store:
        if rebuild_index and repair:
            store.rebuild_index()
        _check_records(git, report)
        containers = _check_containers(store, report, full=full, progress=progress)
        _check_index(store, containers, report, repair=repair)
        _check_corrupt(store, containers, report, repair=repair)
        _check_named(git, store, containers, report)
    return report


def _check_records(git: GitRepository, report: FsckReport) -> None:
    """Every record file at the tip of every ref; a file that several have is read once."""
    snapshots = Snapshots(git, RecordCounts(Layout.of(git).counts))
    seen: set[Oid | None] = set()
    for ref, tip in all_tips(git):
        try:
            snapshot = snapshots(tip)
            for records in snapshot.arraysets():
                if records.records_oid not in seen:
                    seen.add(records.records_oid)
                    _check_arrayset(records)
            for key in snapshot.metadata_files:
                snapshot.metadata(key)
            names = [*snapshot.arrayset_trees, *map(key_text, snapshot.metadata_files)]
        except HangarError as error:
            report.problems.append(Problem("records", ref, str(error)))
            continue
        for name, count in Counter(name.lower() for name in names).items():
            if count > 1:
                what = f"{name!r} is there in several spellings, which differ by case only"
                report.problems.append(Problem("records", ref, what))


def _check_arrayset(records: ArraysetRecords) -> None:
    schema, form = records.schema, records.format
    for prefix in file_paths(schema.fanout):
        found = records.load(prefix)
        path = f".hangar/arraysets/{records.name}/records/{file_paths(schema.fanout)[prefix]}"
        for key, value in found.items():
            if form.prefix_of(key) != prefix:
                raise IntegrityError(f"{path}: key {key!r} belongs in another record file")
            if not schema.variable_shape:
                continue
            shape = shape_of(value)
            if len(shape) != schema.rank or any(map(int.__gt__, shape, schema.shape)):
                raise IntegrityError(f"{path}: key {key!r}: shape {shape} does not fit the schema")


def _check_containers(
    store: Store, report: FsckReport, *, full: bool, progress: Progress
) -> list[ScannedContainer]:
    containers, damaged = scan_all(store.containers)
    for path, error in damaged:
        report.problems.append(Problem("container", path.name, str(error)))
    total, done = sum(one.size_bytes for one in containers), 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        progress(done, total)

    for container in containers:
        report.containers += 1
        report.size_bytes += container.size_bytes
        report.samples += sum(len(group.digests) for group in container.groups)
        if full:
            verify(container, advance)
    return containers


def _check_index(
    store: Store, containers: list[ScannedContainer], report: FsckReport, *, repair: bool
) -> None:
    assert store.index is not None
    faults = index_faults(store.index, containers)
    if not faults:
        return
    if repair:
        store.rebuild_index()
    what = Counter(fault.what for fault in faults)
    for text, count in sorted(what.items()):
        first = next(fault.digest.hex() for fault in faults if fault.what == text)
        report.problems.append(
            Problem("index", first, f"{text}; so are {count - 1} others", repaired=repair)
        )


def _check_corrupt(
    store: Store, containers: list[ScannedContainer], report: FsckReport, *, repair: bool
) -> None:
    """Save what is whole in damaged containers, and put these aside."""
    for container in [one for one in containers if one.corrupt]:
        report.corrupt += len(container.corrupt)
        for digest in sorted(container.corrupt)[:_NAMED_AT_MOST]:
            what = f"sample {digest.hex()} is damaged"
            report.problems.append(Problem("corrupt", container.path.name, what))
        if not repair:
            continue
        _copy_aside(container.path, store.containers.parent / "damaged")
        rewrite(store, [container])
        what = "its whole samples were saved; the file is now in damaged/"
        report.problems.append(Problem("container", container.path.name, what, repaired=True))
    if repair:
        # What is damaged is missing now, if nothing else has it.
        report.problems = [
            p._replace(repaired=True) if p.kind == "corrupt" else p for p in report.problems
        ]


def _copy_aside(path: Path, directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (directory / path.name).hardlink_to(path)


def _check_named(
    git: GitRepository, store: Store, containers: list[ScannedContainer], report: FsckReport
) -> None:
    """Samples that are named and not here, and those that are here and not named."""
    here = {digest for one in containers for digest in one.digests() if digest not in one.corrupt}
    held = {d for d in _journal_digests(git, store) if store.held(d) is not None}
    named = {digest for digests in named_digests(git).values() for digest in digests}
    missing = named - here - held
    report.missing = len(missing)
    report.orphaned = len(here - named)
    if missing:
        report.problems += _where(git, missing)


def _journal_digests(git: GitRepository, store: Store) -> set[Digest]:
    """Samples that are in the staging journal alone, whose data `store` takes up."""
    area = StagingArea(Layout.of(git).journal, store)
    area.load()
    return set().union(*staged_digests(area).values())


def _where(git: GitRepository, missing: set[Digest]) -> list[Problem]:
    """Of each missing sample, one place that names it."""
    problems: list[Problem] = []
    left = set(missing)
    for file in record_files(git):
        for key, digest in named_samples(git, file):
            if digest in left:
                left.discard(digest)
                what = f"data of {digest.hex()} is not on this machine"
                problems.append(Problem("missing", f"{file.arrayset}/{key}", what))
        if not left or len(problems) >= _NAMED_AT_MOST:
            break
    return problems[:_NAMED_AT_MOST]
