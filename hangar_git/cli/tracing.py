"""``git hangar blame`` and ``restore``, and the filters of ``log``."""

from __future__ import annotations

import time
from collections.abc import Iterator

import click

from ..errors import NotFoundError
from ..keys import key_order
from ..records.blame import blame as blame_keys
from ..records.counts import RecordCounts
from ..records.gitrepo import GitRepository, Oid
from ..records.refs import resolve
from ..records.samplehistory import SampleHistory
from ..records.snapshot import Snapshots
from ..staging.layout import Layout
from ..staging.session import WriteSession
from ..staging.staged import read_staged
from ..staging.undoing import restore as restore_samples
from .coloring import paint
from .here import open_git
from .names import sample_name
from .output import counted, json_option, print_json


def start_of(git: GitRepository, revision: str | None) -> Oid:
    """The commit that `revision` means, by default the tip of the writer branch."""
    if revision is not None:
        return resolve(git, revision)
    commit = read_staged(git).commit
    if commit is None:
        raise NotFoundError("there is no commit yet")
    return commit


def snapshots_of(git: GitRepository) -> Snapshots:
    """The snapshots of a repository's commits."""
    return Snapshots(git, RecordCounts(Layout.of(git).counts))


def touching(git: GitRepository, start: Oid, arrayset: str, sample: str | None) -> Iterator[Oid]:
    """Commits from `start` back that changed an arrayset, or one sample of it."""
    key = sample_name(sample) if sample is not None else None
    history = SampleHistory(git, snapshots_of(git), arrayset, key)
    return history.commits(str(start))


def commit_line(git: GitRepository, commit: Oid) -> str:
    """``<oid> <date> <author>: <subject>``."""
    found = git.commit(commit)
    date = time.strftime("%Y-%m-%d", time.gmtime(found.author.time))
    subject = found.message.split("\n", 1)[0]
    return f"{paint(str(commit), 'commit')} {date} {found.author.name}: {subject}"


@click.command(short_help="Show which commit last changed each sample.")
@click.argument("arrayset")
@click.argument("key", required=False)
@click.option("--rev", "revision", help="Look back from this revision.")
@json_option
def blame(arrayset: str, key: str | None, revision: str | None, as_json: bool) -> None:
    """Show for each sample of ARRAYSET, or for KEY, the commit that gave it its value."""
    git = open_git()
    start = start_of(git, revision)
    snapshots = snapshots_of(git)
    records = snapshots(start).arrayset(arrayset)
    if key is not None:
        name = sample_name(key)
        if records.get(name) is None:
            raise NotFoundError(f"arrayset {arrayset!r} has no sample {name!r}")
        keys = [name]
    else:
        keys = sorted(records.load_all(), key=key_order)
    found = blame_keys(git, snapshots, start, arrayset, keys)
    if as_json:
        print_json([{"sample": one, "commit": str(found[one])} for one in keys])
        return
    lines = {commit: commit_line(git, commit) for commit in set(found.values())}
    for one in keys:
        rest = lines[found[one]].split(" ", 1)[1]
        oid = paint(str(found[one])[:12], "commit")
        click.echo(f"{oid} {rest.partition(':')[0]}  {one!r}")


@click.command(short_help="Stage samples as an earlier commit has them.")
@click.argument("arrayset")
@click.argument("keys", nargs=-1)
@click.option("--source", required=True, help="The revision to take them from.")
@json_option
def restore(arrayset: str, keys: tuple[str, ...], source: str, as_json: bool) -> None:
    """Stage samples KEYS of ARRAYSET as revision --source has them; without KEYS all of it."""
    git = open_git()
    session = WriteSession(git)
    try:
        names = [sample_name(key) for key in keys]
        changed = restore_samples(session, resolve(git, source), arrayset, names)
        if as_json:
            print_json({"arrayset": arrayset, "samples": sorted(changed, key=key_order)})
            return
        click.echo(f"{counted(len(changed), 'sample')} of {arrayset} staged as in {source}")
    finally:
        session.close()
