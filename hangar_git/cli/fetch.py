"""``git hangar fetch``, ``pull`` and ``fetch-data``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

import click

from ..keys import SampleKey
from ..records.refs import HEADS, branch_tip
from ..remotes.fetching import Fetched
from ..remotes.fetching import fetch as fetch_branch
from ..remotes.fetching import fetch_data as fetch_samples
from ..remotes.selecting import Selection, Stratify, commits_of
from .here import open_git
from .output import counted, json_option, no_progress_option, print_json
from .transferring import progress_bar, size_bytes, size_text


@click.command()
@click.argument("remote")
@click.argument("branch")
@json_option
def fetch(remote: str, branch: str, as_json: bool) -> None:
    """Retrieve the commit history from REMOTE for BRANCH.

    The data of the commits stays there; fetch-data brings it.
    """
    git = open_git()
    tracking = fetch_branch(git, remote, branch)
    if as_json:
        print_json({"branch": tracking, "commit": str(branch_tip(git, tracking))})
        return
    click.echo(f"Fetched branch Name: {tracking}")


@click.command()
@click.argument("remote")
@click.argument("branch")
@click.option("-m", "--message", help="Of the merge commit, if one is needed.")
@json_option
def pull(remote: str, branch: str, message: str | None, as_json: bool) -> None:
    """Retrieve the commit history from REMOTE for BRANCH, and merge it into local BRANCH."""
    from .opening import open_repository

    repository, git = open_repository()
    tracking = fetch_branch(git, remote, branch)
    if HEADS + branch not in git.pygit2.references:
        done = repository.create_branch(branch, tracking).digest
        said = f"Branch {branch} made at {tracking}"
    else:
        done = repository.merge(message or f"Merge {tracking}", branch, tracking)
        said = f"Branch {branch} is at {done[:12]}"
    if as_json:
        print_json({"branch": branch, "commit": done})
        return
    click.echo(said)


@click.command("fetch-data", short_help="Get the data of commits from a remote.")
@click.argument("remote")
@click.argument("startpoint", default="HEAD")
@click.option(
    "-d", "--aset", "--arrayset", "asets", multiple=True,
    help="Only this arrayset; may be repeated.",
)  # fmt: skip
@click.option(
    "-s", "--sample", "samples", multiple=True, metavar="KEY",
    help="Only this sample, or those that a pattern such as 'img-*' fits; int:7 is the number 7."
    " May be repeated.",
)  # fmt: skip
@click.option(
    "--samples-from", type=click.File("r"), metavar="FILE",
    help="Only the samples that FILE names, one on each line; '-' is standard input.",
)  # fmt: skip
@click.option("-n", "--nbytes", metavar="SIZE", help="At most this much, as arrays: 500MB, 2GiB.")
@click.option("-a", "--all-history", is_flag=True, help="Also the data of all parent commits.")
@click.option(
    "--stratify", metavar="ARRAYSET",
    help="Only a subset in which the values of ARRAYSET are as frequent as in the whole.",
)  # fmt: skip
@click.option("--count", type=int, help="Size of the subset, in keys.")
@click.option("--fraction", type=float, help="Size of the subset, as a part of the whole.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which subset.")
@click.option("--dry-run", is_flag=True, help="Say how many samples and bytes would come.")
@no_progress_option
@json_option
def fetch_data(
    remote: str,
    startpoint: str,
    asets: Sequence[str],
    samples: Sequence[str],
    samples_from: TextIO | None,
    nbytes: str | None,
    all_history: bool,
    stratify: str | None,
    count: int | None,
    fraction: float | None,
    seed: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Get data from REMOTE referenced by STARTPOINT (any revision, or a range A..B).

    By default the data of one commit comes, of all arraysets. A subset is the same one on every
    machine that asks for the same commit and seed.
    """
    if stratify is None and (count is not None or fraction is not None):
        raise click.UsageError("--count and --fraction need --stratify")
    if stratify is not None and count is None and fraction is None:
        fraction = 0.1
    names: list[SampleKey] = list(samples)
    if samples_from is not None:
        names += [line.rstrip("\r\n") for line in samples_from if line.strip()]
    git = open_git()
    selection = Selection(
        list(asets) or None,
        names or None,
        None if stratify is None else Stratify(stratify, count, fraction, seed),
        None if nbytes is None else size_bytes(nbytes),
    )
    commits = commits_of(git, startpoint, whole_history=all_history)
    with progress_bar("fetching data") as progress:
        done = fetch_samples(git, remote, commits, selection, dry_run=dry_run, progress=progress)
    if as_json:
        print_json(_document(done))
        return
    click.echo(_came(done, remote, dry_run=dry_run))
    _say_left_out(done)


def _document(done: Fetched) -> dict[str, object]:
    return {
        "commits": [str(commit) for commit in done.commits],
        "samples": done.samples,
        "size_bytes": done.size_bytes,
        "were_here": len(done.chosen.sizes) - done.samples,
        "moved_bytes": done.copied.size_bytes if done.copied else 0,
        "left_out_samples": done.chosen.left_out,
        "left_out_bytes": done.chosen.left_out_bytes,
        "not_in_subset": done.chosen.not_in_subset,
    }


def _came(done: Fetched, remote: str, *, dry_run: bool) -> str:
    what = f"{counted(done.samples, 'sample')} ({size_text(done.size_bytes)} as arrays)"
    here = len(done.chosen.sizes) - done.samples
    if dry_run:
        return f"{what} would come from {remote}; {here:,} are here"
    moved = done.copied.size_bytes if done.copied else 0
    return f"{what} came from {remote}, in {size_text(moved)}; {here:,} were here"


def _say_left_out(done: Fetched) -> None:
    chosen = done.chosen
    if chosen.not_in_subset:
        click.echo(f"{counted(chosen.not_in_subset, 'name')} left out: not in the subset")
    if chosen.left_out:
        click.echo(
            f"{counted(chosen.left_out, 'sample')} ({size_text(chosen.left_out_bytes)}) left out:"
            " beyond the size that was given"
        )
    sys.stdout.flush()
