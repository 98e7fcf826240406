"""Batches of samples: bulk reads, and how samples of many shapes come together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from ..api.arrayset import ArraysetBase
from ..errors import InvalidInputError
from ..views.columns import Column, Keys
from .aligning import aligned

COLLATIONS = ("stack", "pad", "ragged")
KEPT_BYTES = 64 << 20
"""Of arraysets that are no larger together, samples stay in memory once read: decoding small ones
again in each epoch takes longer than all else."""
PREFETCH, PREFETCH_STREAMED = 2, 4
"""Batches that are read ahead; of a stream all at once, so that the time which a remote takes to
answer is waited for but once."""
Batch = dict[str, Any]
Transform = Callable[[Batch], Any]


def checked_fields(columns: Sequence[Column], field_names: Sequence[str] | None) -> list[str]:
    """The names of the fields of a sample: those given, or those of the arraysets."""
    names = [column.name for column in columns] if field_names is None else list(field_names)
    if len(names) != len(columns):
        raise InvalidInputError(f"{len(names)} field_names are given for {len(columns)} arraysets")
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise InvalidInputError(f"field_names are distinct strings, not {names!r}")
    return names


class BatchReader:
    """Reads rows of aligned columns; pickles as the repository's path and the digests.

    Parameters
    ----------
    columns
        As `aligned` gives them.
    field_names
        A name for each.
    collate
        How samples of varying shape come together: ``"stack"`` takes samples of one shape alone;
        ``"pad"`` puts zeros after the smaller ones, and adds the field ``NAME_shape`` with the
        shapes, (n, rank); ``"ragged"`` makes a list. Texts are always a list.
    threads
        That decode at once.
    """

    def __init__(
        self, columns: list[Column], field_names: list[str], collate: str = "stack",
        threads: int = 1,
    ) -> None:  # fmt: skip
        if collate not in COLLATIONS:
            raise InvalidInputError(f"collate is one of {COLLATIONS}, not {collate!r}")
        self.columns = columns
        self.field_names = field_names
        self.collate = collate
        self.threads = threads

    @classmethod
    def of(
        cls,
        arraysets: ArraysetBase | Sequence[ArraysetBase],
        keys: Sequence[Any] | None,
        index_range: slice | None,
        field_names: Sequence[str] | None,
        collate: str = "stack",
    ) -> BatchReader:
        """The reader of arraysets that a user named."""
        columns = aligned(arraysets, keys, index_range)
        left = KEPT_BYTES
        for column in columns:
            left -= column.keep(left)
        return cls(columns, checked_fields(columns, field_names), collate)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.columns[0])

    @property
    def keys(self) -> Keys:
        """The sample keys of the rows."""
        return self.columns[0].keys

    @property
    def streams(self) -> bool:
        """Whether some of the data comes from a remote when it is read."""
        return any(column.aset._store.streams for column in self.columns)

    def depth(self, prefetch: int | None) -> int:
        """How many batches to read ahead: `prefetch`, or a default."""
        if prefetch is None:
            return PREFETCH_STREAMED if self.streams else PREFETCH
        if isinstance(prefetch, bool) or not isinstance(prefetch, int) or prefetch < 0:
            raise InvalidInputError(f"prefetch is a number of batches, not {prefetch!r}")
        return prefetch

    @property
    def identity(self) -> str:
        """Tells data apart: the oids of the records, which the commit names, and the rows taken."""
        hasher = blake3()
        for column in self.columns:
            hasher.update(f"{column.name}\0{column.aset._base.records_oid}\0".encode())
        keys = self.keys
        if isinstance(keys, np.ndarray):
            hasher.update(keys.astype("<i8").tobytes())
        else:
            hasher.update(repr(keys).encode())
        return hasher.hexdigest(16)

    def read(self, rows: Sequence[int]) -> Batch:
        """Some rows as a batch: a field for each arrayset."""
        batch: Batch = {}
        for name, column in zip(self.field_names, self.columns, strict=True):
            found = column.read(rows, self.threads)
            if isinstance(found, list) and column.kind == "array":
                batch.update(self._collated(name, found))
            else:
                batch[name] = found
        return batch

    def read_samples(self, rows: Sequence[int]) -> list[Sequence[Any]]:
        """Some rows column by column, not collated: an array of them, or a list."""
        return [column.read(rows, self.threads) for column in self.columns]

    def lengths(self, field_name: str) -> NDArray[np.int64]:
        """Lengths of the samples of a field, from the records alone."""
        if field_name not in self.field_names:
            raise InvalidInputError(f"there is no field {field_name!r} to sort by length")
        return self.columns[self.field_names.index(field_name)].sizes()

    def _collated(self, name: str, samples: list[NDArray[Any]]) -> Mapping[str, Any]:
        if self.collate == "ragged":
            return {name: samples}
        if self.collate == "pad":
            padded, shapes = pad(samples)
            return {name: padded, f"{name}_shape": shapes}
        shapes_found = {sample.shape for sample in samples}
        if len(shapes_found) > 1:
            raise InvalidInputError(
                f"samples of field {name!r} differ in shape, such as {sorted(shapes_found)[:2]}:"
                f" use collate='pad' or 'ragged'"
            )
        return {name: np.stack(samples)}


def pad(samples: Sequence[NDArray[Any]], value: Any = 0) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Samples of one rank as one array, with `value` after the smaller ones; and their shapes.

    >>> pad([np.array([1]), np.array([2, 3])])[0].tolist()
    [[1, 0], [2, 3]]
    """
    shapes = np.array([sample.shape for sample in samples], np.int64).reshape(len(samples), -1)
    padded = np.full((len(samples), *shapes.max(axis=0).tolist()), value, samples[0].dtype)
    for at, sample in enumerate(samples):
        index: Any = (at, *map(slice, sample.shape))
        padded[index] = sample
    return padded, shapes


def read_ahead(
    read: Callable[[Any], Any],
    jobs: Sequence[Any],
    depth: int,
    threads: int = 1,
    finish: Callable[[Any], Any] | None = None,
) -> Iterator[Any]:
    """What `read` and then `finish` give for each job, in order; `depth` are made ahead of use.

    With several `threads`, as many are read at once, in any order; `finish` is called by one
    thread, in the order of the jobs.
    """
    finish = finish or _as_it_is
    if depth <= 0:
        yield from (finish(read(job)) for job in jobs)
        return
    from collections import deque
    from concurrent.futures import Future, ThreadPoolExecutor

    readers = ThreadPoolExecutor(threads, "hangar-loader")
    finisher = ThreadPoolExecutor(1, "hangar-loader") if threads > 1 else readers
    coming: deque[Future[Any]] = deque()

    def submit(job: Any) -> Future[Any]:
        if finisher is readers:
            return readers.submit(lambda: finish(read(job)))
        raw = readers.submit(read, job)
        return finisher.submit(lambda: finish(raw.result()))

    try:
        for job in jobs:
            coming.append(submit(job))
            if len(coming) > depth:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        # A loop that stops early, or failed, must not wait for what it no longer wants.
        readers.shutdown(wait=True, cancel_futures=True)
        finisher.shutdown(wait=True, cancel_futures=True)


def _as_it_is(value: Any) -> Any:
    return value
