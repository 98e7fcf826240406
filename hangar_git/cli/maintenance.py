"""``git hangar fsck``, ``gc``, ``repack`` and ``du``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click

from ..api.du import DiskUsage
from ..api.fsck import FsckReport, Problem
from ..api.gc import GRACE_S
from ..api.history import size_text
from ..api.upkeep import Progress, named_digests, no_progress
from ..errors import InvalidInputError
from ..remotes.fetching import fetch_missing
from .opening import open_repository
from .output import counted, json_option, no_progress_option, print_json, shows_progress, table
from .transferring import duration_s

_SHOWN = 20


@contextmanager
def _bar(what: str) -> Iterator[Progress]:
    """A progress bar of bytes, on a terminal, once it takes more than a second."""
    if not shows_progress():
        yield no_progress
        return
    from tqdm import tqdm

    with tqdm(desc=what, unit="B", unit_scale=True, delay=1, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


@click.command(short_help="Check records, index and stored samples.")
@click.option("--full", is_flag=True, help="Also hash every stored sample.")
@click.option("--rebuild-index", is_flag=True, help="Make the index anew from the containers.")
@click.option("-n", "--dry-run", is_flag=True, help="Report only; repair nothing.")
@click.option("--fetch", metavar="REMOTE", help="Get missing and damaged samples from REMOTE.")
@no_progress_option
@json_option
def fsck(full: bool, rebuild_index: bool, dry_run: bool, fetch: str | None, as_json: bool) -> int:
    """Check that records, index and containers fit each other.

    The records of all branches, tags and other refs are checked, the index, and the table of every
    container; with --full, the bytes of every sample. What can be repaired is: the index is made
    anew; whole samples in a damaged container are saved, and the file is put aside in
    .git/hangar/damaged. Samples whose data is not on this machine are counted, and are no error.

    The exit code is 1 if something is wrong that could not be repaired.
    """
    if fetch is not None and dry_run:
        raise click.UsageError("--fetch and --dry-run exclude one another")
    repository, git = open_repository()
    with _bar("Hashing") as progress:
        report = repository.maintenance.fsck(
            full=full, rebuild_index=rebuild_index, repair=not dry_run, progress=progress
        )
    if fetch is not None and report.missing:
        came, nowhere = fetch_missing(git, fetch, set().union(*named_digests(git).values()))
        report.missing = nowhere
        what = f"{came:,} came from {fetch}, {nowhere:,} are not there"
        report.problems = [p for p in report.problems if p.kind != "missing"]
        report.problems.append(Problem("missing", fetch, what, repaired=not nowhere))
    if as_json:
        print_json(report.to_json())
    else:
        _print_report(report)
    return 0 if report.clean else 1


def _print_report(report: FsckReport) -> None:
    for problem in report.problems[:_SHOWN]:
        repaired = " (repaired)" if problem.repaired else ""
        click.echo(f"{problem.kind}: {problem.where}: {problem.what}{repaired}")
    if len(report.problems) > _SHOWN:
        listed = sum(problem.kind == "missing" for problem in report.problems)
        more = len(report.problems) - listed + max(listed, report.missing) - _SHOWN
        click.echo(f"... and {more:,} more; --json lists up to a thousand missing ones")
    how = "checked and hashed" if report.full else "checked"
    click.echo(
        f"{counted(report.samples, 'sample')} in {counted(report.containers, 'container')}"
        f" ({size_text(report.size_bytes)}) {how}: {report.corrupt:,} corrupt,"
        f" {report.missing:,} missing, {report.orphaned:,} that nothing names"
    )
    click.echo("clean" if report.clean else "NOT clean")


@click.command(short_help="Remove samples that nothing leads to.")
@click.option(
    "--grace", default=f"{int(GRACE_S / 86400)}d", show_default=True, metavar="TIME",
    help="Keep what was written within this time: 12h, 14d, now.",
)  # fmt: skip
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be done.")
@no_progress_option
@json_option
def gc(grace: str, dry_run: bool, as_json: bool) -> None:
    """Remove samples that no branch, tag, reflog, stash, worktree, merge or staged change names.

    A container is rewritten when a quarter of it or more is of no use.
    """
    repository, _ = open_repository()
    with _bar("Rewriting") as progress:
        report = repository.maintenance.gc(
            grace_s=duration_s(grace), dry_run=dry_run, progress=progress
        )
    if as_json:
        print_json(asdict(report))
        return
    would = "would be " if dry_run else ""
    click.echo(
        f"{counted(report.removed, 'sample')} {would}removed, {report.kept:,} kept;"
        f" {size_text(max(0, report.freed_bytes))} {would}freed"
    )
    if report.spared:
        click.echo(
            f"{counted(report.spared, 'sample')} that nothing names stay: written within {grace},"
            f" or too small a part of a container"
        )


@click.command(short_help="Merge small containers, or recompress.")
@click.option("--backend", help="Format code to store all samples with: 00, 01, 10 or 20.")
@click.option(
    "--codec", metavar="COMPLIB[:LEVEL[:SHUFFLE]]",
    help="Codec to store all samples with: zstd, gzip:9, blosc:zstd:3:bit, none ...",
)  # fmt: skip
@click.option("--older-than", default="now", metavar="TIME", help="Leave younger containers alone.")
@no_progress_option
@json_option
def repack(backend: str | None, codec: str | None, older_than: str, as_json: bool) -> None:
    """Write containers anew.

    Without options, small containers are merged. Readers go on meanwhile, and no sample changes.
    """
    repository, _ = open_repository()
    options = None if codec is None else codec_options(codec)
    with _bar("Repacking") as progress:
        done = repository.maintenance.repack(
            backend=backend, codec=options, older_than_s=duration_s(older_than), progress=progress
        )
    if as_json:
        print_json(asdict(done))
    elif not done.containers_before:
        click.echo("nothing to repack")
    else:
        click.echo(
            f"{counted(done.samples, 'sample')}: {counted(done.containers_before, 'container')}"
            f" ({size_text(done.bytes_before)}) became {done.containers_after:,}"
            f" ({size_text(done.bytes_after)})"
        )


def codec_options(text: str) -> dict[str, Any]:
    """Codec options of ``zstd``, ``gzip:9``, ``blosc:lz4``, ``blosc:zstd:3:bit``."""
    complib, *rest = text.split(":")
    if complib == "blosc" and rest:
        complib = f"blosc:{rest.pop(0)}"
    options: dict[str, Any] = {"complib": complib}
    if rest and rest[0]:
        if not rest[0].isdecimal():
            raise InvalidInputError(f"codec {text!r}: level {rest[0]!r} is not a number")
        options["complevel"] = int(rest[0])
    if len(rest) > 1:
        options["shuffle"] = rest[1]
    return options


@click.command(short_help="Show what the data takes on disk.")
@json_option
def du(as_json: bool) -> None:
    """Show bytes on disk by arrayset, over the whole history."""
    repository, _ = open_repository()
    usage = repository.maintenance.du()
    if as_json:
        print_json(usage.to_json())
    else:
        _print_usage(usage)


def _print_usage(usage: DiskUsage) -> None:
    rows = [
        [
            one.name,
            f"{one.samples:,}",
            f"{one.missing:,}" if one.missing else "-",
            size_text(one.size_bytes),
            size_text(one.stored_bytes),
            f"{one.ratio:.1f}x" if one.ratio else "-",
            size_text(one.shared_bytes) if one.shared_bytes else "-",
        ]
        for one in usage.arraysets
    ]
    click.echo(
        table(["arrayset", "samples", "missing", "as arrays", "stored", "ratio", "shared"], rows)
    )
    click.echo("")
    click.echo(
        table(
            ["on disk", ""],
            [
                [counted(usage.containers, "container"), size_text(usage.containers_bytes)],
                ["of that named by nothing", size_text(usage.unreachable_bytes)],
                ["index", size_text(usage.index_bytes)],
                ["staging and the like", size_text(usage.other_bytes)],
                ["Git", size_text(usage.git_bytes)],
            ],
        )
    )
