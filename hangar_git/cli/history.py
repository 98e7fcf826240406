"""``git hangar log`` and ``git hangar summary``."""

from __future__ import annotations

from typing import Any

import click

from ..api.arrayset import ArraysetDataReader
from ..api.history import log_lines
from ..api.initializing import disk_usage
from ..api.repository import Repository
from ..dtypes import dtype_to_json
from ..records.gitrepo import GitRepository, Oid
from ..staging.layout import Layout
from ..staging.staged import read_staged
from .coloring import paint
from .opening import open_repository, reading
from .output import json_option, print_json
from .tracing import commit_line, start_of, touching

_NO_COMMITS: dict[str, Any] = {
    "head": None,
    "ancestors": {},
    "specs": {},
    "order": [],
    "branch_heads": {},
}


@click.command(short_help="Display the commit graph.")
@click.argument("startpoint", required=False)
@click.option("--arrayset", help="Only commits that changed this arrayset.")
@click.option("--sample", help="Only commits that changed this sample of --arrayset.")
@json_option
def log(startpoint: str | None, arrayset: str | None, sample: str | None, as_json: bool) -> None:
    """Display commit graph starting at STARTPOINT (short-digest or name).

    By default it starts at the last commit to the writer branch.
    """
    if sample is not None and arrayset is None:
        raise click.UsageError("--sample needs --arrayset")
    repository, git = open_repository()
    if arrayset is not None:
        found = touching(git, start_of(git, startpoint), arrayset, sample)
        if as_json:
            print_json([str(commit) for commit in found])
            return
        for commit in found:
            click.echo(commit_line(git, commit))
    elif as_json:
        print_json(repository.log(commit=startpoint, return_contents=True) or _NO_COMMITS)
    elif startpoint is None and read_staged(git).commit is None:
        click.echo("No commits made")
    else:
        start = start_of(git, startpoint)
        for line in log_lines(git, start, show_time=False, show_user=False, paint=paint):
            click.echo(line)


@click.command(short_help="Display what a commit contains.")
@click.argument("startpoint", required=False)
@json_option
def summary(startpoint: str | None, as_json: bool) -> None:
    """Display content summary at STARTPOINT (short-digest or branch).

    By default of the last commit to the writer branch.
    """
    repository, git = open_repository()
    if as_json:
        print_json(_summary(repository, git, startpoint))
    else:
        repository.summary(commit=startpoint or "")


def _summary(repository: Repository, git: GitRepository, startpoint: str | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "path": repository.path,
        "disk_usage_bytes": disk_usage(Layout.of(git).root),
        "commit": None,
        "arraysets": {},
        "metadata_keys": [],
    }
    if startpoint is None and read_staged(git).commit is None:
        return document
    with reading(repository, startpoint) as checkout:
        found = git.commit(Oid(hex=checkout.commit_hash))
        document["commit"] = {
            "digest": checkout.commit_hash,
            "time": found.author.time,
            "user": found.author.name,
            "email": found.author.email,
            "message": found.message.rstrip("\n"),
        }
        document["arraysets"] = {name: _schema(a) for name, a in checkout.arraysets.items()}
        document["metadata_keys"] = list(checkout.metadata.keys())
    return document


def _schema(aset: ArraysetDataReader) -> dict[str, Any]:
    return {
        "num_samples": len(aset),
        "dtype": dtype_to_json(aset.dtype),
        "shape": list(aset.shape),
        "variable_shape": aset.variable_shape,
        "named_samples": aset.named_samples,
        "backend": aset.backend,
        "backend_opts": aset.backend_opts,
    }
