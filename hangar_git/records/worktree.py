"""Bringing a checked-out branch's index and worktree up to date, for ``.hangar/`` alone.

The ref moves between two steps of ours, and a process can die between any two. A *pending update*
is therefore written down before anything is touched, and the next command of ours finishes it:
otherwise the user's next ``git commit -a`` would silently revert the data.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pygit2

from ..durable import fsync_path, remove_file, replace_file
from ..errors import StateError, StorageError
from ..failpoints import failpoint
from .gitprogram import run_git
from .gitrepo import HANGAR_DIR, FileChange, GitRepository, Oid, changed_files
from .refs import HEADS, branch_tip, is_ancestor

_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@dataclass(frozen=True, slots=True)
class Worktree:
    """A worktree: where its index is, and where its files are."""

    git_dir: str
    workdir: str


def worktrees_on(git: GitRepository, branch: str) -> list[Worktree]:
    """All worktrees of the repository whose HEAD is on `branch`."""
    found = []
    main = git.common_dir
    bare = git.pygit2.config.get_bool("core.bare") if "core.bare" in git.pygit2.config else False
    if not bare and _head_ref(main) == HEADS + branch:
        # The worktree of a submodule, or of --separate-git-dir, stands in the configuration.
        config = git.pygit2.config
        configured = config["core.worktree"] if "core.worktree" in config else ".."  # noqa: SIM401
        workdir = git.workdir if git.git_dir == main and git.workdir else main / configured
        found.append(Worktree(str(main), str(Path(workdir).resolve())))
    for linked in sorted((main / "worktrees").glob("*")):
        if _head_ref(linked) == HEADS + branch and (linked / "gitdir").is_file():
            workdir = Path((linked / "gitdir").read_text().strip()).parent
            if workdir.is_dir():
                found.append(Worktree(str(linked), str(workdir)))
    return found


def worktrees_of(git: GitRepository, branch: str) -> list[str]:
    """Git directories of the worktrees that are on `branch`, or in the midst of rebasing it."""
    found = [worktree.git_dir for worktree in worktrees_on(git, branch)]
    for git_dir in (git.common_dir, *sorted((git.common_dir / "worktrees").glob("*"))):
        for state in ("rebase-merge", "rebase-apply"):
            name = git_dir / state / "head-name"
            if name.is_file() and name.read_text().strip() == HEADS + branch:
                found.append(str(git_dir))
    return found


def _head_ref(git_dir: Path) -> str | None:
    try:
        text = (git_dir / "HEAD").read_text()
    except OSError:
        return None
    return text[5:].strip() if text.startswith("ref: ") else None


@dataclass(frozen=True, slots=True)
class PendingUpdate:
    """One worktree's step from commit `old` to `new`, as it is written down."""

    worktree: Worktree
    branch: str
    old: str
    new: str
    token: str

    @property
    def _index(self) -> Path:
        return Path(self.worktree.git_dir) / "index"

    @property
    def _lock(self) -> Path:
        return Path(self.worktree.git_dir) / "index.lock"

    @property
    def _mark(self) -> Path:
        return Path(self.worktree.git_dir) / f"hangar-lock-{self.token}"

    @property
    def _new_index(self) -> Path:
        return Path(self.worktree.git_dir) / f"hangar-index-{self.token}"

    def lock_index(self) -> None:
        """Take Git's index lock, and prepare the new index under it.

        The lock is a hard link to a file of ours, so that a later process can tell our lock,
        left by a kill, from one that Git holds.

        Raises
        ------
        StateError
            Another process holds the index, or it has changes to ``.hangar/``.
        """
        self._mark.touch()
        try:
            os.link(self._mark, self._lock)
        except FileExistsError as error:
            self._mark.unlink()
            raise StateError(
                f"{self._lock} exists: another git process is at work in"
                f" {self.worktree.workdir}; try again when it is done"
            ) from error
        failpoint("commit.index-locked")
        try:
            if self._index.exists():
                shutil.copyfile(self._index, self._new_index)
            done = self._git("read-tree", "-i", "-m", self.old, self.new, index=self._new_index)
            if done.returncode != 0:
                said = done.stderr.decode(errors="replace").strip()
                raise StateError(
                    f"the index of {self.worktree.workdir} has other changes to {HANGAR_DIR}/:"
                    f" {said}; undo them with 'git restore --staged {HANGAR_DIR}'"
                )
            fsync_path(self._new_index)
        except BaseException:
            self.unlock()
            raise

    def unlock(self) -> None:
        """Give Git's index lock back, if it is ours."""
        if self.is_locked():
            self._lock.unlink()
        self._mark.unlink(missing_ok=True)
        self._new_index.unlink(missing_ok=True)

    def is_locked(self) -> bool:
        """Whether Git's index lock is this update's."""
        return self._mark.exists() and self._lock.exists() and self._mark.samefile(self._lock)

    def install(self, changed: list[str], removed: list[str]) -> None:
        """Put the new index in place, then the changed files (paths from the worktree's top)."""
        self._new_index.rename(self._index)
        fsync_path(self._index.parent)
        failpoint("commit.index-renamed")
        self.unlock()
        for path in removed:
            file = Path(self.worktree.workdir) / path
            file.unlink(missing_ok=True)
            _remove_empty_parents(file.parent, Path(self.worktree.workdir))
        if changed:
            self._git(
                "checkout-index", "-f", "-u", "-q", "-z", "--stdin",
                stdin="\0".join(changed).encode(), check=True,
            )  # fmt: skip
        failpoint("commit.worktree-written")

    def _git(
        self, *arguments: str, index: Path | None = None, stdin: bytes | None = None,
        check: bool = False,
    ) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
        return run_git(
            *arguments,
            git_dir=Path(self.worktree.git_dir),
            workdir=Path(self.worktree.workdir),
            stdin=stdin,
            environment={"GIT_INDEX_FILE": str(index)} if index else None,
            check=check,
        )


