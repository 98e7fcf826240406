"""Looking ahead: which steps of a source's history are left, and whether everything is there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..errors import AlreadyExistsError, HangarError, InvalidInputError, StateError
from ..plugins.finding import Search
from ..records.gitrepo import GitRepository, Oid
from ..records.refs import branch_tip, is_ancestor
from ..staging.layout import Layout
from .progresslog import Done, ProgressLog
from .samples import Counts, Wanted
from .sources import GitSource, MissingError, Source, State, Step, with_groups

KEEPING = "refs/hangar/migrate"
"""Below it, refs lead to what an unfinished migration has made, so that gc spares it."""
_KEPT_FILES = 2_000_000
"""Of the states of a folder, as many are kept as have this many files together."""


def log_of(git: GitRepository, source: Source, arrayset: str) -> ProgressLog:
    """What was done of a source before."""
    return ProgressLog(Layout.of(git).root / "migrations", source.identity, arrayset)


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a step.

    Parameters
    ----------
    step
        Which step.
    commit
        What was made of it; None while it is planned, and of a step that was skipped.
    counts
        Of samples; while it is planned, of files.
    missing
        What the source does not have.
    """

    step: Step
    commit: Oid | None
    counts: Counts
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a history goes.

    Parameters
    ----------
    git
        The repository.
    branch
        The branch that is moved in the end.
    start
        Where it is made if it is not there; None makes it without a parent.
    with_code
        Write the source's commits anew with the data in them, merges included: the branch is then
        the whole history. Otherwise each step at which the folder changed becomes a commit of
        data, one after the other, on top of the branch.
    with_history
        Or else the last step only.
    skip_missing
        Skip steps whose objects are missing.
    """

    git: GitRepository
    branch: str
    start: Oid | None
    with_code: bool
    with_history: bool
    skip_missing: bool


class Plan:
    """What is to be done of a source's history.

    Parameters
    ----------
    source, wanted, target
        What is migrated, to what, and where.
    search
        Which files are meant.
    watched
        Shows how far looking at the steps has come.

    Raises
    ------
    StateError
        The code is to come along, and the source has its history in part only.

    Attributes
    ----------
    steps
        All steps, by name.
    settings
        What a migration that goes on must have been told, too.
    done
        What was done before.
    """

    def __init__(
        self, source: Source, wanted: Wanted, target: Target, search: Search,
        watched: Callable[[Collection[Step]], Iterable[Step]] = iter,
    ) -> None:  # fmt: skip
        self.source = source
        self.wanted = wanted
        self.target = target
        self._search = search
        self._watched = watched
        self._states: dict[str, State] = {}
        self._files = 0
        self._wanted_paths: dict[str, bool] = {}
        if target.with_code and isinstance(source, GitSource) and source.is_shallow:
            raise StateError(
                f"{source.top} is a shallow clone, whose code has no history: get it with"
                f" 'git fetch --unshallow', or migrate data alone with --no-code"
            )
        steps = source.steps(linear=not target.with_code)
        if not target.with_history:
            steps = [replace(steps[-1], parents=())]
        self.steps = {step.name: step for step in steps}
        self._ids = {step.name: self._state_id(step) for step in steps}
        self.log = log_of(target.git, source, wanted.arrayset)
        self.settings = {
            "branch": target.branch,
            "code": target.with_code,
            "history": target.with_history,
            "reading": [repr(wanted), list(search.patterns)],
        }
        self.done = self._still_of_use()

    def _state_id(self, step: Step) -> str:
        try:
            return self.source.state_id(step)
        except HangarError as error:
            error.args = (f"{step.title!r}: {error}",)
            raise

    @property
    def ref(self) -> str:
        """Below it are refs to what was made so far."""
        return f"{KEEPING}/{self.log.name}"

    @property
    def last(self) -> Oid | None:
        """The last commit that was made."""
        return list(self.done.values())[-1].commit if self.done else None

    def state(self, name: str) -> State:
        """The files at a step that are meant; recent ones are kept."""
        state_id = self._ids.get(name, "")
        found = self._states.pop(state_id, None)
        if found is None:
            found = with_groups(self.source.state(state_id))
            found = {path: what for path, what in found.items() if self._wants(path)}
            self._files += len(found)
        self._states[state_id] = found
        while self._files > _KEPT_FILES and len(self._states) > 2:
            self._files -= len(self._states.pop(next(iter(self._states))))
        return found

    def _wants(self, path: str) -> bool:
        wanted = self._wanted_paths.get(path)
        if wanted is None:
            wanted = self._wanted_paths[path] = self._search.wants(path)
        return wanted

    def _still_of_use(self) -> dict[str, Done]:
        """What was done, if it can be gone on with."""
        git, log = self.target.git, self.log.read(self.settings)
        done = {name: one for name, one in log.items() if name in self.steps}
        if not done or len(done) < len(log) or not all(git.has(one.commit) for one in log.values()):
            return {}  # the source's history was rewritten, or git gc ran
        tip, last = branch_tip(git, self.target.branch), list(done.values())[-1].commit
        if tip is not None and is_ancestor(git, last, tip):
            # It was finished. On top of it there may be commits of the user's.
            return done if not self.target.with_code or tip == last else {}
        kept = any(name.startswith(f"{self.ref}/") for name in git.pygit2.references)
        return done if kept and (tip is None or is_ancestor(git, tip, last)) else {}

    def left(self) -> dict[str, Made]:
        """The steps that are left at which the folder changes, with numbers of files.

        Raises
        ------
        MissingError
            The source does not have what they name, and they are not to be skipped.
        AlreadyExistsError
            The branch has other commits, or an arrayset of this name.
        InvalidInputError
            There is nothing to migrate.
        """
        self._check_place()
        data = {name: one.data for name, one in self.done.items()}
        left: dict[str, Made] = {}
        for step in self._watched(self.steps.values()):
            name = step.name
            if name in self.done:
                continue
            before = data.get(step.parents[0], "") if step.parents else ""
            data[name] = before
            if self._ids[name] == self._ids.get(before, ""):
                continue
            missing, counts = self._compared(before, name)
            if not missing:
                data[name] = name
            if missing or counts != Counts():
                left[name] = Made(step, None, counts, missing)
        if not self.done and not left:
            raise InvalidInputError(
                f"{self.source.folder!r} has no files that fit, at any step of its history"
            )
        self._check_missing(left)
        return left

    def _check_missing(self, left: Mapping[str, Made]) -> None:
        lacking = [made for made in left.values() if made.missing]
        if not lacking or self.target.skip_missing:
            return
        names = sorted({name for made in lacking for name in made.missing})
        shown = ", ".join(repr(made.step.title) for made in lacking[:3])
        more = f" and {len(lacking) - 3} others" if len(lacking) > 3 else ""
        raise MissingError(
            f"{self.source.folder!r}: the objects of {names[0]}"
            f"{f' and {len(names) - 1} other files' if len(names) > 1 else ''} are not on this"
            f" machine, at {shown}{more}: {self.source.fetching!r} gets them, and --skip-missing"
            f" leaves these commits out",
            names,
        )

    def _compared(self, before: str, name: str) -> tuple[list[str], Counts]:
        try:
            old, new = self.state(before), self.state(name)
        except MissingError as error:
            return error.names, Counts()
        counts, missing = Counts(), []
        for path, content in new.items():
            if old.get(path) == content:
                continue
            counts.changed += path in old
            counts.added += path not in old
            if not self.source.is_here(content):
                missing.append(path)
        counts.removed = len(old.keys() - new.keys())
        return missing, counts

    def _check_place(self) -> None:
        git, name, target = self.target.git, self.wanted.arrayset, self.target
        if self.done:
            return
        tip = branch_tip(git, target.branch)
        if target.with_code and tip is not None:
            raise AlreadyExistsError(
                f"branch {target.branch!r} is there already; give another one with --branch"
            )
        places: list[tuple[GitRepository, Oid]] = []
        if target.with_code and self.source.git is not None:
            places = [(self.source.git, Oid(hex=step)) for step in self.steps]
        elif (base := tip if tip is not None else target.start) is not None:
            places = [(git, base)]
        seen: set[Oid | None] = {None}
        for where, commit in places:
            tree = where.hangar_tree(commit)
            if tree not in seen and where.subtree(tree, f"arraysets/{name}") is not None:
                raise AlreadyExistsError(
                    f"there is an arrayset {name!r} at commit {str(commit)[:10]} already; choose"
                    f" another name for this one"
                )
            seen.add(tree)
