"""The writer branch: which branch staged edits are for.

It starts as HEAD's branch. ``git hangar checkout`` and a writer checkout of a named branch set it;
after that it follows ``git switch`` in the worktree that chose it, while nothing is staged, and
HEAD again once the branch is deleted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from ..durable import replace_file
from ..errors import StateError, StorageError
from ..records.gitrepo import GitRepository
from ..records.refs import HEADS, head_branch
from ..records.worktrees import head_branch_of, worktree_name


class WriterBranch(NamedTuple):
    """A choice of writer branch.

    Parameters
    ----------
    branch
        The branch chosen.
    worktree
        Name of the worktree it was chosen in.
    head
        The branch that this worktree's HEAD was on then; None if detached.
    """

    branch: str
    worktree: str
    head: str | None


class WriterBranchFile:
    """Where the choice is kept, below ``<git common dir>/hangar``."""

    def __init__(self, git: GitRepository, path: Path) -> None:
        self._git = git
        self._path = path

    def chosen(self) -> WriterBranch | None:
        """The last choice, or None."""
        try:
            return WriterBranch(*json.loads(self._path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def current(self, *, staged: bool) -> str:
        """The writer branch as of now; `staged` tells whether edits are staged for it.

        Raises
        ------
        StateError
            HEAD is detached and no branch was chosen.
        """
        chosen = self.chosen()
        head = head_branch(self._git)
        if chosen is not None:
            there = self._head_of(chosen.worktree)
            if staged or (there == chosen.head and self._is_there(chosen)):
                return chosen.branch
            head = there or head
        if head is None:
            raise StateError(
                "HEAD is detached, and data is committed to branches only: git switch BRANCH,"
                " or git hangar checkout BRANCH"
            )
        return head

    def choose(self, branch: str) -> None:
        """Make `branch` the writer branch, on behalf of this worktree."""
        choice = WriterBranch(branch, worktree_name(self._git), head_branch(self._git))
        if choice == self.chosen():
            return
        try:
            replace_file(self._path, json.dumps(choice).encode())
        except OSError as error:
            raise StorageError.of(error, f"writing {self._path}") from error

    def _is_there(self, chosen: WriterBranch) -> bool:
        """Whether the branch still exists, or awaits its first commit."""
        return chosen.branch == chosen.head or HEADS + chosen.branch in self._git.pygit2.references

    def _head_of(self, worktree: str) -> str | None:
        common = self._git.common_dir
        return head_branch_of(common / "worktrees" / worktree if worktree else common)
