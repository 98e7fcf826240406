"""Making a directory a repository of data, and removing a former one."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..config import Config
from ..errors import NotPermittedError
from ..records import refs
from ..records.edits import GIT_ATTRIBUTES
from ..records.gitprogram import run_git
from ..records.gitrepo import HANGAR_DIR, GitRepository, Oid
from ..staging.layout import Layout
from ..staging.lock import WriterLock


def is_initialized(git: GitRepository) -> bool:
    """Whether a Git repository holds data, or is ready to."""
    if Layout.of(git).exists:
        return True
    return git.hangar_tree(refs.head_commit(git)) is not None


def write_initial_files(directory: Path) -> None:
    """The files that the first commit will hold, so that ``.hangar/`` is there to be seen."""
    directory.mkdir(exist_ok=True)
    for name, text in (("config", Config().to_text()), (".gitattributes", GIT_ATTRIBUTES)):
        if not (directory / name).exists():
            (directory / name).write_text(text)


def disk_usage(directory: Path) -> int:
    """Bytes of all files below `directory`."""
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


def remove_data(git: GitRepository) -> None:
    """Remove a repository that holds data only; its worktree's other files stay.

    Raises
    ------
    NotPermittedError
        Its history, index or worktrees hold other things, or a writer is at work.
    """
    layout = Layout.of(git)
    if not layout.exists:
        return
    lock = WriterLock(layout.lock)
    lock.acquire()
    try:
        if other := _other_than_data(git):
            raise NotPermittedError(
                f"{git.git_dir} holds {other}, which removing the old data would lose; nothing was"
                f" removed"
            )
    finally:
        lock.release()
    if git.workdir is not None:
        shutil.rmtree(git.workdir / HANGAR_DIR, ignore_errors=True)
    shutil.rmtree(git.git_dir)


def _other_than_data(git: GitRepository) -> str | None:
    """What else than data a repository holds, or None."""
    if git.workdir is None or git.git_dir != git.common_dir:
        return "no worktree of its own"
    if any((git.common_dir / "worktrees").glob("*")):
        return "linked worktrees"
    listed = run_git("ls-files", "-z", git_dir=git.git_dir, workdir=git.workdir).stdout
    if any(not path.startswith(HANGAR_DIR.encode() + b"/") for path in listed.split(b"\0")[:-1]):
        return "other files in its index"
    commits = run_git("rev-list", "--all", "--reflog", git_dir=git.git_dir).stdout.decode().split()
    for oid in commits:
        entries = git.read_tree(git.commit(Oid(hex=oid)).tree_id)
        if any(name != HANGAR_DIR or not e.is_tree for name, e in entries.items()):
            return f"commit {oid[:12]} with other files"
    return None
