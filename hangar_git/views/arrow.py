"""Arraysets as Arrow tables; the home of pyarrow."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InvalidInputError, StateError
from .columns import Column
from .rows import labels


def to_arrow(aset: Any) -> Any:
    """All samples of an arrayset as a `pyarrow.Table`, in memory.

    Column ``key`` has the keys. Column ``sample`` has strings, bytes, or numbers where samples have
    no axes; else tensors of one shape (`FixedShapeTensorArray`) or, where the shape varies, lists
    of the elements in C order, and column ``shape`` their shapes.

    Raises
    ------
    ValueError
        The dtype is one that Arrow lacks, or the arrayset can be written to.
    RuntimeError
        pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise StateError("to_arrow needs pyarrow: pip install 'hangar-git[arrays]'") from error
    column = Column.of(aset)
    found = column.read(range(len(column))) if len(column) else []
    columns = {"key": pa.array(labels(column.keys))}
    if column.kind != "array":
        columns["sample"] = pa.array(found, pa.string() if column.kind == "str" else pa.binary())
        return pa.table(columns)
    try:
        element = pa.from_numpy_dtype(column.dtype)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise InvalidInputError(
            f"arrayset {column.name!r} has dtype {column.dtype}, which Arrow lacks"
        ) from error
    if column.shape is None:
        flat = [sample.reshape(-1) for sample in found]
        columns["sample"] = pa.array(flat, pa.list_(element))
        columns["shape"] = pa.array([list(s.shape) for s in found], pa.list_(pa.int64()))
    elif not len(column):
        columns["sample"] = pa.array([], element)
    elif column.shape == ():
        columns["sample"] = pa.array(found, element)
    elif column.dtype.kind == "b":
        raise InvalidInputError(f"arrayset {column.name!r}: tensors of Arrow cannot be of bool")
    else:
        columns["sample"] = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(found))
    return pa.table(columns)
