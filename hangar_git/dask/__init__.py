"""Arraysets as Dask collections that are computed on any machine, and written from it.

Workers need this package and the remote's address; no clone, and no shared file system.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..errors import InvalidInputError, StateError
from ..views.columns import Column
from ..views.lazy import rows_array
from ..views.rows import RowsView
from ..workers.committing import SharedCommit
from ..workers.parts import (
    Chosen,
    chosen_arraysets,
    from_remote,
    read_items,
    row_bytes,
    row_ranges,
)
from ..workers.uploading import Sent, Uploader

__all__ = ["from_checkout", "write"]


def from_checkout(
    checkout: Any,
    arraysets: Chosen = None,
    *,
    partition_size: int | None = None,
    remote: str = "origin",
    worker_token: str | None = None,
) -> Any:
    """Arraysets of a commit, lazily: workers read samples from a remote, in bulk, and verify them.

    An arrayset of one shape is a `dask.array.Array` of shape ``(n, *shape)``, cut along its first
    axis, in the order of ``keys()``. One whose shape varies, or of kind str or bytes, is a
    `dask.bag.Bag` of pairs of key and sample.

    Parameters
    ----------
    checkout
        Of a commit; ``repo.checkout()`` gives it. It can be closed afterwards.
    arraysets
        Name of one, or a list of names; None: all.
    partition_size
        Samples of a partition, which is read whole, the same for all arraysets; by default what is
        about 32 MiB.
    remote
        Whose data workers read.
    worker_token
        Sent to the workers with the task graph, and readable there. By default nothing secret is:
        each worker uses the ``HANGAR_TOKEN`` of its own environment, or for buckets its own
        credentials.

    Returns
    -------
    Array, Bag or dict
        Of the one arrayset that was named; of several a dict by name.

    Raises
    ------
    KeyError
        There is no such arrayset or remote.
    FileNotFoundError
        The remote lacks the data of a sample: push it first.
    ConnectionError
        The remote cannot be reached, or refuses.
    RuntimeError
        The remote's data has no address, or dask is not installed.
    """
    _require()
    columns = [Column.of(aset) for aset in chosen_arraysets(checkout, arraysets)]
    read = from_remote(columns, remote, worker_token)
    size = max(map(row_bytes, columns))
    found = {}
    for column, source in zip(columns, read, strict=True):
        rows = row_ranges(len(column), size, partition_size)
        # Equal data, equal name: Dask takes it for the same, wherever it comes from.
        name = f"{column.name}-{column.aset._base.records_oid}-{len(rows[0])}"
        parts = [source.take(some) for some in rows]
        found[column.name] = (
            rows_array([RowsView(part) for part in parts], name)
            if column.shape is not None
            else _bag(parts, name)
        )
    return found[arraysets] if isinstance(arraysets, str) else found


def _bag(parts: list[Column], name: str) -> Any:
    import dask
    from dask.bag import from_delayed

    read = dask.delayed(_read_items, traverse=False)
    return from_delayed(
        [read(part, dask_key_name=f"{name}-{number}") for number, part in enumerate(parts)]
    )


def _read_items(column: Column) -> list[tuple[Any, Any]]:
    return list(read_items(column))


def write(
    data: Mapping[str, Any],
    checkout: Any,
    message: str,
    *,
    keys: Iterable[Any] | None = None,
    remote: str = "origin",
    push: bool = True,
    worker_token: str | None = None,
) -> str:
    """Write Dask collections to arraysets, and commit them: workers send samples to the remote.

    The clone gets records alone; ``fetch-data`` brings the samples to it. A task that runs twice
    sends nothing twice.

    Parameters
    ----------
    data
        Arrayset name -> a `dask.array.Array` of shape ``(n, *shape)``; or a `dask.bag.Bag` of pairs
        of key and sample (of samples where they are unnamed).
    checkout
        A writer checkout. What else is staged in it goes into the same commit.
    message
        Of the commit.
    keys
        Of the rows of arrays, the same for each; samples of these keys are replaced. Not needed
        where samples are unnamed.
    remote
        That is sent to.
    push
        Whether to push the branch after the commit.
    worker_token
        As in `from_checkout`.

    Returns
    -------
    str
        Oid of the commit.

    Raises
    ------
    ValueError
        A key or sample that an arrayset does not take; or one key with two contents
        (`ConflictError`). Nothing is committed.
    FileNotFoundError
        The remote turns out to lack a sample; nothing is committed.
    KeyError
        There is no such arrayset or remote.
    ConnectionError
        The remote cannot be reached, or refuses. If it was the branch that it refused, the commit
        stands in this clone.
    RuntimeError
        Workers died too often; nothing to commit; or as `from_checkout`.
    """
    dask = _require()
    if not isinstance(data, Mapping):
        raise InvalidInputError(
            f"give a dict of arrayset name -> dask collection, not a {type(data).__name__}"
        )
    commit = SharedCommit(checkout, data, remote, worker_token)
    names = None if keys is None else list(keys)
    tasks = [
        dask.delayed(send, traverse=False)(part)
        for name, collection in data.items()
        for send, part in _parts(commit.uploader, name, collection, names)
    ]
    try:
        sent: tuple[Sent, ...] = dask.compute(*tasks)
    except _lost_workers() as error:
        raise StateError(
            f"{error}; nothing was committed: writing again sends only what is missing"
        ) from error
    return commit.commit(sent, message, push=push)


def _parts(
    uploader: Uploader, name: str, collection: Any, keys: list[Any] | None
) -> list[tuple[Callable[[Any], Sent], Any]]:
    """The partitions of a collection, delayed, and what sends each."""
    from dask.array import Array
    from dask.bag import Bag

    if isinstance(collection, Bag):
        send = partial(uploader.send_items, name)
        return [(send, part) for part in collection.to_delayed()]
    if not isinstance(collection, Array) or not collection.ndim:
        raise InvalidInputError(
            f"arrayset {name!r} is written from a dask array of samples, or a bag of pairs of key"
            f" and sample, not from a {type(collection).__name__}"
        )
    if any(np.isnan(size) for size in collection.chunks[0]):
        collection = collection.compute_chunk_sizes()
    if not uploader.needs_keys(name):
        keys = None
    if keys is not None and len(keys) != len(collection):
        raise InvalidInputError(
            f"arrayset {name!r}: {len(keys)} keys and {len(collection)} samples were given"
        )
    # A sample is hashed whole.
    whole = collection.rechunk(dict.fromkeys(range(1, collection.ndim), -1))
    found: list[tuple[Callable[[Any], Sent], Any]] = []
    at = 0
    for size, block in zip(whole.chunks[0], whole.to_delayed().ravel(), strict=True):
        # Inside the function, where dask does not look at each of them.
        some = None if keys is None else keys[at : at + size]
        found.append((partial(uploader.send, name, some), block))
        at += size
    return found


def _require() -> Any:
    try:
        import dask
        import dask.array
        import dask.bag
    except ImportError as error:
        raise StateError("hangar_git.dask needs dask: pip install 'hangar-git[dask]'") from error
    return dask


def _lost_workers() -> tuple[type[Exception], ...]:
    """What is raised if a task's workers died; without a cluster nothing is."""
    distributed: Any = sys.modules.get("distributed")
    return (distributed.KilledWorker,) if distributed is not None else ()
