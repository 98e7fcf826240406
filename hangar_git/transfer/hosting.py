"""The repositories that a server serves: bare Git repositories below one root, or a single one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..durable import fsync_path, make_directory
from ..errors import (
    NotPermittedError,
    RemoteNotFoundError,
    StateError,
    cannot_write,
)
from .samples import SampleStore

_OURS = "hangar.server"


@dataclass(frozen=True)
class Hosted:
    """One repository that is served.

    Parameters
    ----------
    name
        Below the root, without ``.git``; empty for the default repository.
    git_dir
        Its bare Git repository.
    store
        Its samples.
    """

    name: str
    git_dir: Path
    store: SampleStore


class Hosting:
    """Finds, opens and creates repositories.

    Parameters
    ----------
    root
        Directory of repositories, or None.
    default
        Repository served for the empty name, or None.
    create
        Whether one that is not there is made when it is first written to.
    open_store
        Opens the samples of the repository at a path; called once for each.
    """

    def __init__(
        self,
        root: Path | None,
        default: Path | None,
        create: bool,
        open_store: Callable[[Path], SampleStore],
    ) -> None:
        # Only the root may be reached through links: what is below belongs to it.
        self._root = root.resolve() if root is not None else None
        self._default = default
        self.create = create
        self._open_store = open_store
        self._open: dict[Path, Hosted] = {}
        self._lock = threading.Lock()

    def find(self, name: str) -> Hosted | None:
        """The repository `name`, a name that `repository_name` gave; None if it is not there."""
        git_dir = self._locate(name)
        return self._opened(name, git_dir) if git_dir is not None else None

    def find_or_create(self, name: str) -> Hosted:
        """The repository `name`, made now if that is allowed.

        Raises
        ------
        RemoteNotFoundError
            It is not there, and is not to be made.
        """
        found = self.find(name)
        if found is not None:
            return found
        path = self._path(name)
        if path is None or not self.create or self._inside_a_repository(path):
            raise not_found(name)
        create_repository(path)
        return self._opened(name, path)

    def _opened(self, name: str, git_dir: Path) -> Hosted:
        with self._lock:
            if git_dir not in self._open:
                self._open[git_dir] = Hosted(name, git_dir, self._open_store(git_dir))
            return self._open[git_dir]

    def _path(self, name: str) -> Path | None:
        if not name:
            return self._default
        return self._root / f"{name}.git" if self._root is not None else None

    def _locate(self, name: str) -> Path | None:
        path = self._path(name)
        if path is None:
            return None
        if not name:
            return path if is_repository(path) else None
        for candidate in (path, path.with_name(path.name.removesuffix(".git"))):
            # A link below the root could lead out of it.
            if is_repository(candidate) and candidate.resolve() == candidate:
                return candidate
        return None

    def _inside_a_repository(self, path: Path) -> bool:
        above = path.parent
        while above not in (self._root, above.parent):
            if is_repository(above) or is_repository(above.with_name(above.name + ".git")):
                return True
            above = above.parent
        return False


def not_found(name: str) -> RemoteNotFoundError:
    """The error for a repository that is not served."""
    what = f"no repository {name!r} on this server" if name else "this server has no default one"
    return RemoteNotFoundError(f"{what}; name one that exists, or start it with --create")


def is_repository(path: Path) -> bool:
    """Whether a bare Git repository lies at `path`."""
    return (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir()


def create_repository(path: Path) -> None:
    """Make a bare repository at `path`; if another process is faster, its one stays."""
    try:
        make_directory(path.parent)
        temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=path.parent))
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        run_git("init", "--quiet", "--bare", "--template=", str(temporary))
        run_git("--git-dir", str(temporary), "config", _OURS, "true")
        temporary.chmod(0o755)
        temporary.rename(path)
        fsync_path(path.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if not is_repository(path):
            raise cannot_write(path, error) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def overwrite_repository(path: Path) -> None:
    """Remove a server's repository, so that an empty one can take its place.

    Raises
    ------
    NotPermittedError
        It was not made by a server, or its history holds more than records of arrays.
    """
    if not path.exists():
        return
    git_dir = ("--git-dir", str(path))
    if (
        not is_repository(path)
        or run_git(*git_dir, "config", "--get", _OURS, check=False) != "true\n"
    ):
        raise NotPermittedError(f"{path} was not made by a Hangar server; it is not overwritten")
    other = run_git(
        *git_dir, "log", "--all", "--full-history", "-1", "--format=%h",
        "--", ".", ":(top,exclude).hangar",
    )  # fmt: skip
    if other:
        raise NotPermittedError(
            f"{path} holds more than arrays: commit {other.strip()} changes other files; remove it"
            " yourself if that is meant"
        )
    shutil.rmtree(path)


def point_head(git_dir: Path) -> None:
    """Let HEAD name a branch that exists, so that clones check something out.

    A server cannot know how those who push call their first branch.
    """
    in_git = ("--git-dir", str(git_dir))
    if run_git(*in_git, "rev-parse", "--quiet", "--verify", "HEAD", check=False):
        return
    listed = run_git(*in_git, "for-each-ref", "--format=%(refname)", "refs/heads", check=False)
    branches = listed.split()
    usual = [name for name in ("refs/heads/main", "refs/heads/master") if name in branches]
    if branches:
        run_git(*in_git, "symbolic-ref", "HEAD", (usual or branches)[0], check=False)


def git_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment of a git process that works on the repository it is told, and no other."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # Where the configuration of machine and user is read from may be set on purpose.
    kept |= {name: os.environ[name] for name in os.environ if name.startswith("GIT_CONFIG_")}
    return kept | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"} | dict(more or {})


def run_git(*arguments: str, check: bool = True) -> str:
    """What git prints.

    Raises
    ------
    StateError
        git is not installed or, with `check`, failed.
    """
    command: Sequence[str] = ["git", *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=git_environment(), check=False
        )
    except FileNotFoundError as error:
        raise StateError("the git program was not found; install Git 2.38 or later") from error
    if check and done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise StateError(f"git failed: {said[-1] if said else done.returncode}")
    return done.stdout
