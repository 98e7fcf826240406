"""``git hangar show``: a commit, with what it changed."""

from __future__ import annotations

from typing import Any

import click

from ..records.diff import changed_arraysets, changed_metadata
from ..records.gitrepo import GitRepository, Oid
from .coloring import paint
from .diff import arrayset_json, kind_of
from .here import open_git
from .names import shown_name
from .output import counted, form_text, json_option, print_json
from .tracing import snapshots_of, start_of


@click.command(short_help="Summarize a commit.")
@click.argument("revision", required=False)
@json_option
def show(revision: str | None, as_json: bool) -> None:
    """Summarize the commit REVISION: who made it and why, what it changed and what it contains.

    By default the last commit to the writer branch. Changes are those since its first parent.
    """
    git = open_git()
    document = _document(git, start_of(git, revision))
    if as_json:
        print_json(document)
        return
    click.echo(paint(f"commit {document['commit']}", "commit"))
    if len(document["parents"]) > 1:
        click.echo(f"Merge: {' '.join(one[:12] for one in document['parents'])}")
    click.echo(f"Author: {document['user']} <{document['email']}>")
    click.echo(f"Date:   {_date(document['time'])}\n")
    for line in document["message"].splitlines():
        click.echo(f"    {line}".rstrip())
    click.echo()
    for name, change in document["changes"]["arraysets"].items():
        counts = [f"{len(change[kind]):,} {kind}" for kind in ("added", "deleted", "mutated")
                  if change[kind]]  # fmt: skip
        what = {"added": " (new)", "deleted": " (removed)"}.get(change["change"], "")
        listed = ", ".join(counts) or "no samples changed"
        click.echo(paint(f"  arrayset {name}{what}: {listed}", change["change"]))
    for key, what in document["changes"]["metadata"].items():
        click.echo(paint(f"  metadata {key}: {what}", what))
    click.echo("Contains:")
    for name, one in document["arraysets"].items():
        click.echo(f"  {name}: {one['form']}, {counted(one['num_samples'], 'sample')}")
    click.echo(f"  {counted(document['num_metadata'], 'piece')} of metadata")


def _date(seconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%a %b %d %H:%M:%S %Y +0000")


def _document(git: GitRepository, oid: Oid) -> dict[str, Any]:
    commit = git.commit(oid)
    snapshots = snapshots_of(git)
    after = snapshots(oid)
    parents = [Oid(hex=str(one)) for one in commit.parent_ids]
    before = snapshots(parents[0] if parents else None)
    changes = changed_metadata(before, after)
    return {
        "commit": str(oid),
        "parents": [str(one) for one in parents],
        "time": commit.author.time,
        "user": commit.author.name,
        "email": commit.author.email,
        "message": commit.message.rstrip("\n"),
        "changes": {
            "arraysets": {one.name: arrayset_json(one) for one in changed_arraysets(before, after)},
            "metadata": {shown_name(key): kind_of(*pair) for key, pair in changes.items()},
        },
        "arraysets": {
            one.name: {"form": form_text(one.schema), "num_samples": one.count()}
            for one in after.arraysets()
        },
        "num_metadata": len(after.metadata_files),
    }
