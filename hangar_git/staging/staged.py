"""Looking at what is staged: without the writer lock, and without the samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..digest import DIGEST_SIZE_BYTES
from ..errors import FormatError, IntegrityError, StateError
from ..records.counts import RecordCounts
from ..records.edits import ArraysetEdits, Edits
from ..records.gitrepo import GitRepository, Oid
from ..records.refs import branch_tip, head_branch
from ..records.snapshot import Snapshot
from ..schema import Schema
from .journal import Journal
from .layout import Layout
from .lock import WriterLock
from .replay import StagedEdits
from .writerbranch import WriterBranchFile

_SEARCHED_COMMITS = 1000


@dataclass(frozen=True, slots=True)
class Staged:
    """What is staged, and on what.

    Parameters
    ----------
    branch
        The writer branch; None where HEAD is detached and none was chosen.
    commit
        The commit that the edits are meant for; None before the first.
    base
        Its snapshot.
    edits
        The staged edits that change something in the base.
    is_outdated
        The branch's data is not that of `commit` any more, so that committing will be refused.
    """

    branch: str | None
    commit: Oid | None
    base: Snapshot
    edits: Edits
    is_outdated: bool

    def arraysets(self) -> Iterator[tuple[str, Schema, int]]:
        """Name, schema and number of samples of each arrayset, with the edits made."""
        for name in sorted(self.base.arrayset_trees.keys() | self.edits.arraysets.keys()):
            edits = self.edits.arraysets.get(name, ArraysetEdits())
            if edits is None:
                continue
            after = sum(value is not None for value in edits.values.values())
            if edits.fresh:
                assert edits.schema is not None
                yield name, edits.schema, after
            else:
                old = self.base.arrayset(name)
                before = sum(old.get(key) is not None for key in edits.values)
                yield name, edits.schema or old.schema, old.count() - before + after


def read_staged(git: GitRepository) -> Staged:
    """What is staged, as of now; another process may be writing meanwhile.

    Raises
    ------
    IntegrityError, FormatError
        The journal is damaged, or of a version unknown to this program.
    """
    layout = Layout.of(git)
    layout.check_format()
    area = read_edits(layout)
    counts = RecordCounts(layout.counts)
    if area.edits and not is_committed(git, area):
        base = Snapshot(git, git.hangar_tree(area.base), counts)
        if edits := area.edits.effective(base):
            assert area.branch is not None  # edits follow the line that names it
            tip = branch_tip(git, area.branch)
            is_same = git.hangar_tree(tip) == base.tree
            return Staged(area.branch, tip if is_same else area.base, base, edits, not is_same)
    try:
        branch = WriterBranchFile(git, layout.writer_branch).current(staged=False)
    except StateError:
        branch = None
    tip = branch_tip(git, branch) if branch is not None else None
    return Staged(branch, tip, Snapshot(git, git.hangar_tree(tip), counts), Edits(), False)


def read_edits(layout: Layout) -> StagedEdits:
    """The staged edits, to look at.

    Raises
    ------
    IntegrityError, FormatError
        The journal is damaged, or of a version unknown to this program.
    """
    found = StagedEdits(layout.journal)
    found.load()
    return found


def is_committed(git: GitRepository, area: StagedEdits) -> bool:
    """Whether the branch is seen to hold the staged edits: their commit was not finished."""
    if area.committing is None or area.branch is None:
        return False
    tip = branch_tip(git, area.branch)
    commits = git.pygit2.walk(tip) if tip is not None else ()
    for commit in islice(commits, _SEARCHED_COMMITS):
        if commit.id == area.base:
            return False
        if git.hangar_tree(commit.id) == area.committing:
            return True
    return False


def drop_lost(area: StagingArea, store: Store) -> int:
    """Drop, durably, edits whose samples are not in `store` any more; their number."""
    dropped = 0
    for edits in filter(None, area.edits.arraysets.values()):
        digests = {key: value[:DIGEST_SIZE_BYTES]
                   for key, value in edits.values.items() if value is not None}  # fmt: skip
        missing = set(store.missing(set(digests.values())))
        for key in [key for key, digest in digests.items() if digest in missing]:
            del edits.values[key]
            dropped += 1
    area.compact()
    return dropped


def set_aside_unusable(git: GitRepository) -> tuple[Path, str] | None:
    """Move a journal that no writer could take up out of the way; where it is, and why.

    Returns None, and does nothing, if it can be read and its branch exists.
    """
    layout = Layout.of(git)
    layout.check_format()
    lock = WriterLock(layout.lock)
    lock.acquire()
    try:
        journal = Journal(layout.journal)
        try:
            area = read_edits(layout)
        except (IntegrityError, FormatError):
            return journal.set_aside(), "the staging journal is damaged"
        branch = area.branch
        if not area.edits or branch is None or branch == head_branch(git):
            return None
        if branch_tip(git, branch) is not None:
            return None
        return journal.set_aside(), f"branch {branch!r}, which they were staged for, is gone"
    finally:
        lock.release()
