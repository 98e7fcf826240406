"""Columns: the records of arraysets, row by row in one order of keys, ready for bulk reads.

Only digests are kept, 32 bytes a sample: a million samples take 32 MB a column, and pickle as that.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..api.arrayset import ArraysetBase, shape_of
from ..digest import DIGEST_SIZE_BYTES
from ..errors import DataNotLocalError, InvalidInputError, NotFoundError
from ..keys import SampleKey, sample_key, sorted_keys
from ..records.recordfile import file_paths

log = logging.getLogger(__name__)

_CHECKED_AT_ONCE = 1 << 16
Keys: TypeAlias = NDArray[np.int64] | list[SampleKey]
"""The keys of rows; as an array where all are integers."""


class Column:
    """The samples of one arrayset, one for each row.

    Parameters
    ----------
    aset
        The arrayset, of a reader checkout.
    keys
        Of the rows, in the order users see.
    values
        The records of the rows: digest, and shape where that varies.
    """

    def __init__(self, aset: ArraysetBase, keys: Keys, values: bytes | list[bytes]) -> None:
        self.aset = aset
        self.name = aset.name
        self.kind = aset.kind
        self.dtype = aset.dtype
        self.shape: tuple[int, ...] | None = None if _varies(aset) else aset.shape
        self.keys = keys
        self._values = values

    @classmethod
    def of(cls, aset: ArraysetBase) -> Column:
        """All samples of an arrayset; its records are read, and not kept in any other form."""
        keys: list[SampleKey] = []
        values: list[bytes] = []
        fixed = not _varies(aset)
        records = aset._base
        joined = bytearray()
        for prefix in file_paths(records.schema.fanout):
            found = records.read_file(prefix)
            keys.extend(found)
            if fixed:
                joined += b"".join(found.values())
            else:
                values.extend(found.values())
        ordered, order = _sorted(keys)
        if not fixed:
            return cls(aset, ordered, [values[i] for i in order.tolist()])
        rows = np.frombuffer(bytes(joined), np.uint8).reshape(-1, DIGEST_SIZE_BYTES)
        return cls(aset, ordered, rows[order].tobytes())

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: NDArray[np.int64]) -> Column:
        """The column of some of the rows."""
        keys: Keys = (
            self.keys[rows]
            if isinstance(self.keys, np.ndarray)
            else [self.keys[i] for i in rows.tolist()]
        )
        if isinstance(self._values, bytes):
            digests = np.frombuffer(self._values, np.uint8).reshape(-1, DIGEST_SIZE_BYTES)
            return Column(self.aset, keys, digests[rows].tobytes())
        return Column(self.aset, keys, [self._values[i] for i in rows.tolist()])

    def records(self, rows: Iterable[int]) -> list[bytes]:
        """The records of some rows."""
        values, size = self._values, DIGEST_SIZE_BYTES
        if isinstance(values, bytes):
            return [values[i * size : i * size + size] for i in rows]
        return [values[i] for i in rows]

    def local(self) -> NDArray[np.bool_]:
        """Which rows have their data on this machine."""
        store, found = self.aset._store, np.ones(len(self), np.bool_)
        for start in range(0, len(self), _CHECKED_AT_ONCE):
            rows = range(start, min(start + _CHECKED_AT_ONCE, len(self)))
            digests = [value[:DIGEST_SIZE_BYTES] for value in self.records(rows)]
            if missing := set(store.missing(digests)):
                found[rows.start : rows.stop] = [digest not in missing for digest in digests]
        return found

    def sizes(self) -> NDArray[np.int64]:
        """Length of each sample along its first axis, or in bytes; reads no data."""
        if self.shape is not None:
            return np.full(len(self), self.shape[0] if self.shape else 1, np.int64)
        shapes = [shape_of(value) for value in self.records(range(len(self)))]
        return np.array([shape[0] if shape else 1 for shape in shapes], np.int64)

    def read(self, rows: Sequence[int], threads: int = 1) -> Any:
        """The samples of some rows, in one bulk read.

        Returns
        -------
        ndarray or list
            Where the shape is fixed, one array of shape (n, *shape); else a list of samples.
        """
        values = self.records(rows)
        if self.shape is None:
            return self.aset._samples(values, threads)
        return self.aset._store.get_stacked(values, self.dtype, self.shape, threads)


def aligned(
    arraysets: ArraysetBase | Sequence[ArraysetBase],
    keys: Iterable[SampleKey] | None = None,
    index_range: slice | None = None,
    *,
    local_only: bool = True,
) -> list[Column]:
    """Columns of one or several arraysets, whose rows are the samples that all of them have.

    Parameters
    ----------
    arraysets
        One, or several; of reader checkouts.
    keys
        Samples to take, in this order.
    index_range
        Selects of the common samples, in the order of their keys; ignored if there are `keys`.
    local_only
        Leave out samples whose data is not on this machine; unless `keys` names them.

    Raises
    ------
    ValueError
        No samples, or none that all arraysets have; or arraysets that can be written to.
    KeyError
        One of `keys` is not in all arraysets.
    FileNotFoundError
        The data of one of `keys`, or of all samples, is not on this machine.
    """
    asets = _checked(arraysets)
    if keys is None and index_range is not None and not isinstance(index_range, slice):
        raise InvalidInputError(f"index_range is a slice, not {index_range!r}")
    columns = _common([Column.of(aset) for aset in asets])
    if keys is not None:
        columns = _named(columns, keys)
    elif index_range is not None:
        rows = np.arange(len(columns[0]))[index_range]
        if not len(rows):
            raise InvalidInputError(
                f"{index_range} selects none of the {len(columns[0])} common samples"
            )
        columns = [column.take(rows) for column in columns]
    if not local_only:
        return columns
    local = np.logical_and.reduce([column.local() for column in columns])
    if local.all():
        return columns
    count = int(len(local) - local.sum())
    if keys is not None or not local.any():
        key = columns[0].keys[int(np.argmin(local))]
        raise DataNotLocalError(
            f"data of {count} samples is not on this machine, such as of sample {key!r}: fetch it"
            f" first (git hangar fetch-data)"
        )
    log.warning("%d of %d samples are left out: not on this machine", count, len(local))
    return [column.take(np.flatnonzero(local)) for column in columns]


def _checked(arraysets: Any) -> list[ArraysetBase]:
    asets = [arraysets] if isinstance(arraysets, ArraysetBase) else list(arraysets)
    if not asets:
        raise InvalidInputError("there must be at least one arrayset")
    for aset in asets:
        if not isinstance(aset, ArraysetBase):
            raise InvalidInputError(f"an arrayset is expected, not {type(aset).__name__}")
        if aset.iswriteable:
            raise InvalidInputError(
                f"arrayset {aset.name!r} is of a writer checkout: load from repo.checkout(), of a"
                f" commit, which does not change"
            )
    return asets


def _varies(aset: ArraysetBase) -> bool:
    return aset.kind != "array" or aset.variable_shape


def _sorted(keys: list[SampleKey]) -> tuple[Keys, NDArray[np.int64]]:
    """`keys` in the order users see, and where each was."""
    if all(type(key) is int for key in keys):
        numbers = np.array(keys, np.int64)
        order = np.argsort(numbers, kind="stable")
        return numbers[order], order
    places = {key: place for place, key in enumerate(keys)}
    ordered = sorted_keys(keys)
    return ordered, np.array([places[key] for key in ordered], np.int64)


def _common(columns: list[Column]) -> list[Column]:
    """The columns, cut to the keys that all have."""
    first = columns[0]
    if not all(_equal(first.keys, column.keys) for column in columns[1:]):
        shared = set(first.keys)
        for column in columns[1:]:
            shared &= set(column.keys)
        columns = [
            column.take(np.flatnonzero([key in shared for key in column.keys]))
            for column in columns
        ]
    if not len(columns[0]):
        names = ", ".join(repr(column.name) for column in columns)
        raise InvalidInputError(f"there are no samples that all have of arraysets {names}")
    return columns


def _equal(keys: Keys, others: Keys) -> bool:
    if isinstance(keys, np.ndarray) and isinstance(others, np.ndarray):
        return np.array_equal(keys, others)
    return type(keys) is type(others) and keys == others


def _named(columns: list[Column], keys: Iterable[SampleKey]) -> list[Column]:
    if isinstance(keys, str | bytes):
        raise InvalidInputError(f"keys is a list of sample names, not {keys!r}")
    wanted = [_key(key) for key in keys]
    if not wanted:
        raise InvalidInputError("keys is empty: there must be at least one sample")
    known = columns[0].keys
    listed = known.tolist() if isinstance(known, np.ndarray) else known
    places = {(type(key), key): place for place, key in enumerate(listed)}
    try:
        rows = np.array([places[type(key), key] for key in wanted], np.int64)
    except KeyError as error:
        names = ", ".join(repr(column.name) for column in columns)
        raise NotFoundError(f"sample {error.args[0][1]!r} is not in all of {names}") from None
    return [column.take(rows) for column in columns]


def _key(key: Any) -> SampleKey:
    return (sample_key(key[0]), sample_key(key[1])) if isinstance(key, tuple) else sample_key(key)
