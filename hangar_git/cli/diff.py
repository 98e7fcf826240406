"""``git hangar diff``: what differs between two revisions, or what is staged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from ..digest import DIGEST_SIZE_BYTES
from ..errors import DataNotLocalError, RevisionNotFoundError, did_you_mean
from ..keys import SampleKey, key_order
from ..records.counts import RecordCounts
from ..records.diff import ArraysetChange, changed_arraysets, changed_metadata
from ..records.edits import build_tree
from ..records.gitrepo import GitRepository, ObjectWriter, Oid
from ..records.refs import list_branches, resolve
from ..records.snapshot import Snapshot, Snapshots
from ..staging.layout import Layout
from ..staging.staged import read_staged
from .coloring import paint
from .here import open_git
from .names import shown_name
from .output import form_text, json_option, print_json
from .valuediff import ValueDiff

_SIGNS = {"added": "+", "deleted": "-", "mutated": "~"}


@click.command(short_help="Show what differs between revisions.")
@click.argument("arguments", nargs=-1, metavar="[A] [B] [-- ARRAYSET...]")
@click.option("--stat", is_flag=True, help="Show numbers of samples alone.")
@click.option("--values", is_flag=True, help="Show how much the values of changed samples differ.")
@click.option("--exit-code", is_flag=True, help="End with 1 if anything differs, else with 0.")
@json_option
def diff(
    arguments: tuple[str, ...], stat: bool, values: bool, exit_code: bool, as_json: bool
) -> int:
    """Show what differs between revisions A and B, for some ARRAYSETs or all.

    Without a revision, what is staged is compared with its base; with one, it with the tip of the
    writer branch.
    """
    git = open_git()
    before, after, names = _sides(git, list(arguments))
    changes = [c for c in changed_arraysets(before, after) if not names or c.name in names]
    metadata = {} if names else changed_metadata(before, after)
    result = int(exit_code and bool(changes or metadata))
    if as_json:
        print_json(
            {
                "arraysets": {change.name: arrayset_json(change) for change in changes},
                "metadata": {
                    shown_name(key): {"before": old, "after": new}
                    for key, (old, new) in metadata.items()
                },
            }
        )
        return result
    differ = ValueDiff(git) if values else None
    for change in changes:
        for line in _arrayset_lines(change, stat=stat, values=differ):
            click.echo(line)
    for key, (old, new) in sorted(metadata.items(), key=lambda item: key_order(item[0])):
        shown = f"{old!r} -> {new!r}" if None not in (old, new) else repr(old or new)
        text = f"{_sign(old, new)} metadata {key!r}: {shown}"
        click.echo(paint(text, kind_of(old, new)))
    return result


def _sides(git: GitRepository, arguments: list[str]) -> tuple[Snapshot, Snapshot, list[str]]:
    """The snapshots to compare, and the arraysets named after the revisions."""
    revisions: list[Oid] = []
    while arguments and len(revisions) < 2:
        try:
            revisions.append(resolve(git, arguments[0]))
        except RevisionNotFoundError:
            break
        arguments.pop(0)
    snapshots = Snapshots(git, RecordCounts(Layout.of(git).counts))
    staged = read_staged(git)
    sides = [snapshots(commit) for commit in revisions]
    if not sides:
        writer = ObjectWriter(git)
        tree = build_tree(staged.base, staged.edits, writer).oid if staged.edits else None
        writer.flush()
        sides = [staged.base, staged.base if tree is None else staged.base.at(tree)]
    elif len(sides) == 1:
        sides.append(snapshots(staged.commit))
    known = sides[0].arrayset_trees.keys() | sides[1].arrayset_trees.keys()
    for name in arguments:
        if name not in known:
            hint = did_you_mean(name, [*known, *list_branches(git)])
            raise RevisionNotFoundError(f"{name!r} is neither a revision nor an arrayset{hint}")
    return sides[0], sides[1], arguments


def kind_of(before: object, after: object) -> str:
    """``added``, ``deleted`` or ``mutated``: what became of a value; None is none."""
    return "added" if before is None else "deleted" if after is None else "mutated"


def _sign(before: object, after: object) -> str:
    return _SIGNS[kind_of(before, after)]


def _sorted(change: ArraysetChange) -> list[tuple[SampleKey, Any]]:
    return sorted(change.samples.items(), key=lambda item: key_order(item[0]))


def arrayset_json(change: ArraysetChange) -> dict[str, Any]:
    """What changed in an arrayset, with the names of its samples."""
    document: dict[str, Any] = {"change": kind_of(*change.schemas)}
    for kind in _SIGNS:
        document[kind] = [key for key, pair in _sorted(change) if kind_of(*pair) == kind]
    return document


def _arrayset_lines(
    change: ArraysetChange, *, stat: bool, values: ValueDiff | None
) -> Iterator[str]:
    old, new = change.schemas
    if old is None or new is None:
        schema = new or old
        assert schema is not None
        text = f"{_sign(old, new)} arrayset {change.name}: {form_text(schema)}"
        yield paint(text, kind_of(old, new))
    elif old.hash != new.hash:
        yield paint(f"~ arrayset {change.name}: {old.to_json()} -> {new.to_json()}", "mutated")
    kinds = [kind_of(*pair) for pair in change.samples.values()]
    counts = ", ".join(f"{kinds.count(kind):,} {kind}" for kind in _SIGNS if kind in kinds)
    yield paint(f"arrayset {change.name}: {counts or 'no samples changed'}", "heading")
    if stat:
        return
    for key, (before, after) in _sorted(change):
        note = ""
        if values is not None and before is not None and after is not None and old and new:
            try:
                note = "  " + values.describe(old, before, new, after)
            except DataNotLocalError:
                note = "  (data is not on this machine)"
        value = (after or before or b"")[:DIGEST_SIZE_BYTES].hex()[:12]
        text = f"{_sign(before, after)} {change.name} {key!r}  {value}{note}"
        yield paint(text, kind_of(before, after))
