"""What each hook does. Local work of the size of the change; never waiting.

Only those around a push use the network, and only when data is, or may be, missing there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import FormatError, HangarError, StateError, WriterLockError
from ..records.gitrepo import GitRepository
from ..records.refs import head_branch
from ..staging.journal import Journal
from ..staging.layout import Layout
from ..staging.session import WriteSession
from ..staging.withindex import check_index, finish_commit, put_into_index
from ..staging.writerbranch import WriterBranchFile

NAMES = ("pre-commit", "post-commit", "post-checkout", "post-merge", "post-rewrite", "pre-push")
HOST_NAMES = ("pre-receive",)
"""Hooks of a bare repository, which others push to, on top of those."""


def run_hook(name: str, arguments: Sequence[str]) -> int:
    """Run the hook `name` in the current directory; its exit code."""
    git = GitRepository.discover(Path.cwd())
    if git is None:
        return 0
    if name in ("pre-push", "pre-receive"):
        from .remotes import pre_push, pre_receive

        return (pre_push if name == "pre-push" else pre_receive)(git, arguments)
    if not Layout.of(git).exists:
        return 0
    hooks: dict[str, Callable[[GitRepository, Sequence[str]], int]] = {
        "pre-commit": pre_commit,
        "post-commit": post_commit,
        "post-rewrite": post_commit,
        "post-checkout": post_checkout,
        "post-merge": post_merge,
    }
    hook = hooks.get(name)
    return hook(git, arguments) if hook is not None else 0


def _say(line: str) -> None:
    sys.stderr.write(f"hangar: {line}\n")


def pre_commit(git: GitRepository, _: Sequence[str]) -> int:
    """Take the staged data along; refuse record files that are malformed."""
    branch = head_branch(git)
    index = _index_of(git)
    if branch is None:
        return 0
    try:
        session = WriteSession(git)
    except WriterLockError:
        _say("another process is writing data; this commit goes without what it staged")
        return 0
    except HangarError as error:
        _say(f"this commit goes without staged data: {error}")
        return 0
    try:
        if session.branch == branch and not _is_merging(git) and session.staged_edits():
            put_into_index(session, index)
        check_index(session, index)
    except (FormatError, StateError) as error:
        _say(str(error))
        return 1
    finally:
        session.close()
    return 0


def _index_of(git: GitRepository) -> Path | None:
    """The index that is being committed: of ``git commit PATH`` and ``-a`` a temporary one."""
    name = os.environ.get("GIT_INDEX_FILE")
    if not name:
        return None
    return Path(name) if Path(name).is_absolute() else (git.workdir or git.git_dir) / name


def _is_merging(git: GitRepository) -> bool:
    return any(
        (git.git_dir / f"{kind}_HEAD").exists() for kind in ("MERGE", "CHERRY_PICK", "REVERT")
    )


def post_commit(git: GitRepository, _: Sequence[str]) -> int:
    """Clear the staged data that HEAD holds; bring index and worktree along."""
    try:
        finish_commit(git)
    except WriterLockError:
        return 0
    except HangarError as error:
        _say(f"{error}; 'git hangar sync' tries again")
    return 0


def post_checkout(git: GitRepository, arguments: Sequence[str]) -> int:
    """The writer branch follows ``git switch`` while nothing is staged."""
    # A worktree that is just made has no former commit: nobody switched in it.
    if list(arguments[2:3]) == ["1"] and arguments[0].strip("0"):
        _follow(git)
    return 0


def post_merge(git: GitRepository, _: Sequence[str]) -> int:
    """Tell when a merge moved the branch under staged data."""
    _follow(git)
    return 0


def _follow(git: GitRepository) -> None:
    layout, head = Layout.of(git), head_branch(git)
    chosen = WriterBranchFile(git, layout.writer_branch)
    staged = Journal(layout.journal).has_edits()
    try:
        current = chosen.current(staged=staged)
        if head is None or current == head:
            return
        if staged:
            _say(f"changes are staged for branch {current!r}, which stays the writer branch")
        else:
            chosen.choose(head)
    except HangarError as error:
        _say(str(error))
