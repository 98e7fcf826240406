"""Samples as a `tf.data.Dataset`. The home of tensorflow, which is imported when first needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..api.arrayset import ArraysetBase
from ..errors import InvalidInputError, StateError
from ..views.columns import Column
from .batches import BatchReader, read_ahead
from .order import Order, Rows

_READ_BYTES = 1 << 20
_READ_SAMPLES = 256


def make_tf_dataset(
    arraysets: ArraysetBase | Sequence[ArraysetBase],
    keys: Sequence[Any] | None = None,
    index_range: slice | None = None,
    shuffle: bool = True,
    *,
    seed: int = 0,
) -> Any:
    """Samples as a `tf.data.Dataset` of tuples of tensors, one for each arrayset.

    Shapes that vary are None in the dataset's shapes, as `padded_batch` takes them. It is made with
    `from_generator`, and cannot be put into a SavedModel or moved to another process.

    Parameters
    ----------
    arraysets
        One, or a sequence of them; of a reader checkout.
    keys
        Names of the samples to take; else all that every arrayset has.
    index_range
        Selects of the samples, in the order of their names; ignored if there are `keys`.
    shuffle
        Give the samples of each epoch in another order, of all samples.
    seed
        Of the orders; epoch by epoch they are the same on every machine.

    Raises
    ------
    ValueError
        No samples that all arraysets have, or a dtype that tensorflow lacks.
    KeyError
        One of `keys` is not in all arraysets.
    FileNotFoundError
        Data is not on this machine, as for `make_numpy_dataset`.
    RuntimeError
        tensorflow is not installed.
    """
    tf = _tensorflow()
    reader = BatchReader.of(arraysets, keys, index_range, None, "ragged")
    types = tuple(_tf_type(tf, column) for column in reader.columns)
    shapes = tuple(tf.TensorShape(_tf_shape(column)) for column in reader.columns)
    step = max(1, min(_READ_SAMPLES, _READ_BYTES // max(1, _sample_bytes(reader.columns))))
    order = Order(reader.identity, len(reader), step, shuffle=shuffle, seed=seed)
    epochs = iter(range(1 << 62))

    depth = reader.depth(None)
    threads = depth if reader.streams else 1

    def read(rows: Rows) -> list[Sequence[Any]]:
        return reader.read_samples(rows.tolist())

    def samples() -> Iterator[tuple[Any, ...]]:
        for columns in read_ahead(read, order.batches(next(epochs)), depth, threads):
            yield from zip(*columns, strict=True)

    return tf.data.Dataset.from_generator(samples, output_types=types, output_shapes=shapes)


def _tensorflow() -> Any:
    try:
        import tensorflow as tf
    except ImportError as error:
        raise StateError(
            "make_tf_dataset needs tensorflow: pip install 'hangar-git[tensorflow]'"
        ) from error
    return tf


def _tf_type(tf: Any, column: Column) -> Any:
    if column.kind != "array":
        return tf.string
    try:
        found = tf.as_dtype(column.dtype)
    except TypeError:
        found = None
    if found is None or column.dtype.kind not in "biufc":
        raise InvalidInputError(
            f"arrayset {column.name!r} has dtype {column.dtype}, which tensorflow lacks"
        )
    return found


def _tf_shape(column: Column) -> list[int | None]:
    if column.kind != "array":
        return []
    return list(column.shape) if column.shape is not None else [None] * len(column.aset.shape)


def _sample_bytes(columns: Sequence[Column]) -> int:
    return sum(
        int(np.dtype(column.dtype).itemsize * np.prod(column.aset.shape, dtype=np.int64))
        for column in columns
        if column.kind == "array"
    )
