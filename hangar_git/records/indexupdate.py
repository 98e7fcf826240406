"""Bringing one worktree's index and files from one commit to another.

Only files that differ between the two are touched: those of ``.hangar/``, and in a merge code too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pygit2

from ..durable import fsync_path
from ..errors import StateError
from ..failpoints import failpoint
from .gitprogram import run_git
from .gitrepo import HANGAR_DIR, FileChange, Oid
from .worktrees import Worktree

_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@dataclass(frozen=True, slots=True)
class IndexUpdate:
    """One worktree's step from commit `old` (None: from nothing) to `new`.

    Parameters
    ----------
    worktree
        The worktree.
    old, new
        The commits.
    token
        Makes the names of this update's files its own.
    """

    worktree: Worktree
    old: Oid | None
    new: Oid
    token: str

    @property
    def _index(self) -> Path:
        return self.worktree.git_dir / "index"

    @property
    def _lock_file(self) -> Path:
        return self.worktree.git_dir / "index.lock"

    @property
    def _mark(self) -> Path:
        return self.worktree.git_dir / f"hangar-lock-{self.token}"

    @property
    def _new_index(self) -> Path:
        return self.worktree.git_dir / f"hangar-index-{self.token}"

    def refuse_local_edits(self, changes: Sequence[FileChange]) -> None:
        """Raise StateError if the user changed a file that is to change."""
        for path, before, after in changes:
            if not path.startswith(f"{HANGAR_DIR}/"):
                self._refuse_code_edits()
                return
            file = self.worktree.workdir / path
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

    def _refuse_code_edits(self) -> None:
        """As `refuse_local_edits`, by git, which knows the filters that code goes through."""
        self._git("update-index", "-q", "--refresh")
        step = (str(self.old or _EMPTY_TREE), str(self.new))
        done = self._git("read-tree", "-n", "-m", "-u", *step)
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise StateError(
                f"{self.worktree.workdir} has local changes in the way: {' '.join(said)[:300]};"
                f" commit or stash them"
            )

    def lock(self) -> None:
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
            os.link(self._mark, self._lock_file)
        except FileExistsError as error:
            self._mark.unlink()
            raise StateError(
                f"{self._lock_file} exists: another git process is at work in"
                f" {self.worktree.workdir}; try again when it is done"
            ) from error
        failpoint("commit.index-locked")
        try:
            if self._index.exists():
                shutil.copyfile(self._index, self._new_index)
            done = self._git(
                "read-tree",
                "-i",
                "-m",
                str(self.old or _EMPTY_TREE),
                str(self.new),
                index=self._new_index,
            )
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
        """Give Git's index lock back, if it is ours, durably: none would know it for ours later."""
        if self.is_locked():
            self._lock_file.unlink()
        self._mark.unlink(missing_ok=True)
        self._new_index.unlink(missing_ok=True)
        self._new_index.with_name(f"{self._new_index.name}.lock").unlink(missing_ok=True)
        fsync_path(self._index.parent)

    def is_locked(self) -> bool:
        """Whether Git's index lock is this update's."""
        return (
            self._mark.exists()
            and self._lock_file.exists()
            and self._mark.samefile(self._lock_file)
        )

    def install(self, changes: Sequence[FileChange]) -> None:
        """Put the changed files in place (paths from the worktree's top), then the new index."""
        top = self.worktree.workdir
        changed = [path for path, _, after in changes if after is not None]
        removed = [path for path, _, after in changes if after is None]
        skipped = self._skipped()
        changed = [path for path in changed if path not in skipped]
        for path in removed:
            if (top / path).is_symlink() or not (top / path).is_dir():
                (top / path).unlink(missing_ok=True)
            _remove_empty_parents((top / path).parent, top)
        if changed:
            self._check_out(changed)
        # The update is forgotten in the end: a file lost after that would look like a local edit.
        files = [top / path for path in changed]
        for place in {*files, *(parent for file in files for parent in file.parents)}:
            if place.is_relative_to(top) and place.exists():
                fsync_path(place)
        fsync_path(self._new_index)
        failpoint("commit.worktree-written")
        self._new_index.rename(self._index)
        failpoint("commit.index-renamed")
        self.unlock()

    def _check_out(self, paths: Sequence[str]) -> None:
        # From the index that is not in place yet: git takes no lock that a kill would leave.
        command = ("-c", "core.fsync=all", "-c", "core.fsyncMethod=fsync",
                   "checkout-index", "-f", "-u", "-q", "-z", "--stdin")  # fmt: skip
        listed = "\0".join(paths).encode()
        done = self._git(*command, index=self._new_index, stdin=listed)
        if done.returncode != 0:
            # Git LFS may not find what a pointer stands for: then the pointer is put there.
            self._git(*command, index=self._new_index, stdin=listed, check=True,
                      environment={"GIT_LFS_SKIP_SMUDGE": "1"})  # fmt: skip

    def _skipped(self) -> set[str]:
        """Paths that a sparse checkout leaves out of the worktree."""
        if not (self.worktree.git_dir / "info" / "sparse-checkout").exists():
            return set()
        done = self._git("config", "--type=bool", "core.sparseCheckout")
        if done.stdout.strip() != b"true":
            return set()
        listed = self._git("ls-files", "-t", "-z", index=self._new_index, check=True).stdout
        rows = listed.decode(errors="surrogateescape").split("\0")
        return {row[2:] for row in rows if row.startswith("S ")}

    def _git(
        self, *arguments: str, index: Path | None = None, stdin: bytes | None = None,
        check: bool = False, environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
        own = {"GIT_INDEX_FILE": str(index)} if index else {}
        return run_git(
            *arguments,
            git_dir=self.worktree.git_dir,
            workdir=self.worktree.workdir,
            stdin=stdin,
            environment={**own, **(environment or {})},
            check=check,
        )


def _remove_empty_parents(directory: Path, top: Path) -> None:
    while directory != top:
        try:
            directory.rmdir()
        except OSError:
            return
        directory = directory.parent
