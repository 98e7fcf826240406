"""``git hangar status``, ``reset`` and ``lock``."""

from __future__ import annotations

import click

from ..records.counts import RecordCounts
from ..records.gitrepo import GitRepository
from ..records.snapshot import Snapshots
from ..staging.layout import Layout
from ..staging.staged import read_staged, set_aside_unusable
from .changes import change_lines, changes_json
from .coloring import paint
from .here import open_git
from .opening import open_repository, writing
from .output import json_option, print_json


@click.command(short_help="Display what is staged.")
@json_option
def status(as_json: bool) -> None:
    """Display changes made in the staging area compared to its base commit."""
    git = open_git()
    staged = read_staged(git)
    commit = staged.commit
    if as_json:
        print_json(
            {
                "branch": staged.branch,
                "base": str(commit) if commit is not None else None,
                "clean": not staged.edits,
                "outdated": staged.is_outdated,
                **changes_json(staged),
            }
        )
        return
    if staged.branch is None:
        click.echo("HEAD is detached; to choose a branch to write to: git hangar checkout BRANCH")
        return
    click.echo(f"On branch {staged.branch}")
    if commit is None:
        click.echo("No commits yet")
    else:
        subject = git.commit(commit).message.split("\n", 1)[0]
        click.echo(f"Base commit {str(commit)[:12]} {subject}")
    _tell_merge(git)
    if not staged.edits:
        click.echo("nothing staged")
        return
    click.echo("Staged changes:")
    for line in change_lines(staged):
        click.echo(f"    {paint(line, 'added')}")
    if staged.is_outdated:
        click.echo(
            f"The data on branch {staged.branch} has moved since; these changes can be committed"
            f" to a branch at {str(commit)[:12]} only"
        )


def _tell_merge(git: GitRepository) -> None:
    """Tell of a merge that stopped, and of what is left to settle."""
    if not Layout.of(git).merge_state.exists():
        return
    from ..staging.mergestate import MergeStateFile, conflict_id
    from ..staging.merging import stopped_conflicts

    state = MergeStateFile(git, Layout.of(git).merge_state).read()
    if state is None:
        return
    click.echo(
        f"Merging {state.theirs[:12]}: settle conflicts with 'git hangar resolve', then"
        f" 'git hangar merge --continue', or end it with 'git hangar merge --abort'"
    )
    snapshots = Snapshots(git, RecordCounts(Layout.of(git).counts))
    for conflict in stopped_conflicts(git, snapshots, state):
        settled = state.choices.get(conflict_id(conflict))
        note = f"  (settled: {settled.partition(':')[0]})" if settled else ""
        click.echo(f"    {paint(str(conflict), 'added' if settled else 'deleted')}{note}")


@click.command()
@click.option("--staged", is_flag=True, required=True, help="Drop what is staged, for good.")
@json_option
def reset(staged: bool, as_json: bool) -> None:  # noqa: ARG001
    """Drop all staged changes; commits and files stay.

    A staging area that is damaged is not dropped, but set aside.
    """
    repository, git = open_repository()
    if unusable := set_aside_unusable(git):
        where, why = unusable
        if as_json:
            print_json({"dropped": None, "moved_to": str(where), "why": why})
            return
        click.echo(f"{why}; the staged changes were moved to {where}")
        return
    before = read_staged(git)
    if not before.edits:
        if as_json:
            print_json({"branch": before.branch, "dropped": changes_json(before)})
        else:
            click.echo("nothing staged")
        return
    with writing(repository) as checkout:
        tip = checkout.reset_staging_area()
    if as_json:
        print_json({"branch": before.branch, "dropped": changes_json(before)})
        return
    at = f"commit {tip[:12]}" if tip else "no commit yet"
    click.echo(f"Dropped the staged changes; branch {before.branch} is at {at}")
    for line in change_lines(before):
        click.echo(f"    {line}")


@click.group()
def lock() -> None:
    """Operate on the writer lock."""


@lock.command()
@click.option(
    "--force", is_flag=True, required=True, help="The holder's next write will fail; to be sure."
)
def release(force: bool) -> None:  # noqa: ARG001
    """Take the writer lock away from a process that is alive but stuck.

    Not needed after a crash: a lock ends with its process.
    """
    repository, _ = open_repository()
    repository.force_release_writer_lock()
    click.echo("Writer lock released")
