"""Moving a branch together with the index and worktree of whoever is on it.

The ref moves between two steps of ours, and a process can die between any two. So the move is
written down before anything is touched, and the next writer finishes or undoes it: otherwise the
user's next ``git commit -a`` would silently revert the data.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from ..durable import fsync_path, remove_file, replace_file
from ..errors import HangarError, StorageError
from ..failpoints import failpoint
from .gitrepo import FileChange, GitRepository, Oid, changed_files
from .indexupdate import IndexUpdate
from .refs import HEADS, branch_tip, is_ancestor, move_ref
from .worktrees import find_worktree, head_ref, worktrees_on

log = logging.getLogger(__name__)

_EMPTY_LOCK_S = 0.5
"""libgit2 fills a ref's lock file at once: one that stays empty this long was left by a kill."""


@dataclass(frozen=True, slots=True)
class _Move:
    """A move of `branch`, as it is written down; worktrees by name, for repositories get moved."""

    branch: str
    old: str | None
    new: str
    updates: list[tuple[str, str]]
    """Name of each worktree, and token of its update."""


class BranchMover:
    """Moves branches; the caller holds the writer lock.

    Parameters
    ----------
    git
        The repository.
    path
        Where a move is written down until it is done.
    """

    def __init__(self, git: GitRepository, path: Path) -> None:
        self._git = git
        self._path = path

    def move(self, branch: str, old: Oid | None, new: Oid, why: str) -> None:
        """Move `branch` from commit `old` (None: it is unborn) to `new`; `why` is for the reflog.

        Raises
        ------
        StateError
            The branch moved meanwhile, a worktree is in use or has local edits under ``.hangar/``;
            nothing was changed.
        """
        worktrees = worktrees_on(self._git, branch)
        changes = self._changes(old, new)
        updates = [IndexUpdate(tree, old, new, secrets.token_hex(8)) for tree in worktrees]
        for update in updates:
            update.refuse_local_edits(changes)
        try:
            self._write_down(branch, old, new, updates)
            for update in updates:
                update.lock()
            move_ref(self._git, HEADS + branch, old, new, why)
        except BaseException as error:
            # An error after the ref moved, of an fsync of its directory, cannot undo that.
            if not isinstance(error, OSError) or branch_tip(self._git, branch) != new:
                self._undo(updates)
                if isinstance(error, OSError) and not isinstance(error, HangarError):
                    raise StorageError.of(error, f"moving branch {branch!r}") from error
                raise
            log.warning("branch %s moved, but perhaps not durably: %s", branch, error)
        failpoint("commit.ref-moved")
        try:
            self._install(updates, changes)
        except (HangarError, OSError) as error:
            # The commit stands, and the next writer finishes what was written down.
            log.warning("branch %s moved, but its worktree is not up to date: %s", branch, error)

    def _undo(self, updates: list[IndexUpdate]) -> None:
        for update in updates:
            update.unlock()
        remove_file(self._path)

    def _write_down(
        self, branch: str, old: Oid | None, new: Oid, updates: list[IndexUpdate]
    ) -> None:
        rows = [(update.worktree.name, update.token) for update in updates]
        move = [branch, str(old) if old else None, str(new), rows]
        replace_file(self._path, json.dumps(move).encode())
        failpoint("commit.update-recorded")

    def _install(self, updates: list[IndexUpdate], changes: list[FileChange]) -> None:
        for update in updates:
            update.install(changes)
        remove_file(self._path)

    def recover(self) -> None:
        """Finish, or undo, the move that a killed process left."""
        try:
            move = _Move(*json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return
        old, new = Oid(hex=move.old) if move.old else None, Oid(hex=move.new)
        self._break_ref_lock(move)
        tip = branch_tip(self._git, move.branch)
        moved = tip is not None and new in self._git.pygit2 and is_ancestor(self._git, new, tip)
        updates = []
        for name, token in move.updates:
            worktree = find_worktree(self._git, name)
            if worktree is None:
                continue  # it is gone, and needs no update
            update = IndexUpdate(worktree, old, new, token)
            update.unlock()
            if moved and head_ref(worktree.git_dir) == HEADS + move.branch:
                # Taking the step again, in an index that took it already, changes nothing.
                update.lock()
                updates.append(update)
        self._install(updates, self._changes(old, new) if updates else [])

    def _break_ref_lock(self, move: _Move) -> None:
        """Remove the lock that libgit2, killed while it moved the ref, left on it."""
        lock = self._git.common_dir / f"{HEADS}{move.branch}.lock"
        deadline = time.monotonic() + _EMPTY_LOCK_S
        try:
            while not (content := lock.read_text().strip()) and time.monotonic() < deadline:
                time.sleep(_EMPTY_LOCK_S / 10)
            if content in ("", move.new):  # no other process knows this commit
                lock.unlink()
                fsync_path(lock.parent)
        except FileNotFoundError:
            pass

    def _changes(self, old: Oid | None, new: Oid) -> list[FileChange]:
        """Every file that differs between two commits: data, and after a merge also code."""
        git = self._git
        before = git.commit(old).tree_id if old is not None else None
        return list(changed_files(git, before, git.commit(new).tree_id))
