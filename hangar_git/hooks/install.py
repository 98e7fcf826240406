"""Registering drivers and hooks in a clone, and taking them out again.

A hook that is there already is moved aside, and run first by ours; uninstalling moves it back.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..durable import replace_file
from ..errors import ReadOnlyError, StateError
from ..records.gitprogram import run_git
from ..records.gitrepo import GitRepository
from .run import HOST_NAMES, NAMES

_ASIDE = ".before-hangar"
_MARK = b"hangar_git hook"


def scripts_directory() -> Path:
    """Where the hook scripts are: in the package, or beside it in a source tree."""
    packaged = Path(__file__).parent / "scripts"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "hooks"


def hooks_directory(git: GitRepository) -> Path:
    """The directory that Git runs hooks from; ``core.hooksPath`` is respected."""
    done = run_git("rev-parse", "--git-path", "hooks", git_dir=git.git_dir, workdir=git.workdir)
    path = Path(done.stdout.decode().strip())
    return path if path.is_absolute() else (git.workdir or git.git_dir) / path


def _names(git: GitRepository) -> tuple[str, ...]:
    return NAMES + HOST_NAMES if git.workdir is None else NAMES


def _driver_settings() -> dict[str, str]:
    python = f'"{sys.executable}" -m hangar_git.cli.driver'
    return {
        "merge.hangar.name": "hangar record files",
        "merge.hangar.driver": f"{python} merge %O %A %B %P",
        "diff.hangar.textconv": f"{python} text",
        "diff.hangar.cachetextconv": "false",
    }


def install(git: GitRepository) -> list[str]:
    """Register drivers and hooks; the hooks that were there before and are chained.

    Raises
    ------
    ReadOnlyError
        The hooks directory cannot be written to.
    """
    directory = hooks_directory(git)
    chained = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in _names(git):
            hook, aside = directory / name, directory / f"{name}{_ASIDE}"
            if _is_ours(hook):
                pass
            elif os.path.lexists(hook):
                if os.path.lexists(aside):
                    raise StateError(f"{aside} is in the way; move it, and install again")
                hook.rename(aside)
            if os.path.lexists(aside):
                chained.append(name)
            replace_file(hook, (scripts_directory() / name).read_bytes())
            hook.chmod(0o755)
    except PermissionError as error:
        raise ReadOnlyError(f"{directory} cannot be written to: {error.strerror}") from error
    for name, value in _driver_settings().items():
        run_git("config", name, value, git_dir=git.git_dir)
    return chained


def uninstall(git: GitRepository) -> None:
    """Take drivers and hooks out; what was there before them is there again."""
    directory = hooks_directory(git)
    for name in _names(git):
        hook, aside = directory / name, directory / f"{name}{_ASIDE}"
        if _is_ours(hook):
            hook.unlink()
            if os.path.lexists(aside):
                aside.rename(hook)
    for section in ("merge.hangar", "diff.hangar"):
        run_git("config", "--remove-section", section, git_dir=git.git_dir, check=False)


def is_installed(git: GitRepository) -> bool:
    """Whether the drivers are registered in this clone."""
    done = run_git("config", "merge.hangar.driver", git_dir=git.git_dir, check=False)
    return done.returncode == 0


def _is_ours(hook: Path) -> bool:
    try:
        return _MARK in hook.read_bytes()
    except OSError:
        return False