def _remove_empty_parents(directory: Path, top: Path) -> None:
    while directory != top:
        try:
            directory.rmdir()
        except OSError:
            return
        directory = directory.parent


class WorktreeUpdates:
    """The updates that one movement of a branch needs, written down until they are done.

    Parameters
    ----------
    git
        The repository.
    path
        Where pending updates are written down.
    """

    def __init__(self, git: GitRepository, path: Path) -> None:
        self._git = git
        self._path = path

    def prepare(self, branch: str, old: Oid | None, new: Oid) -> list[PendingUpdate]:
        """Check and lock every worktree on `branch`; nothing of the user's changes yet.

        Raises
        ------
        StateError
            A worktree has local edits under ``.hangar/``, or its index is in use.
        """
        worktrees = worktrees_on(self._git, branch)
        if not worktrees:
            return []
        changes = list(self._changes(old, new))
        for worktree in worktrees:
            _refuse_local_edits(worktree, changes)
        updates = [
            PendingUpdate(
                worktree, branch, str(old) if old else _EMPTY_TREE, str(new), secrets.token_hex(8)
            )
            for worktree in worktrees
        ]
        replace_file(self._path, json.dumps([asdict(update) for update in updates]).encode())
        failpoint("commit.update-recorded")
        locked: list[PendingUpdate] = []
        try:
            for update in updates:
                update.lock_index()
                locked.append(update)
        except OSError as error:
            self.abandon(locked)
            raise StorageError.of(error, "preparing the index") from error
        except BaseException:
            self.abandon(locked)
            raise
        return updates

    def install(self, updates: list[PendingUpdate]) -> None:
        """Finish updates after the ref has moved."""
        if not updates:
            return
        changes = list(self._changes(_commit_or_none(updates[0].old), Oid(hex=updates[0].new)))
        changed = [path for path, _, after in changes if after is not None]
        removed = [path for path, _, after in changes if after is None]
        for update in updates:
            update.install(changed, removed)
        remove_file(self._path)

    def abandon(self, updates: list[PendingUpdate]) -> None:
        """Undo `prepare` when the ref did not move."""
        for update in updates:
            update.unlock()
        remove_file(self._path)

    def recover(self) -> None:
        """Finish, or undo, what a killed process left; the caller holds the writer lock."""
        try:
            rows = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return
        updates = [PendingUpdate(Worktree(**row.pop("worktree")), **row) for row in rows]
        for update in updates:
            update.unlock()
        moved = [update for update in updates if self._has_moved(update)]
        for update in moved:
            # Reading the step from old to new into an index that made it already changes nothing.
            update.lock_index()
        self.install(moved)
        remove_file(self._path)

    def _has_moved(self, update: PendingUpdate) -> bool:
        if _head_ref(Path(update.worktree.git_dir)) != HEADS + update.branch:
            return False
        tip = branch_tip(self._git, update.branch)
        return tip is not None and is_ancestor(self._git, Oid(hex=update.new), tip)

    def _changes(self, old: Oid | None, new: Oid) -> Iterator[FileChange]:
        """Every file under ``.hangar/`` that differs between two commits."""
        git = self._git
        return changed_files(git, git.hangar_tree(old), git.hangar_tree(new), f"{HANGAR_DIR}/")


def _commit_or_none(oid: str) -> Oid | None:
    return None if oid == _EMPTY_TREE else Oid(hex=oid)


def _refuse_local_edits(worktree: Worktree, changes: list[FileChange]) -> None:
    for path, before, after in changes:
        file = Path(worktree.workdir) / path
        try:
            data = file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except IsADirectoryError:
            data = b""
        if pygit2.hash(data) not in (before, after):
            raise StateError(
                f"{file} has local edits, which the commit would overwrite; undo them with"
                f" 'git restore {path}', or move the file away"
            )
