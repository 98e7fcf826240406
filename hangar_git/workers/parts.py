"""Parts of a commit: some rows of its arraysets, for a worker to read from the remote.

A part pickles as the remote's address, the schema, and keys and digests of its own rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..api.arrayset import ArraysetBase
from ..api.checkout import ReaderCheckout
from ..digest import DIGEST_SIZE_BYTES
from ..errors import DataNotLocalError, InvalidInputError, NotFoundError
from ..records.gitrepo import GitRepository
from ..records.recordfile import shape_of
from ..records.snapshot import ArraysetRecords
from ..remotes.access import RemoteAccess
from ..remotes.opening import opened_data
from ..remotes.remoteconfig import find_remote
from ..remotes.streaming import Stream, StreamedStore
from ..schema import Schema
from ..store.container import element_count
from ..views.columns import Column, listed

PART_BYTES = 32 << 20
"""A part has about so many bytes of samples: few enough that a worker holds several."""
_ROW_BYTES = 64
"""What a row costs beside its sample: its key and digest travel to the worker."""

Chosen: TypeAlias = str | Sequence[str] | None


class RemoteArrayset(ArraysetBase):
    """An arrayset without its records, whose samples are read from a remote by digest."""

    def __len__(self) -> int:
        """None: it knows no names, which are with the rows that it reads."""
        return 0

    @classmethod
    def of(cls, name: str, schema: Schema, store: StreamedStore) -> RemoteArrayset:
        """The arrayset of this name whose samples `store` streams."""
        return cls(ArraysetRecords.new(name, schema), store)

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteArrayset.of, (self._name, self._schema, self._store)


def chosen_arraysets(checkout: Any, arraysets: Chosen) -> list[ArraysetBase]:
    """The arraysets of a reader checkout that a user named; None: all of them."""
    if not isinstance(checkout, ReaderCheckout):
        raise InvalidInputError(
            f"workers read a commit: give what repo.checkout() gives, not {type(checkout).__name__}"
        )
    names = [arraysets] if isinstance(arraysets, str) else arraysets
    asets = checkout.arraysets
    found = list(asets.values()) if names is None else [asets[name] for name in names]
    if not found:
        raise NotFoundError("no arrayset is chosen, or the commit has none")
    return found


def from_remote(
    columns: Sequence[Column], remote: str, worker_token: str | None = None
) -> list[Column]:
    """The same columns, to be read from a remote, without the clone.

    Raises
    ------
    NotFoundError, StateError, NotPermittedError
        As `RemoteAccess.of`.
    DataNotLocalError
        The remote lacks data of a sample.
    RemoteError
        It cannot be reached, or refuses.
    """
    git: GitRepository = columns[0].aset._base.git
    access = RemoteAccess.of(git, remote, token=worker_token)
    _check_there(git, columns, remote, access)
    # What came is used at once: keeping it would only take memory from the workers.
    store = StreamedStore(Stream(None, access, cache_bytes=0))
    return [
        column.read_through(RemoteArrayset.of(column.name, column.aset._schema, store))
        for column in columns
    ]


def _check_there(
    git: GitRepository, columns: Sequence[Column], remote: str, access: RemoteAccess
) -> None:
    """Raise DataNotLocalError if the remote lacks a sample: better now than in a worker."""
    size = DIGEST_SIZE_BYTES
    digests = {
        value[:size]: None for column in columns for value in column.records(range(len(column)))
    }
    with opened_data(git, find_remote(git, remote), credentials=access.credentials) as store:
        missing = set(store.missing(list(digests)))
    if not missing:
        return
    for column in columns:
        values = column.records(range(len(column)))
        rows = [row for row, value in enumerate(values) if value[:size] in missing]
        if rows:
            raise DataNotLocalError(
                f"data of {len(rows):,} samples of arrayset {column.name!r} is not at remote"
                f" {remote!r} ({access.address}), where workers read it, such as of sample"
                f" {listed(column.keys)[rows[0]]!r}; send it first: git hangar push {remote} BRANCH"
            )


def row_bytes(column: Column) -> float:
    """Mean size of a sample, known from the records."""
    itemsize = 1 if column.kind != "array" else int(column.dtype.itemsize)
    if column.shape is not None:
        return element_count(column.shape) * itemsize
    values = column.records(range(len(column)))
    return sum(element_count(shape_of(value)) for value in values) * itemsize / max(1, len(values))


def row_ranges(count: int, bytes_of_row: float, part_size: int | None) -> list[NDArray[np.int64]]:
    """The rows of each part; one part without rows if there are none.

    Parameters
    ----------
    part_size
        Rows of a part; None: as many as are about 32 MiB.
    """
    if part_size is not None and (type(part_size) is not int or part_size < 1):
        raise InvalidInputError(f"partition_size is a number of samples, not {part_size!r}")
    size = part_size or max(1, int(PART_BYTES // (bytes_of_row + _ROW_BYTES)))
    return [np.arange(at, min(at + size, count)) for at in range(0, max(count, 1), size)]


def read_items(column: Column) -> Iterator[tuple[Any, Any]]:
    """Key and sample of all rows, read at once."""
    return zip(listed(column.keys), column.read(range(len(column))), strict=True)


def objects(values: Sequence[Any]) -> NDArray[np.object_]:
    """`values` as a one-dimensional array of objects, whatever they are."""
    array = np.empty(len(values), object)
    for at, value in enumerate(values):
        array[at] = value
    return array
