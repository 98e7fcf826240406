"""Running the `git` program, for what pygit2 does not do: the user's index and worktree, packs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping
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
    given_fds: Collection[int] = (),
) -> subprocess.CompletedProcess[bytes]:
    """Run git on the repository at `git_dir`, in `workdir` if it has one.

    Descriptors `given_fds` become its own: they stay open there, and are closed here.
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
    done = _run(["git", *arguments], stdin, workdir, env, given_fds)
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


def _run(
    command: list[str],
    stdin: bytes | None,
    cwd: Path | None,
    env: Mapping[str, str],
    given_fds: Collection[int],
) -> subprocess.CompletedProcess[bytes]:
    """As `subprocess.run`; its caller's copies of `given_fds` are closed once it has started."""
    try:
        process = subprocess.Popen(
            command,
            stdin=None if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=env,
            pass_fds=given_fds,
        )
    except FileNotFoundError as error:
        raise StateError("the git program was not found; install Git 2.38 or later") from error
    finally:
        for descriptor in given_fds:
            os.close(descriptor)
    with process:
        try:
            out, err = process.communicate(stdin)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)
