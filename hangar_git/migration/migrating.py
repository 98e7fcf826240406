"""Migrating: a commit for each step that is left, and then the branch is moved to the last."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import HangarError, InvalidInputError
from ..plugins.manager import PluginManager
from ..records.commit import dated_commit, retold_commit
from ..records.edits import ArraysetEdits, Edits
from ..records.gitprogram import run_git
from ..records.gitrepo import Oid, Tree
from ..records.refs import is_ancestor
from ..staging.historywriter import HistoryWriter
from .planning import Made, Plan
from .progresslog import Done
from .samples import Progress, SampleReader
from .sources import GitSource, Step
from .versions import VersionsSource

_DURABLE_EVERY_S = 5.0


@dataclass(slots=True)
class Outcome:
    """What a migration came to.

    Parameters
    ----------
    made
        The steps at which the folder changed.
    refused
        Why files were left out.
    commit
        The commit that the branch is at.
    interrupted
        Whether the user stopped it; the branch has not moved then.
    """

    made: list[Made] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    commit: Oid | None = None
    interrupted: bool = False


def migrate(
    plan: Plan, manager: PluginManager, progress: Progress, tell: Callable[[Made], None]
) -> Outcome:
    """Migrate what is left, and move the branch; `tell` is told of each step.

    Raises
    ------
    InvalidInputError
        A file is not right; names it, and the step. Steps before it need not be done again.
    MissingError, AlreadyExistsError
        As `Plan.left`. Nothing was changed.
    """
    outcome = Outcome()
    with (
        HistoryWriter(plan.target.git, plan.target.branch) as writer,
        TemporaryDirectory(prefix="hangar-migrate-") as temporary,
    ):
        left = plan.left()
        reader = SampleReader(plan.source, plan.wanted, manager, writer.store, Path(temporary),
                              progress)  # fmt: skip
        outcome.refused = reader.refused
        commits: _Commits
        if plan.target.with_code:
            commits = _WithCode(plan, writer, reader)
        else:
            commits = _OnTop(plan, writer, reader)
        try:
            for name, step in plan.steps.items():
                if name in plan.done:
                    continue
                made = commits.take(step, left.get(name))
                if made is not None:
                    outcome.made.append(made)
                    tell(made)
                commits.checkpoint(every_s=_DURABLE_EVERY_S)
            outcome.commit = commits.finish()
        except KeyboardInterrupt:
            commits.checkpoint()
            outcome.interrupted = True
        except HangarError:
            with suppress(HangarError):  # the first error tells more
                commits.checkpoint()
            raise
    return outcome


class _Commits(ABC):
    """The commits of a migration in the making."""

    def __init__(self, plan: Plan, writer: HistoryWriter, reader: SampleReader) -> None:
        self._plan = plan
        self._git = plan.target.git
        self._name = plan.wanted.arrayset
        self._writer = writer
        self._reader = reader
        self._done = plan.done
        self._trees: dict[Oid, Oid | None] = {}
        self._written = time.monotonic()

    def take(self, step: Step, planned: Made | None) -> Made | None:
        """Take a step; what became of it, or None if no sample changed."""
        before = self._done.get(step.parents[0]) if step.parents else None
        data = before.data if before is not None else ""
        if planned is None or planned.missing:
            self._go_on(step, before, None, data)
            return planned
        base = self._base(before)
        try:
            edits, counts = self._reader.edits(
                self._writer.snapshot(base), self._plan.state(data), self._plan.state(step.name)
            )
        except HangarError as error:
            error.args = (_at_step(step, error),)
            raise
        commit = self._go_on(step, before, edits, step.name)
        return Made(step, commit, counts) if edits is not None else None

    @abstractmethod
    def _base(self, before: Done | None) -> Oid | None:
        """The ``.hangar`` tree that a step's edits are made to."""

    @abstractmethod
    def _go_on(
        self, step: Step, before: Done | None, edits: ArraysetEdits | None, data: str
    ) -> Oid | None:
        """Note the step as done, with a commit of its own if there is to be one."""

    @abstractmethod
    def _heads(self) -> list[Oid]:
        """What leads to all commits that were made."""

    @abstractmethod
    def _last(self) -> Oid:
        """The commit that the branch is to be at."""

    def _tree_of(self, commit: Oid) -> Oid | None:
        if commit not in self._trees:
            self._trees[commit] = self._git.hangar_tree(commit)
        return self._trees[commit]

    def checkpoint(self, every_s: float = 0.0) -> None:
        """Make what was done last, unless that was so less than `every_s` ago."""
        if self._done and time.monotonic() - self._written >= every_s:
            self._writer.flush()
            self._writer.keep(self._plan.ref, self._heads())
            self._plan.log.write(self._plan.settings, self._done)
            self._written = time.monotonic()

    def finish(self) -> Oid:
        """Move the branch to the last commit."""
        self.checkpoint()
        if not self._done:
            raise InvalidInputError(
                f"no file of {self._plan.source.folder!r} could be read; nothing was migrated"
            )
        new = self._last()
        if new != self._writer.tip:
            self._writer.move(new, f"hangar migrate: {self._plan.source.folder}")
        self._writer.keep(self._plan.ref, [])
        return new


