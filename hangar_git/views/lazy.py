"""Arraysets as lazy arrays of Dask and xarray; the home of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InvalidInputError, StateError
from .columns import Column
from .rows import RowsView, key_names, labels

_CHUNK_BYTES = 8 << 20


def to_dask(aset: Any) -> Any:
    """The samples of an arrayset as a `dask.array.Array`, in chunks of about 8 MiB.

    Shapes that vary are filled with zeros up to the largest. Chunks are read when they are
    computed, also by other processes of this machine.

    Raises
    ------
    ValueError
        The arrayset is of kind str or bytes, has no samples, or can be written to.
    RuntimeError
        dask is not installed.
    """
    return _dask_array(Column.of(aset))


def to_xarray(commit: str, arraysets: Sequence[Any]) -> Any:
    """Arraysets of a commit as a lazy `xarray.Dataset`; see ``checkout.to_xarray()``."""
    try:
        import xarray as xr
    except ImportError as error:
        raise StateError(
            "to_xarray needs xarray and dask: pip install 'hangar-git[arrays]'"
        ) from error
    columns = [Column.of(aset) for aset in arraysets if aset.kind == "array"]
    columns = [column for column in columns if len(column)]
    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = {}
    for column, name in zip(columns, key_names(columns), strict=True):
        axes = [f"{column.name}_{axis}" for axis in range(len(column.aset.shape))]
        variables[column.name] = ([name, *axes], _dask_array(column))
        coordinates[name] = labels(column.keys)
    return xr.Dataset(variables, coordinates, {"hangar_commit": commit})


def rows_array(views: Sequence[RowsView], name: str) -> Any:
    """Views, one after the other along the first axis, as a `dask.array.Array`: a chunk of each."""
    import dask.array as da

    # Inline, so that a task is given the rows of its own chunk alone.
    arrays = [
        da.from_array(
            view,
            chunks=view.shape,
            name=f"{name}-{number}",
            meta=np.empty((0,) * view.ndim, view.dtype),
            inline_array=True,
        )
        for number, view in enumerate(views)
    ]
    return da.concatenate(arrays)


def _dask_array(column: Column) -> Any:
    try:
        import dask.array as da
    except ImportError as error:
        raise StateError("to_dask needs dask: pip install 'hangar-git[arrays]'") from error
    if column.kind != "array":
        raise InvalidInputError(
            f"arrayset {column.name!r} is of kind {column.kind!r}, which has no dtype: use to_arrow"
        )
    if not len(column):
        raise InvalidInputError(f"arrayset {column.name!r} has no samples")
    view = RowsView(column)
    size = view.dtype.itemsize * int(np.prod(view.shape[1:], dtype=np.int64))
    rows = max(1, min(view.shape[0], _CHUNK_BYTES // max(1, size)))
    from_array: Any = da.from_array
    return from_array(
        view,
        chunks=(rows, *view.shape[1:]),
        # Equal data, equal name: Dask takes it for the same array, in every process.
        name=f"{column.name}-{column.aset._base.records_oid}",
        meta=np.empty((0,) * view.ndim, view.dtype),
    )
