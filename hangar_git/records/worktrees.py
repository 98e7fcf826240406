"""The worktrees of a repository, and what their HEADs are on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .gitprogram import run_git
from .gitrepo import HANGAR_DIR, GitRepository, Oid, blob_oid
from .refs import HEADS


@dataclass(frozen=True, slots=True)
class Worktree:
    """A worktree.

    Parameters
    ----------
    name
        Empty for the main one, else the name Git has for a linked one.
    git_dir
        Where its HEAD and index are.
    workdir
        Where its files are.
    """

    name: str
    git_dir: Path
    workdir: Path


def worktrees(git: GitRepository) -> Iterator[Worktree]:
    """All worktrees: the main one, unless the repository is bare, then the linked ones."""
    main = git.common_dir
    config = {entry.name: entry.value for entry in git.pygit2.config}
    if config.get("core.bare") != "true":
        # That of a submodule, or of --separate-git-dir, stands in the configuration.
        configured = main / (config.get("core.worktree") or "..")
        workdir = git.workdir if git.git_dir == main and git.workdir else configured
        yield Worktree("", main, workdir.resolve())
    for linked in sorted((main / "worktrees").glob("*")):
        if (linked / "gitdir").is_file():
            workdir = Path((linked / "gitdir").read_text().strip()).parent
            if workdir.is_dir():
                yield Worktree(linked.name, linked, workdir)


def find_worktree(git: GitRepository, name: str) -> Worktree | None:
    """The worktree called `name`, or None."""
    return next((worktree for worktree in worktrees(git) if worktree.name == name), None)


def worktrees_on(git: GitRepository, branch: str) -> list[Worktree]:
    """All worktrees whose HEAD is on `branch`."""
    return [tree for tree in worktrees(git) if head_ref(tree.git_dir) == HEADS + branch]


def git_dirs_using(git: GitRepository, branch: str) -> list[Path]:
    """Git directories of the worktrees that are on `branch`, or in the midst of rebasing it."""
    found = [worktree.git_dir for worktree in worktrees_on(git, branch)]
    for worktree in worktrees(git):
        for state in ("rebase-merge", "rebase-apply"):
            name = worktree.git_dir / state / "head-name"
            if name.is_file() and name.read_text().strip() == HEADS + branch:
                found.append(worktree.git_dir)
    return found


def head_ref(git_dir: Path) -> str | None:
    """The ref that HEAD in `git_dir` is on; None when detached or gone."""
    try:
        text = (git_dir / "HEAD").read_text()
    except OSError:
        return None
    return text[5:].strip() if text.startswith("ref: ") else None


def head_branch_of(git_dir: Path) -> str | None:
    """The branch that HEAD in `git_dir` is on; None when detached or gone."""
    ref = head_ref(git_dir)
    return ref[len(HEADS) :] if ref is not None and ref.startswith(HEADS) else None


def worktree_name(git: GitRepository) -> str:
    """The name of the worktree that `git` was opened in."""
    return "" if git.git_dir == git.common_dir else git.git_dir.name


def drop_initial_files(git: GitRepository, worktree: Worktree, commit: Oid) -> None:
    """Remove files of ``.hangar/`` that Git does not know, where `commit` has the same ones.

    Initializing a repository writes them, and git would not put a branch's own in their place.
    """
    entries = git.read_tree(git.hangar_tree(commit))
    for path in (worktree.workdir / HANGAR_DIR).glob("*"):
        entry = entries.get(path.name)
        if entry is None or not entry.is_file or not path.is_file() or path.is_symlink():
            continue
        known = run_git("ls-files", "--", f"{HANGAR_DIR}/{path.name}", git_dir=worktree.git_dir,
                        workdir=worktree.workdir).stdout  # fmt: skip
        if not known and blob_oid(path.read_bytes()) == str(entry.oid):
            path.unlink()
