"""Running the `git` program, for what pygit2 does not do: the user's index and worktree, packs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ..errors import StateError

_INHERITED = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR",
              "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE")  # fmt: skip


def run_git(
    *arguments: str,
    git_dir: Path | None = None,
    workdir: Path | None = None,
    stdin: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[bytes]:
    """Run git on the repository at `git_dir`, in `workdir` if it has one.

    Variables by which an enclosing git command would point us to its own repository are dropped.

    Raises
    ------
    StateError
        git is not installed or, with `check`, failed; the message carries what it said.
    """
    env = {name: value for name, value in os.environ.items() if name not in _INHERITED}
    env |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    if git_dir is not None:
        env["GIT_DIR"] = str(git_dir)
        if workdir is not None:
            env["GIT_WORK_TREE"] = str(workdir)
    env |= environment or {}
    try:
        done = subprocess.run(
            ["git", *arguments], input=stdin, capture_output=True, cwd=workdir, env=env, check=False
        )
    except FileNotFoundError as error:
        raise StateError("the git program was not found; install Git 2.38 or later") from error
    if check and done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        options = {i + 1 for i, argument in enumerate(arguments) if argument == "-c"}
        command = next(
            argument
            for i, argument in enumerate(arguments)
            if i not in options and not argument.startswith("-")
        )
        raise StateError(f"git {command} failed: {said[-1] if said else done.returncode}")
    return done
