"""Columns: the records of an arrayset, row by row in the order of keys, ready for bulk reads.

Only digests are kept, 32 bytes a sample: a million samples take 32 MB a column, and pickle as that.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..digest import DIGEST_SIZE_BYTES
from ..errors import InvalidInputError
from ..keys import SampleKey, sorted_keys
from ..records.recordfile import file_paths, shape_of

_CHECKED_AT_ONCE = 1 << 16
_FILES = 256
"""Each record file is read once, but Git keeps what it has read: after so many it forgets that."""
_KEPT_AT_ONCE = 1 << 13
_KEPT_BYTES = 4 << 20
"""So much is read along with a batch at most, where samples stay in memory."""
Keys: TypeAlias = NDArray[np.int64] | list[SampleKey]
"""The keys of rows; as an array where all are integers."""


def listed(keys: Keys) -> list[SampleKey]:
    """The keys of rows, as users have them."""
    return keys.tolist() if isinstance(keys, np.ndarray) else keys


@dataclass
class _Kept:
    """Samples in memory, which of them are there yet, and the row before which all are."""

    samples: NDArray[Any]
    has: NDArray[np.bool_]
    complete: int = 0


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

    def __init__(self, aset: Any, keys: Keys, values: bytes | list[bytes]) -> None:
        self.aset = aset
        self.name = aset.name
        self.kind = aset.kind
        self.dtype = aset.dtype
        self.shape: tuple[int, ...] | None = None if _varies(aset) else aset.shape
        self.keys = keys
        self._values = values
        self._kept: _Kept | None = None

    @classmethod
    def of(cls, aset: Any) -> Column:
        """All samples of an arrayset; its records are read, and not kept in any other form."""
        if aset.iswriteable:
            raise InvalidInputError(
                f"arrayset {aset.name!r} is of a writer checkout: take it from repo.checkout(),"
                f" of a commit, which does not change"
            )
        keys: list[Keys] = []
        values: list[bytes] = []
        fixed = not _varies(aset)
        records = aset._base.apart()
        joined = bytearray()
        for number, prefix in enumerate(file_paths(records.schema.fanout)):
            if number % _FILES == 0:
                records.git.forget()
            found = records.read_file(prefix)
            keys.append(_numbers(found))
            if fixed:
                joined += b"".join(found.values())
            else:
                values.extend(found.values())
        ordered, order = _sorted(keys)
        if not fixed:
            return cls(aset, ordered, [values[i] for i in order.tolist()])
        rows = np.frombuffer(joined, np.uint8).reshape(-1, DIGEST_SIZE_BYTES)[order]
        del joined
        return cls(aset, ordered, rows.tobytes())

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

    def read_through(self, aset: Any) -> Column:
        """The same rows, whose samples another handle of the arrayset reads."""
        return Column(aset, self.keys, self._values)

    def records(self, rows: Iterable[int]) -> list[bytes]:
        """The records of some rows."""
        values, size = self._values, DIGEST_SIZE_BYTES
        if isinstance(values, bytes):
            return [values[i * size : i * size + size] for i in rows]
        return [values[i] for i in rows]

    def local(self) -> NDArray[np.bool_]:
        """Which rows can be read: their data is on this machine, or is streamed to it."""
        store, found = self.aset._store, np.ones(len(self), np.bool_)
        if store.streams:
            return found
        # In the order of digests, which is that of the index: three times as fast for a million.
        if isinstance(self._values, bytes):
            heads = np.frombuffer(self._values, ">u8")[:: DIGEST_SIZE_BYTES // 8]
        else:
            heads = np.frombuffer(b"".join([value[:8] for value in self._values]), ">u8")
        order = np.argsort(heads)
        for start in range(0, len(self), _CHECKED_AT_ONCE):
            rows = order[start : start + _CHECKED_AT_ONCE]
            digests = [value[:DIGEST_SIZE_BYTES] for value in self.records(rows.tolist())]
            if missing := set(store.missing(digests)):
                found[rows] = [digest not in missing for digest in digests]
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
        aset, store = self.aset, self.aset._store  # a closed checkout is refused here
        if self.shape is None:
            return aset._samples(self.records(rows), threads)
        if self._kept is None:
            return store.get_stacked(self.records(rows), self.dtype, self.shape, threads)
        kept, at = self._kept, np.asarray(rows, np.int64)
        new = at[~kept.has[at]]
        if len(new):
            new = np.unique(new if store.streams else np.append(new, self._next(kept)))
            digests = self.records(new.tolist())
            kept.samples[new] = store.get_stacked(digests, self.dtype, self.shape, threads)
            kept.has[new] = True  # last: another thread may be reading
        return kept.samples[at]

    def _next(self, kept: _Kept) -> NDArray[np.int64]:
        """Rows to be read along with others: soon all are kept, each chunk decoded but once."""
        size = max(1, kept.samples.nbytes // len(self))
        start = kept.complete
        kept.complete = min(len(self), start + max(1, min(_KEPT_AT_ONCE, _KEPT_BYTES // size)))
        return start + np.flatnonzero(~kept.has[start : kept.complete])

    def keep(self, limit_bytes: int) -> int:
        """Keep samples in memory once read, if all together are no larger; how large they are."""
        if self.shape is None:
            return 0
        size = int(np.prod(self.shape, dtype=np.int64)) * int(self.dtype.itemsize) * len(self)
        if size > limit_bytes:
            return 0
        self._kept = _Kept(np.empty((len(self), *self.shape), self.dtype), np.zeros(len(self), "?"))
        return size

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": self._kept is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {"_kept": None})
        if state["_kept"]:
            self.keep(sys.maxsize)


def _varies(aset: Any) -> bool:
    return bool(aset.kind != "array" or aset.variable_shape)


def _numbers(keys: Collection[SampleKey]) -> Keys:
    """Keys of a file; as an array, which takes a fifth of the memory, if all are integers."""
    if all(type(key) is int for key in keys):
        return np.fromiter(keys, np.int64, len(keys))
    return list(keys)


def _sorted(parts: list[Keys]) -> tuple[Keys, NDArray[np.int64]]:
    """Keys in the order users see, and where each was."""
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if len(arrays) == len(parts):
        numbers = np.concatenate(arrays) if arrays else np.empty(0, np.int64)
        order = np.argsort(numbers, kind="stable")
        return numbers[order], order
    keys: list[SampleKey] = [
        key for part in parts for key in (part.tolist() if isinstance(part, np.ndarray) else part)
    ]
    places = {key: place for place, key in enumerate(keys)}
    ordered = sorted_keys(keys)
    return ordered, np.array([places[key] for key in ordered], np.int64)


def equal_keys(keys: Keys, others: Keys) -> bool:
    """Whether rows have the same keys."""
    if isinstance(keys, np.ndarray) and isinstance(others, np.ndarray):
        return np.array_equal(keys, others)
    return type(keys) is type(others) and keys == others
