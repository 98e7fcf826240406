"""``git hangar arrayset``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click
import numpy as np

from ..api.arrayset import ArraysetDataReader
from ..schema import MERGE_POLICIES, Schema
from ..staging.staged import read_staged
from .opening import open_repository, reading, writing
from .output import counted

DTYPES = (
    *("UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "UINT64", "INT64"),
    *("FLOAT16", "FLOAT32", "FLOAT64", "BOOL", "COMPLEX64", "COMPLEX128"),
)


def _dtype(_: click.Context, parameter: click.Parameter, value: str) -> np.dtype[Any]:
    """The dtype that the user's text means: one of `DTYPES` in any case, or as NumPy writes it."""
    try:
        return np.dtype(value.lower() if value.upper() in DTYPES else value)
    except (TypeError, ValueError, SyntaxError) as error:
        raise click.BadParameter(
            f"{value!r} is none of {', '.join(DTYPES)}, nor another NumPy dtype.", param=parameter
        ) from error


@click.group()
def arrayset() -> None:
    """Create, remove and list arraysets."""


@arrayset.command()
@click.argument("name")
@click.argument("dtype", callback=_dtype)
@click.argument("shape", nargs=-1, required=True, type=click.IntRange(min=1))
@click.option("--variable-shape", is_flag=True, help="Samples may be of any size up to SHAPE.")
@click.option(
    "--named/--not-named", default=True, help="Whether samples are named.  [default: named]"
)
def create(
    name: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    variable_shape: bool,
    named: bool,
) -> None:
    """Create an arrayset with NAME and DTYPE of SHAPE.

    The arrayset is created in the staging area of the writer branch. A NAME is of ASCII letters,
    digits, '.', '_' and '-'. The DTYPE is one of UINT8, INT8, UINT16, INT16, UINT32, INT32, UINT64,
    INT64, FLOAT16, FLOAT32, FLOAT64, BOOL, COMPLEX64, COMPLEX128, in any case, or another dtype as
    NumPy writes it ('<U20', 'datetime64[s]'). The SHAPE is the size of each dimension.

    \b
    Training images of 256 by 256 pixels in three colors:
        git hangar arrayset create train_images UINT8 256 256 3
    Images of any size up to that:
        git hangar arrayset create --variable-shape train_images UINT8 256 256 3
    """  # noqa: D301  # \b is click's mark of a paragraph to leave as it is
    repository, _ = open_repository()
    with writing(repository) as checkout:
        made = checkout.arraysets.init_arrayset(
            name, shape, dtype, named_samples=named, variable_shape=variable_shape
        )
        click.echo(f"Initialized Arrayset: {made.name}")


@arrayset.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove arrayset NAME from the next commit; earlier commits keep it."""
    repository, _ = open_repository()
    with writing(repository) as checkout:
        click.echo(f"Removed Arrayset: {checkout.arraysets.remove_aset(name)}")


@arrayset.command("merge-policy")
@click.argument("name")
@click.argument("policy", type=click.Choice([*MERGE_POLICIES, "none"]))
def merge_policy(name: str, policy: str) -> None:
    """Stage a POLICY that settles conflicts of samples of arrayset NAME, for everyone."""
    repository, _ = open_repository()
    with writing(repository) as checkout:
        aset = checkout.arraysets[name]
        schema = replace(aset._schema, merge=None if policy == "none" else policy)
        checkout._session.area.change_schema(name, schema)
    click.echo(f"Conflicts of samples of {name} will be settled by: {policy}")


@arrayset.command("list")
@click.argument("startpoint", required=False)
def list_(startpoint: str | None) -> None:
    """List the arraysets at STARTPOINT; by default of the writer branch, with staged changes."""
    repository, git = open_repository()
    if startpoint is not None:
        with reading(repository, startpoint) as checkout:
            rows = [(a.name, _form(a), len(a)) for a in checkout.arraysets.values()]
    else:
        staged = read_staged(git)
        rows = [(name, _form(schema), count) for name, schema, count in staged.arraysets()]
    width = max((len(name) for name, _, _ in rows), default=0)
    for name, form, count in rows:
        click.echo(f"{name:{width}}  {form}, {counted(count, 'sample')}")


def _form(of: ArraysetDataReader | Schema) -> str:
    return f"{of.dtype} {'up to ' if of.variable_shape else ''}{of.shape}"