class _OnTop(_Commits):
    """Commits of data, on top of the branch."""

    def __init__(self, plan: Plan, writer: HistoryWriter, reader: SampleReader) -> None:
        super().__init__(plan, writer, reader)
        tip = writer.tip if writer.tip is not None else plan.target.start
        last = plan.last
        # Of what was done before: the last commit, or what the user has put on top of it.
        on_top = last is None or (tip is not None and is_ancestor(self._git, last, tip))
        self._at = tip if on_top else last
        self._code: Tree = {}
        if self._at is not None:
            self._code = self._git.read_tree(self._git.commit(self._at).tree_id)

    def _base(self, before: Done | None) -> Oid | None:
        del before  # steps follow one another
        return self._tree_of(self._at) if self._at is not None else None

    def _go_on(
        self, step: Step, before: Done | None, edits: ArraysetEdits | None, data: str
    ) -> Oid | None:
        if edits is None:
            if before is not None:
                self._done[step.name] = Done(before.commit, data)
            return None
        tree = self._writer.hangar_tree(self._base(before), Edits({self._name: edits}))
        root = self._writer.root(self._code, tree)
        parents = [self._at] if self._at is not None else []
        source = self._plan.source
        if isinstance(source, GitSource):
            text = retold_commit(self._git, source.git, Oid(hex=step.name), root, parents,
                                 committed_now=True)  # fmt: skip
        else:
            assert isinstance(source, VersionsSource)
            message, authored_s = f"{step.name}\n", source.newest_s(step)
            text = dated_commit(self._git, message, root, parents, authored_s)
        self._at = self._writer.commit(text)
        self._trees[self._at] = tree
        self._done[step.name] = Done(self._at, data)
        return self._at

    def _heads(self) -> list[Oid]:
        return [self._last()]

    def _last(self) -> Oid:
        assert self._at is not None  # something was done
        return self._at


class _WithCode(_Commits):
    """The source's commits with the data in them."""

    def __init__(self, plan: Plan, writer: HistoryWriter, reader: SampleReader) -> None:
        super().__init__(plan, writer, reader)
        assert isinstance(plan.source, GitSource)
        self._source = plan.source
        made = {one.commit for one in self._done.values()}
        self._open = made - {
            parent for commit in made for parent in self._git.commit(commit).parent_ids
        }
        if self._source.git.common_dir != self._git.common_dir:
            run_git(
                "-c", "gc.auto=0", "-c", "maintenance.auto=false", "fetch", "--quiet", "--no-tags",
                "--no-write-fetch-head", str(self._source.git.git_dir), str(self._source.last),
                git_dir=self._git.git_dir,
            )  # fmt: skip

    def _base(self, before: Done | None) -> Oid | None:
        return self._tree_of(before.commit) if before is not None else None

    def _go_on(
        self, step: Step, before: Done | None, edits: ArraysetEdits | None, data: str
    ) -> Oid | None:
        source = Oid(hex=step.name)
        parents = [self._done[parent].commit for parent in step.parents]
        tree = self._base(before)
        if edits is not None:
            tree = self._writer.hangar_tree(tree, Edits({self._name: edits}))
        own = self._git.hangar_tree(source)
        if own is not None and tree is not None:
            tree = self._grafted(own, tree)
        commit, root = source, self._git.commit(source).tree_id
        if tree is not None and tree != own:
            root = self._writer.root(self._source.code(step), tree)
        if tree not in (None, own) or [str(parent) for parent in parents] != list(step.parents):
            commit = self._writer.commit(retold_commit(self._git, self._git, source, root, parents))
        self._trees[commit] = tree if tree is not None else own
        self._open = (self._open - set(parents)) | {commit}
        self._done[step.name] = Done(commit, data)
        return commit

    def _grafted(self, own: Oid, tree: Oid) -> Oid:
        """The data that a commit has itself, and the arrayset as `tree` has it."""
        self._writer.snapshot(tree)  # written, so that it can be looked into
        arrayset = self._git.subtree(tree, f"arraysets/{self._name}")
        if arrayset is None:
            return own
        return self._writer.hangar_tree(own, Edits(grafts={self._name: arrayset}))

    def _heads(self) -> list[Oid]:
        return list(self._open)

    def _last(self) -> Oid:
        return list(self._done.values())[-1].commit


def _at_step(step: Step, error: HangarError) -> str:
    hint = ""
    if isinstance(error, InvalidInputError) and "--" not in str(error):
        hint = "; --keep-going leaves such files out"
    return f"{step.title!r}: {error}{hint}"
