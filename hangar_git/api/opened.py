"""A repository that is found at a path, and what its revisions mean."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from ..errors import HangarError, StateError
from ..records import refs
from ..records.counts import RecordCounts
from ..records.gitrepo import GitRepository, Oid
from ..records.snapshot import Snapshots
from ..staging.journal import Journal
from ..staging.layout import Layout
from ..staging.writerbranch import WriterBranchFile
from .initializing import is_initialized


class InvalidPathError(HangarError, NotADirectoryError):
    """The path of a repository is not a directory."""

    kind = "invalid-path"
    __str__ = Exception.__str__


class OpenedRepository:
    """Base of `Repository`: finds it, and the commits in it."""

    def __init__(self, path: str | os.PathLike[str], exists: bool = True) -> None:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"path must be a str or path, not {type(path).__name__}")
        self._path = Path(path).expanduser().absolute()
        if not self._path.is_dir():
            raise InvalidPathError(f"{self._path} is not a directory; make it first")
        self._git: GitRepository | None = None
        self._open()
        if exists and not self.initialized:
            warnings.warn(
                f"No repository exists at {self._path}; call repo.init() to make one",
                UserWarning,
                stacklevel=2,
            )

    def _open(self) -> None:
        git = GitRepository.discover(self._path)
        # A repository further up counts only if it holds data: init makes one at the path.
        if git is not None and (self._is_top(git) or is_initialized(git)):
            self._git = git

    def _is_top(self, git: GitRepository) -> bool:
        places = (git.workdir, git.git_dir)
        return any(place is not None and place.samefile(self._path) for place in places)

    @property
    def path(self) -> str:
        """The directory of the repository: the top of its worktree."""
        top = self._git.workdir or self._git.git_dir if self._git is not None else self._path
        return str(top)

    @property
    def initialized(self) -> bool:
        """Whether there is a repository that `init` need not make."""
        return self._git is not None and is_initialized(self._git)

    def _require(self) -> GitRepository:
        if self._git is None:
            self._open()
        if self._git is None or not is_initialized(self._git):
            raise StateError(
                f"{self._path} is not a hangar repository; make it one with repo.init(), or"
                f" 'git hangar init'"
            )
        return self._git

    @staticmethod
    def _snapshots(git: GitRepository) -> Snapshots:
        return Snapshots(git, RecordCounts(Layout.of(git).counts))

    def _start(self, git: GitRepository, branch: str | None, commit: str | None) -> Oid:
        """The commit that `branch` or `commit` means; the writer branch's if neither is given."""
        if commit:
            return refs.resolve(git, commit)
        if branch:
            return refs.resolve(git, branch)
        return refs.require_tip(git, self._writer_branch(git))

    def _writer_branch(self, git: GitRepository) -> str:
        layout = Layout.of(git)
        staged = Journal(layout.journal).has_edits()
        return WriterBranchFile(git, layout.writer_branch).current(staged=staged)
