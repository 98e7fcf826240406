"""``git hangar remote``."""

from __future__ import annotations

from dataclasses import asdict

import click

from ..errors import StateError
from ..records.refs import resolve
from ..remotes import remoteconfig
from ..remotes.checks import lacking_at
from .here import open_git
from .output import counted, json_option, print_json
from .transferring import duration_s


@click.group()
def remote() -> None:
    """Operations for working with remote repositories."""


@remote.command()
@click.argument("name")
@click.argument("address")
@click.option("--data", metavar="ADDRESS", help="Where data is, if ADDRESS is of a Git host:"
              " hangar://HOST:PORT/REPO, file:///DIRECTORY, s3://BUCKET/PREFIX.")  # fmt: skip
def add(name: str, address: str, data: str | None) -> None:
    """Add a remote called NAME at ADDRESS.

    ADDRESS is HOST:PORT of a Hangar server, hangar://HOST:PORT/REPO, or any address of Git.
    """
    info = remoteconfig.add_remote(open_git(), name, address, data)
    click.echo(f"Remote: {info.name} at {info.address}")


@remote.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove the remote NAME, with its remote-tracking branches."""
    info = remoteconfig.remove_remote(open_git(), name)
    click.echo(f"Removed remote: {info.name}, which was at {info.address}")


@remote.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List remotes: name, address, and where their data is."""
    git = open_git()
    rows = []
    for name in remoteconfig.remote_names(git):
        address = remoteconfig.shown_address(remoteconfig.remote_url(git, name))
        try:
            data = remoteconfig.find_remote(git, name).where
        except StateError:
            data = ""
        rows.append({"name": name, "address": address, "data": data})
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo("\t".join([row["name"], row["address"], row["data"] or "no data address"]))


@remote.command(short_help="Tidy the data of remote NAME, in a directory or bucket.")
@click.argument("name")
@click.option(
    "--grace", default="7d", show_default=True, metavar="TIME",
    help="Delete what was replaced longer ago than this; longer than any push or fetch may take.",
)  # fmt: skip
@json_option
def compact(name: str, grace: str, as_json: bool) -> None:
    """Merge small packs of remote NAME, whose data is in a directory or bucket.

    Others may read and push meanwhile. Packs that were replaced are deleted by a later run, once
    the time of grace is over, and so is what pushes left that never finished.
    """
    from ..api.remotes import Remotes

    report = Remotes(open_git()).compact(name, grace_s=duration_s(grace))
    if as_json:
        print_json(asdict(report))
    else:
        click.echo(
            f"{counted(report.merged, 'pack')} replaced by {report.made:,};"
            f" {counted(report.deleted, 'old pack')} and {counted(report.leftovers, 'leftover')}"
            " deleted"
        )
        for what in report.damaged:
            click.echo(f"left as it is: {what}", err=True)
    if report.damaged:
        click.get_current_context().exit(1)


@remote.command()
@click.argument("name")
@click.argument("revision", default="HEAD", metavar="[REVISION]")
@json_option
def check(name: str, revision: str, as_json: bool) -> int:
    """Ask remote NAME whether it has the data of REVISION, or of all commits in a range A..B.

    Nothing is transferred. The exit code is 1 if anything is missing there.
    """
    git = open_git()
    base, dots, tip = revision.rpartition("..")
    since = resolve(git, base or "HEAD") if dots else None
    asked, lacking = lacking_at(git, name, resolve(git, tip or "HEAD"), since)
    if as_json:
        some = lacking.some if lacking is not None else ()
        document = {
            "remote": name,
            "revision": revision,
            "samples": asked,
            "missing": lacking.count if lacking is not None else 0,
            "some": [{"arrayset": arrayset, "sample": key} for arrayset, key in some],
        }
        print_json(document)
    elif lacking is None:
        click.echo(f"{name} has the data of {revision}: {counted(asked, 'sample')}")
    else:
        click.echo(f"{name} lacks {lacking.count:,} of {counted(asked, 'sample')}: {lacking}")
    return 1 if lacking is not None else 0


@remote.command()
@click.argument("name")
def trust(name: str) -> None:
    """Confirm, for this clone, the data address that others committed in .hangar/config.

    It may then be sent data and credentials. If the committed address changes, it is asked for
    again.
    """
    address = remoteconfig.trust(open_git(), name)
    if address is None:
        click.echo(f"remote {name} does not use a committed address: there is nothing to confirm")
    else:
        click.echo(f"Confirmed: {address}")
