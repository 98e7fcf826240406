"""Samples as rows of one array, and the names of its axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..keys import key_text
from .columns import Column, Keys, equal_keys

_PART_BYTES = 1 << 20
"""Of samples from this size on, a part is read alone where the backend can."""


def padded(column: Column, samples: Any) -> NDArray[Any]:
    """What `Column.read` gave, as one array: zeros after samples smaller than the largest."""
    if isinstance(samples, np.ndarray):
        return samples
    array = np.zeros((len(samples), *column.aset.shape), column.dtype)
    for at, sample in enumerate(samples):
        index: Any = (at, *map(slice, sample.shape))
        array[index] = sample
    return array


class RowsView:
    """The samples of a column as an array of shape (n, *shape), read as it is indexed.

    Picklable, so that processes can share the work.
    """

    def __init__(self, column: Column) -> None:
        self.column = column
        self.dtype = column.dtype
        self.shape = (len(column), *column.aset.shape)
        self.ndim = len(self.shape)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """What a tuple of slices selects."""
        index = index if isinstance(index, tuple) else (index,)
        rows = np.arange(self.shape[0])[index[0]]
        inner = tuple(index[1:])
        whole = all(part == slice(None) for part in inner)
        column = self.column
        size = self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))
        if not whole and column.shape is not None and size >= _PART_BYTES and rows.ndim:
            store, shape = column.aset._store, column.shape
            parts = [
                store.get_part(digest, self.dtype, shape, inner)
                for digest in column.records(rows.tolist())
            ]
            return np.stack(parts)
        array = padded(column, column.read(np.atleast_1d(rows).tolist()))
        found: NDArray[Any] = array if rows.ndim else array[0]
        return found[(slice(None),) * bool(rows.ndim) + inner]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of it."""
        return np.asarray(self[:], dtype)


def stacked(aset: Any, dtype: Any, copy: bool | None) -> NDArray[Any]:
    """All samples of an arrayset, for `numpy.asarray` and whatever else asks for an array.

    Raises
    ------
    ValueError
        The arrayset is of kind str or bytes, or can be written to; or no copy is to be made.
    """
    if copy is False:
        raise InvalidInputError("samples are read from files: an array of them is always a copy")
    column = Column.of(aset)
    if column.kind != "array":
        raise InvalidInputError(
            f"arrayset {column.name!r} is of kind {column.kind!r}, which has no dtype: use to_arrow"
        )
    return np.asarray(RowsView(column)[:], dtype)


def key_names(columns: Sequence[Column]) -> list[str]:
    """Name of the axis of samples of each: one name for all columns if they have the same keys."""
    taken = {column.name for column in columns}
    if all(equal_keys(columns[0].keys, column.keys) for column in columns):
        return [_free("key", taken)] * len(columns)
    return [_free(f"{column.name}_key", taken) for column in columns]


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def dimension_names(column: Column, key_name: str) -> list[str]:
    """Names of all axes of the array of a column."""
    if column.kind != "array":
        return [key_name]
    axes = [f"{column.name}_{axis}" for axis in range(len(column.aset.shape))]
    extra = ["bytes"] if column.dtype.kind not in "biufc" else []
    return [key_name, *axes, *extra]


def texts_of_keys(keys: Keys) -> list[str]:
    """Keys as texts, for libraries that have arrays of texts alone."""
    return [key if isinstance(key, str) else key_text(key) for key in list(keys)]


def labels(keys: Keys) -> Any:
    """Keys as a coordinate: integers, or texts where some are no integers."""
    return keys if isinstance(keys, np.ndarray) else np.array(texts_of_keys(keys))
