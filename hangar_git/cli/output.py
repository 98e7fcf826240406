"""How results are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import click

from ..schema import Schema
from .group import NO_PROGRESS

T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def print_json(document: Any) -> None:
    """Print `document` as JSON."""
    click.echo(json.dumps(document, indent=2))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for people: the first column to the left, others to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *rest = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *rest]).rstrip()

    return "\n".join(map(line, [heads, *rows]))


def counted(number: int, noun: str) -> str:
    """``1,797 samples``; ``1 sample``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shows_progress() -> bool:
    """Whether bars are to be shown: on terminals, unless the user does not want them."""
    wanted = click.get_current_context().meta.get(NO_PROGRESS) is None
    return wanted and sys.stderr.isatty()


def progress(items: Iterable[T], total: int, what: str, unit: str) -> Iterator[T]:
    """`items`, with a bar on a terminal that appears once they take more than a second."""
    if not shows_progress():
        yield from items
        return
    from tqdm import tqdm

    yield from tqdm(items, desc=what, unit=unit, total=total, delay=1, leave=False)


def _note_no_progress(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[NO_PROGRESS] = True


no_progress_option = click.option(
    "--no-progress", is_flag=True, expose_value=False, callback=_note_no_progress,
    help="Show no progress bar.",
)  # fmt: skip


def form_text(schema: Schema) -> str:
    """``uint8 (28, 28)``; ``nested str``."""
    nested = "nested " if schema.nested else ""
    if schema.kind != "array":
        return nested + schema.kind
    return f"{nested}{schema.dtype} {'up to ' if schema.variable_shape else ''}{schema.shape}"
