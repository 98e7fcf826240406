"""What is migrated: a folder of files, as each step of its history has it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from ..errors import FormatError, InvalidInputError, RevisionNotFoundError, StateError
from ..records.gitprogram import run_git
from ..records.gitrepo import GitRepository, Oid, Tree
from ..records.refs import resolve


class MissingError(StateError):
    """The source does not have what a step of its history names; `names` tells of what."""

    kind = "missing"

    def __init__(self, message: str, names: list[str]) -> None:
        super().__init__(message)
        self.names = names


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds.

    Parameters
    ----------
    id
        Equal for equal bytes: the digest that the source has, and which; ``sha256:6b86...``.
    path
        Where the bytes are; None if in Git.
    parts
        Of what is a directory and one thing for its plugin, a Zarr group: path and content of each
        file in it.
    """

    id: str
    path: Path | None = None
    parts: tuple[tuple[str, Content], ...] = ()


State = Mapping[str, Content]
"""The files of the folder, by their path in it, with slashes."""


def with_groups(state: State) -> State:
    """`state`, where the files of each Zarr group are one content."""
    found: dict[str, Content] = {}
    groups: defaultdict[str, list[tuple[str, Content]]] = defaultdict(list)
    for path, content in state.items():
        end = path.lower().find(".zarr/") + len(".zarr")
        if end < len(".zarr"):
            found[path] = content
        else:
            groups[path[:end]].append((path[end + 1 :], content))
            # Trees that nobody checked may name anything, and these are names of files to make.
            if not {"", ".", ".."}.isdisjoint(path.split("/")):
                raise FormatError(f"{path!r} is no path in a folder")
    for path, parts in groups.items():
        parts.sort()
        listed = "".join(f"{name}\0{part.id}\0" for name, part in parts)
        digest = blake3(listed.encode(errors="surrogateescape")).hexdigest()
        found[path] = Content(f"group:{digest}", None, tuple(parts))
    return found


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a history.

    Parameters
    ----------
    name
        Oid of the commit, or name of the version.
    parents
        Names of the steps before it.
    title
        For people: the short oid and subject.
    """

    name: str
    parents: tuple[str, ...]
    title: str


class Source(ABC):
    """A folder with a history.

    Attributes
    ----------
    git
        The Git repository that it is in, if its history is that one's.
    identity
        Tells this source from others.
    folder
        Its name.
    fetching
        How the user gets objects that are missing.
    """

    git: GitRepository | None = None
    identity: str
    folder: str
    fetching = ""

    @abstractmethod
    def steps(self, *, linear: bool) -> list[Step]:
        """All steps, parents first; with `linear` each has at most one, the step before it."""

    @abstractmethod
    def state_id(self, step: Step) -> str:
        """Equal for steps at which the folder is the same; empty where there is none."""

    @abstractmethod
    def state(self, state_id: str) -> State:
        """The folder.

        Raises
        ------
        MissingError
            The list of its files is not here.
        """

    def is_here(self, content: Content) -> bool:
        """Whether the bytes are on this machine."""
        if content.parts:
            return all(self.is_here(part) for _, part in content.parts)
        return content.path is None or content.path.is_file()

    def read(self, content: Content) -> bytes:
        """The bytes of a content without a path; a source that has such says where they are."""
        raise AssertionError(f"all contents of {self} have paths, not {content}")

    @abstractmethod
    def check(self, content: Content, path: Path) -> None:
        """Raise IntegrityError if the bytes at `path` are not the content."""


class GitSource(Source):
    """A folder in a Git repository, which is only read.

    Parameters
    ----------
    path
        Of the folder, or file; it need not be in the worktree. In a bare repository, below its
        own directory.
    revision
        The last commit of the history.
    """

    def __init__(self, path: Path, revision: str) -> None:
        # Not resolved to its end: DVC may have put a link to its cache there.
        absolute = path.absolute().parent.resolve() / path.name if path.name else path.resolve()
        near = next(one for one in (absolute, *absolute.parents) if one.is_dir())
        git = GitRepository.discover(near)
        if git is None:
            raise InvalidInputError(f"{path} is not in a Git repository")
        self.git: GitRepository = git
        self.top = (git.workdir or git.git_dir).resolve()
        try:
            relative = absolute.relative_to(self.top)
        except ValueError as error:
            raise InvalidInputError(f"{path} is not in the worktree at {self.top}") from error
        self.inside = "" if relative == Path() else relative.as_posix()
        self.folder = absolute.name
        self.path = path
        try:
            self.last = resolve(git, revision)
        except RevisionNotFoundError as error:
            raise RevisionNotFoundError(f"{self.top}: {error}") from error

    def steps(self, *, linear: bool) -> list[Step]:
        """As `Source.steps`: commits; with `linear` the first parents of the last one."""
        listed = run_git(
            "log", "--no-show-signature", "--topo-order", "--reverse",
            "--format=%H%x00%P%x00%s",
            *(["--first-parent"] if linear else []), str(self.last),
            "--", git_dir=self.git.git_dir,
        )  # fmt: skip
        steps = []
        for line in listed.stdout.decode(errors="replace").splitlines():
            oid, parents, subject = line.split("\0")
            before = parents.split()[:1] if linear else parents.split()
            steps.append(Step(oid, tuple(before), f"{oid[:10]} {subject}"))
        known = {step.name for step in steps}
        # The first commits of a shallow clone have parents that are not there.
        return [
            Step(one.name, tuple(name for name in one.parents if name in known), one.title)
            for one in steps
        ]

    @property
    def is_shallow(self) -> bool:
        """Whether the repository lacks the older part of its history."""
        return (self.git.common_dir / "shallow").is_file()

    def code(self, step: Step) -> Tree:
        """All files of a commit, as the entries of its root tree."""
        return self.git.read_tree(self.git.commit(Oid(hex=step.name)).tree_id)


def own_objects(directories: tuple[Path, ...]) -> Iterator[Path]:
    """The directories of objects that the user named.

    Raises
    ------
    InvalidInputError
        One is not there.
    """
    for directory in directories:
        if not directory.is_dir():
            raise InvalidInputError(f"{directory} is no directory of objects")
        yield directory
