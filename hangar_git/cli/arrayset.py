"""``git hangar arrayset``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click
import numpy as np

from ..dtypes import dtype_to_json
from ..schema import KINDS, MERGE_POLICIES, Schema
from ..staging.staged import read_staged
from .here import open_git
from .opening import open_repository, writing
from .output import counted, form_text, json_option, print_json
from .tracing import snapshots_of, start_of

DTYPES = (
    *("UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "UINT64", "INT64"),
    *("FLOAT16", "FLOAT32", "FLOAT64", "BOOL", "COMPLEX64", "COMPLEX128"),
)


def _dtype(_: click.Context, parameter: click.Parameter, value: str | None) -> np.dtype[Any] | None:
    """The dtype that the user's text means: one of `DTYPES` in any case, or as NumPy writes it."""
    if value is None:
        return None
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
@click.argument("dtype", callback=_dtype, required=False)
@click.argument("shape", nargs=-1, type=click.IntRange(min=1))
@click.option("--variable-shape", is_flag=True, help="Samples may be of any size up to SHAPE.")
@click.option(
    "--named/--not-named", default=True, help="Whether samples are named.  [default: named]"
)
@click.option(
    "--kind", type=click.Choice(KINDS), default="array",
    help="What samples are: texts and bytes have no DTYPE and SHAPE.  [default: array]",
)  # fmt: skip
@click.option("--nested", is_flag=True, help="A sample holds subsamples, called OUTER/INNER.")
@click.option("--scalar", is_flag=True, help="Samples are single values: there is no SHAPE.")
def create(
    name: str,
    dtype: np.dtype[Any] | None,
    shape: tuple[int, ...],
    variable_shape: bool,
    named: bool,
    kind: str,
    nested: bool,
    scalar: bool,
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
    Texts, such as captions:
        git hangar arrayset create --kind str captions
    Several scans of each patient:
        git hangar arrayset create --nested scans INT16 256 256 128
    """  # noqa: D301  # \b is click's mark of a paragraph to leave as it is
    if kind != "array":
        if dtype is not None or shape or variable_shape or scalar:
            raise click.UsageError(f"samples of kind {kind} have no dtype and no shape")
    elif dtype is None:
        raise click.UsageError("Missing argument 'DTYPE'.")
    elif bool(shape) == scalar:
        raise click.UsageError("--scalar takes no SHAPE" if scalar else
                               "Missing argument 'SHAPE...'.")  # fmt: skip
    repository, _ = open_repository()
    with writing(repository) as checkout:
        made = checkout.arraysets.init_arrayset(
            name,
            shape if kind == "array" else None,
            dtype,
            named_samples=named,
            variable_shape=variable_shape,
            kind=kind,
            contains_subsamples=nested,
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
@json_option
def list_(startpoint: str | None, as_json: bool) -> None:
    """List the arraysets at STARTPOINT; by default of the writer branch, with staged changes."""
    git = open_git()
    if startpoint is not None:
        snapshot = snapshots_of(git)(start_of(git, startpoint))
        rows = [(one.name, one.schema, one.count()) for one in snapshot.arraysets()]
    else:
        rows = list(read_staged(git).arraysets())
    if as_json:
        print_json([_document(*row) for row in rows])
        return
    width = max((len(name) for name, _, _ in rows), default=0)
    for name, schema, count in rows:
        click.echo(f"{name:{width}}  {form_text(schema)}, {counted(count, 'sample')}")


def _document(name: str, schema: Schema, count: int) -> dict[str, Any]:
    is_array = schema.kind == "array"
    return {
        "name": name,
        "num_samples": count,
        "kind": schema.kind,
        "dtype": dtype_to_json(schema.dtype) if is_array else None,
        "shape": list(schema.shape) if is_array else None,
        "variable_shape": schema.variable_shape,
        "named_samples": schema.named_samples,
        "nested": schema.nested,
    }
