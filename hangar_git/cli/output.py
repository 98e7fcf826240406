"""How results are printed."""

from __future__ import annotations

import json
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def print_json(document: Any) -> None:
    """Print `document` as JSON."""
    click.echo(json.dumps(document, indent=2))


def counted(number: int, noun: str) -> str:
    """``1,797 samples``; ``1 sample``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
