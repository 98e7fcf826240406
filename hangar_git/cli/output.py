"""How results are printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

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
