"""``git hangar migrate``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import InvalidInputError
from ..keys import arrayset_name
from ..plugins.decoding import Decoded, Loader
from ..plugins.finding import KEYS_FROM, Naming, Search
from ..records.gitrepo import GitRepository
from ..records.refs import branch_tip, checked_branch_name, head_branch, head_commit
from ..schema import KINDS, new_schema
from .importing import InterruptedImportError
from .opening import open_repository
from .output import counted, json_option, no_progress_option, print_json, progress
from .pluginoptions import PluginCommand, form_of, manager, plugin_options

if TYPE_CHECKING:
    from ..migration.migrating import Outcome
    from ..migration.planning import Made, Plan
    from ..migration.sources import Source, Step

_OPTIONS: list[Callable[[Any], Any]] = [
    click.argument("source", type=click.Path(path_type=Path)),
    click.argument("name", metavar="ARRAYSET"),
    click.option(
        "--branch",
        help="Branch to put the commits on; made if it is not there.  [default: the branch you are"
        " on before its first commit, afterwards migrate-ARRAYSET]",
    ),
    click.option(
        "--pattern", "patterns", multiple=True, metavar="GLOB",
        help="Only files that fit, such as '*.png'; may be repeated.",
    ),
    click.option(
        "--keys-from", type=click.Choice(KEYS_FROM), default="path", show_default=True,
        help="Name samples by the file's path below SOURCE, with dots for slashes, or by its name"
        " without extension (stem) or with it (name).",
    ),
    click.option(
        "--replace", metavar="TEXT",
        help="Take TEXT for each character that a sample's name cannot have, such as spaces.",
    ),
    click.option("--plugin", help="Override what the extension tells."),
    click.option("--kind", type=click.Choice(KINDS), default="array", help="What samples are."),
    click.option("--variable-shape", is_flag=True, help="Samples may differ in shape."),
    click.option("--nested", is_flag=True, help="A sample has two names: its folder's, and its."),
    click.option(
        "--keep-going", is_flag=True,
        help="Leave out files that are not right; the exit code tells that there were any.",
    ),
    click.option("--dry-run", is_flag=True, help="Tell what would be done, and change nothing."),
    no_progress_option,
    json_option,
]  # fmt: skip
_OF_GIT: list[Callable[[Any], Any]] = [
    click.option(
        "--revision", default="HEAD", show_default=True, help="Last commit of the history."
    ),
    click.option(
        "--history/--no-history", default=True,
        help="Migrate all commits, or what the last one has as one commit.  [default: all]",
    ),
    click.option(
        "--code/--no-code", default=None,
        help="Write the commits anew with their other files and the data, merges included, or make"
        " commits of data on top of the branch.  [default: --code where SOURCE is in this"
        " repository, or this one has no commits]",
    ),
    click.option(
        "--objects", multiple=True, metavar="DIR", type=click.Path(path_type=Path),
        help="Where else objects are, such as a local remote; may be repeated.",
    ),
    click.option(
        "--skip-missing", is_flag=True,
        help="Leave out commits whose objects are not on this machine, instead of refusing.",
    ),
]  # fmt: skip


@click.group(short_help="Migrate from DVC, Git LFS, or directories of versions.")
def migrate() -> None:
    """Migrate a folder from DVC or Git LFS, or a directory of versions, with its history.

    Each commit that changed the folder becomes a commit with the data as samples, by the same
    author, of the same date and with the same message. The source is only read. The branch moves
    in the end; what was interrupted goes on where it was when the same command is given again, and
    so does a finished migration whose source has new commits.
    """


def _with(options: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@migrate.command(cls=PluginCommand, short_help="Migrate a folder that DVC tracks.")
@_with([*_OPTIONS, *_OF_GIT])
def dvc(source: Path, revision: str, objects: tuple[Path, ...], **told: Any) -> int:
    """Migrate SOURCE, a folder or file that DVC tracks, to ARRAYSET.

    SOURCE is in this or another Git repository, and need not be checked out. DVC itself is not
    needed; the objects are read from the cache of the repository that SOURCE is in.
    """
    from ..migration.dvc import DvcSource

    return _run(lambda _: DvcSource(source, revision, objects), **told)


@migrate.command(cls=PluginCommand, short_help="Migrate a folder that Git LFS tracks.")
@_with([*_OPTIONS, *_OF_GIT])
def lfs(source: Path, revision: str, objects: tuple[Path, ...], **told: Any) -> int:
    """Migrate SOURCE, a folder or file that Git LFS tracks, to ARRAYSET.

    SOURCE is in this or another Git repository, and need not be checked out. Git LFS itself is not
    needed; the objects are read from the repository that SOURCE is in. Files that are in Git
    itself are migrated, too.
    """
    from ..migration.lfs import LfsSource

    return _run(lambda _: LfsSource(source, revision, objects), **told)


@migrate.command(cls=PluginCommand, short_help="Migrate directories, each a version.")
@_with(_OPTIONS)
def versions(source: Path, **told: Any) -> int:
    """Migrate the directories in SOURCE, such as v1, v2 and v10, to ARRAYSET: a commit for each.

    They are taken in the order of the numbers in their names. A commit has the directory's name as
    its message, and the date of its newest file.
    """
    from ..migration.versions import VersionsSource

    if not source.is_dir():
        raise InvalidInputError(f"{source} is not a directory")
    told |= {"history": True, "code": False, "skip_missing": False}
    return _run(partial(VersionsSource, source), **told)


def _run(
    opened: Callable[[Callable[[Path], bool]], Source], *, name: str, branch: str | None,
    patterns: tuple[str, ...], keys_from: str, replace: str | None, plugin: str | None, kind: str,
    variable_shape: bool, nested: bool, keep_going: bool, dry_run: bool, as_json: bool,
    history: bool, code: bool | None, skip_missing: bool,
) -> int:  # fmt: skip
    from ..migration.migrating import migrate as migrate_all
    from ..migration.planning import Plan, Target, log_of
    from ..migration.samples import Wanted

    arrayset_name(name)
    _, git = open_repository()
    plugins, options = manager(), plugin_options()
    form = None
    if kind != "array":
        if variable_shape:
            raise click.UsageError(f"samples of kind {kind} are of any length: no --variable-shape")
        form = form_of(new_schema(None, None, None, named_samples=True, variable_shape=False,
                                  kind=kind))  # fmt: skip
    loader = Loader(plugins, plugin, form, options)
    source = opened(loader.is_known)
    wanted = Wanted(name, kind, nested, variable_shape, plugin, options,
                    Naming(keys_from, nested, replace), keep_going)  # fmt: skip
    former = log_of(git, source, name).settings()
    branch = branch or former.get("branch") or _branch(git, name)
    checked_branch_name(branch)
    with_code = history and _takes_code(git, source, former.get("code") if code is None else code)
    target = Target(git, branch, None if with_code else head_commit(git), with_code, history,
                    skip_missing)  # fmt: skip
    search = Search(True, patterns, loader.is_known, _refused)
    plan = Plan(source, wanted, target, search, _watched)
    if dry_run:
        _show_plan(plan, as_json=as_json)
        return 0
    tell: Callable[[Made], None] = (lambda _: None) if as_json else _tell
    with warnings.catch_warnings():
        # What Pillow says about an image's metadata, which is not migrated, is not of interest.
        warnings.simplefilter("ignore")
        outcome = migrate_all(plan, plugins, _shown, tell)
    if outcome.interrupted:
        raise InterruptedImportError(
            f"interrupted; {counted(len(plan.done), 'commit')} of {len(plan.steps)} are done:"
            f" the same command goes on with the others"
        )
    return _report(plan, outcome, as_json=as_json)


def _refused(error: Exception) -> None:
    raise error


def _branch(git: GitRepository, name: str) -> str:
    head = head_branch(git)
    unborn = head is not None and branch_tip(git, head) is None
    return head if head is not None and unborn else f"migrate-{name}"


def _takes_code(git: GitRepository, source: Source, code: bool | None) -> bool:
    if source.git is None:
        return False
    if code is not None:
        return code
    return source.git.common_dir == git.common_dir or head_commit(git) is None


def _watched(steps: Collection[Step]) -> Iterator[Step]:
    return progress(steps, len(steps), "Comparing", "commit")


def _shown(items: Iterator[Decoded], total: int) -> Iterator[Decoded]:
    return progress(items, total, "Reading", "file")


def _tell(made: Made) -> None:
    if made.missing:
        click.echo(f"skipped: {made.step.title}: {_lacking(made)}", err=True)
        return
    assert made.commit is not None
    click.echo(f"{str(made.commit)[:10]} {_numbers(made)}  {made.step.title}")


def _lacking(made: Made) -> str:
    more = f" and {counted(len(made.missing) - 1, 'other')}" if len(made.missing) > 1 else ""
    return f"the objects of {made.missing[0]}{more} are missing"


def _numbers(made: Made) -> str:
    counts = made.counts
    return f"+{counts.added} ~{counts.changed} -{counts.removed}"


def _row(made: Made) -> dict[str, Any]:
    counts = made.counts
    return {"source": made.step.name, "title": made.step.title,
            "commit": str(made.commit) if made.commit is not None else None,
            "added": counts.added, "changed": counts.changed, "removed": counts.removed,
            "missing": made.missing}  # fmt: skip


def _show_plan(plan: Plan, *, as_json: bool) -> None:
    left = list(plan.left().values())
    if as_json:
        print_json({"arrayset": plan.wanted.arrayset, "branch": plan.target.branch,
                    "code": plan.target.with_code, "already": len(plan.done),
                    "commits": [_row(made) for made in left]})  # fmt: skip
        return
    for made in left:
        said = f"left out: {_lacking(made)}" if made.missing else f"{_numbers(made)} files"
        click.echo(f"{made.step.title}  {said}")
    kept = sum(not made.missing for made in left)
    way = "with their code" if plan.target.with_code else "of data alone"
    click.echo(f"{counted(kept, 'commit')} {way} would go on branch {plan.target.branch!r}")


def _report(plan: Plan, outcome: Outcome, *, as_json: bool) -> int:
    from ..records.counts import RecordCounts
    from ..records.snapshot import Snapshot
    from ..staging.layout import Layout

    git, name, branch = plan.target.git, plan.wanted.arrayset, plan.target.branch
    assert outcome.commit is not None
    counts = RecordCounts(Layout.of(git).counts)
    snapshot = Snapshot(git, git.hangar_tree(outcome.commit), counts)
    samples = snapshot.arrayset(name).count() if name in snapshot.arrayset_trees else 0
    made = [one for one in outcome.made if not one.missing]
    skipped = [one for one in outcome.made if one.missing]
    if as_json:
        print_json({"arrayset": name, "branch": branch, "code": plan.target.with_code,
                    "commit": str(outcome.commit), "samples": samples,
                    "commits": [_row(one) for one in made],
                    "skipped": [_row(one) for one in skipped],
                    "refused": outcome.refused})  # fmt: skip
    for said in () if as_json else outcome.refused:
        click.echo(f"left out: {said}", err=True)
    if not as_json and not outcome.made:
        click.echo(
            f"Nothing is left: branch {branch!r} has all of it,"
            f" {counted(samples, 'sample')} in arrayset {name!r}"
        )
    elif not as_json:
        click.echo(
            f"Migrated {counted(len(made), 'commit')} to branch {branch!r}:"
            f" {counted(samples, 'sample')} in arrayset {name!r}"
        )
        if branch != head_branch(git):
            click.echo(f"Look at it with 'git hangar summary {branch}'; 'git hangar checkout"
                       f" {branch}' switches to it")  # fmt: skip
    if skipped and not as_json:
        click.echo(f"{counted(len(skipped), 'commit')} left out", err=True)
    return 1 if outcome.refused else 0
