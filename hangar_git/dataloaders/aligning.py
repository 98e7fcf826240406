"""Aligning: several arraysets, cut to the samples that all have and that a user named."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..api.arrayset import ArraysetBase
from ..errors import DataNotLocalError, InvalidInputError, NotFoundError
from ..keys import SampleKey, sample_key
from ..views.columns import Column, equal_keys, listed

log = logging.getLogger(__name__)


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
        key = listed(columns[0].keys)[int(np.argmin(local))]
        raise DataNotLocalError(
            f"data of {count} samples is not on this machine, such as of sample {key!r}: fetch it"
            f" first (git hangar fetch-data), or read it from a remote as it is needed"
            f" (repo.checkout(stream='origin'))"
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
    return asets


def _common(columns: list[Column]) -> list[Column]:
    """The columns, cut to the keys that all have."""
    first = columns[0]
    if not all(equal_keys(first.keys, column.keys) for column in columns[1:]):
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


def _named(columns: list[Column], keys: Iterable[SampleKey]) -> list[Column]:
    if isinstance(keys, str | bytes):
        raise InvalidInputError(f"keys is a list of sample names, not {keys!r}")
    wanted = [_key(key) for key in keys]
    if not wanted:
        raise InvalidInputError("keys is empty: there must be at least one sample")
    known = enumerate(listed(columns[0].keys))
    places = {(type(key), key): place for place, key in known}
    try:
        rows = np.array([places[type(key), key] for key in wanted], np.int64)
    except KeyError as error:
        names = ", ".join(repr(column.name) for column in columns)
        raise NotFoundError(f"sample {error.args[0][1]!r} is not in all of {names}") from None
    return [column.take(rows) for column in columns]


def _key(key: Any) -> SampleKey:
    return (sample_key(key[0]), sample_key(key[1])) if isinstance(key, tuple) else sample_key(key)
