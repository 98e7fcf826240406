"""A commit as a Ray dataset that is read on any machine, and a dataset written to a commit.

Workers need this package and the remote's address; no clone, and no shared file system.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..dataloaders.aligning import aligned
from ..errors import HangarError, InvalidInputError, StateError
from ..keys import SampleKey, key_text, parse_key_text
from ..workers.committing import SharedCommit
from ..workers.parts import Chosen, chosen_arraysets, from_remote, objects
from ..workers.uploading import Sent, Uploader

__all__ = ["read", "write"]

_HELD = "biuf"
"""Kinds of dtypes that Ray's tables have."""
_ERROR = ""
"""In place of an arrayset's name: what a task has to tell is an error."""


def read(
    checkout: Any,
    arraysets: Chosen = None,
    *,
    partition_size: int | None = None,
    remote: str = "origin",
    worker_token: str | None = None,
) -> Any:
    """Arraysets of a commit as a `ray.data.Dataset`, which workers read from a remote, verified.

    It has the samples that all arraysets have, a row each: a column for each arrayset, and column
    ``key`` (``key_`` if an arrayset has that name). Keys are integers, or texts where some are not:
    ``#10`` is then the integer 10, and ``a/b`` the key of a nested sample.

    Parameters
    ----------
    checkout
        Of a commit; ``repo.checkout()`` gives it. It can be closed afterwards.
    arraysets
        Name of one, or a list of names; None: all.
    partition_size
        Rows that a task reads in bulk; by default what is about 32 MiB.
    remote
        Whose data workers read.
    worker_token
        Sent to the workers with the tasks, and readable there. By default nothing secret is: each
        worker uses the ``HANGAR_TOKEN`` of its own environment, or for buckets its own credentials.

    Raises
    ------
    KeyError
        There is no such arrayset or remote.
    ValueError
        There are no samples that all have, or a dtype that Ray's tables lack.
    FileNotFoundError
        The remote lacks the data of a sample: push it first.
    ConnectionError
        The remote cannot be reached, or refuses.
    RuntimeError
        The remote's data has no address, or Ray is not installed.
    """
    ray_data = _require()
    from .datasource import CommitDatasource

    columns = aligned(chosen_arraysets(checkout, arraysets), local_only=False)
    for column in columns:
        if column.kind == "array" and column.dtype.kind not in _HELD:
            raise InvalidInputError(
                f"arrayset {column.name!r} has dtype {column.dtype}, which Ray's tables lack:"
                f" leave it out, or read it with hangar_git.dask"
            )
    source = CommitDatasource(from_remote(columns, remote, worker_token), partition_size)
    return ray_data.read_datasource(source)


def write(
    dataset: Any,
    checkout: Any,
    message: str,
    *,
    arraysets: Sequence[str] | None = None,
    key_column: str = "key",
    remote: str = "origin",
    push: bool = True,
    worker_token: str | None = None,
) -> str:
    """Write columns of a Ray dataset to arraysets, and commit them: workers send to the remote.

    The clone gets records alone; ``fetch-data`` brings the samples to it. A task that runs twice
    sends nothing twice.

    Parameters
    ----------
    dataset
        A `ray.data.Dataset`.
    checkout
        A writer checkout. What else is staged in it goes into the same commit.
    message
        Of the commit.
    arraysets
        Columns to write, each to the arrayset of its name; None: all but the keys.
    key_column
        Integers, or texts as `read` gives them; samples of these keys are replaced. Not needed
        where samples are unnamed.
    remote
        That is sent to.
    push
        Whether to push the branch after the commit.
    worker_token
        As in `read`.

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
        Nothing to commit, or as `read`.
    """
    _require()
    names = list(arraysets) if arraysets is not None else _columns(dataset, key_column)
    commit = SharedCommit(checkout, names, remote, worker_token)
    send = partial(_send, commit.uploader, names, key_column)
    done = dataset.map_batches(send, batch_size=None, batch_format="numpy")
    return commit.commit(_collected(done), message, push=push)


def _columns(dataset: Any, key_column: str) -> list[str]:
    return [name for name in dataset.columns() or [] if name != key_column]


def _send(
    uploader: Uploader, names: list[str], key_column: str, batch: dict[str, Any]
) -> dict[str, Any]:
    """Send a batch; what comes back, as a batch, are the records or an error."""
    found: dict[str, list[Any]] = {"arrayset": [], "key": [], "record": []}
    try:
        for sent in _sent(uploader, names, key_column, batch):
            found["arrayset"] += [sent.arrayset] * len(sent.keys)
            found["key"] += map(key_text, sent.keys)
            found["record"] += sent.values
    except HangarError as error:
        # Raised here, it would reach the driver as pages of Ray's own, and lose its type.
        found = {"arrayset": [_ERROR], "key": [""], "record": [pickle.dumps(error)]}
    return {name: objects(values) for name, values in found.items()}


def _sent(
    uploader: Uploader, names: list[str], key_column: str, batch: dict[str, Any]
) -> Iterator[Sent]:
    for name in names:
        if name not in batch:
            raise InvalidInputError(f"the dataset has no column {name!r}, only {list(batch)}")
        keys = None
        if uploader.needs_keys(name):
            if key_column not in batch:
                raise InvalidInputError(
                    f"the dataset has no column {key_column!r} of keys, only {list(batch)}: name"
                    f" it with key_column"
                )
            keys = map(_key, batch[key_column])
        yield uploader.send(name, keys, batch[name])


def _key(key: Any) -> SampleKey:
    if not isinstance(key, str):
        return key  # type: ignore[no-any-return]  # checked with its arrayset
    try:
        return parse_key_text(key)
    except ValueError as error:
        raise InvalidInputError(f"sample name {key!r} is not valid: {error}") from error


def _collected(done: Any) -> Iterator[Sent]:
    import ray

    try:
        for batch in done.iter_batches(batch_size=None, batch_format="numpy"):
            for name in dict.fromkeys(batch["arrayset"]):
                rows = np.flatnonzero(batch["arrayset"] == name)
                values = [bytes(value) for value in batch["record"][rows]]
                if name == _ERROR:
                    raise pickle.loads(values[0])  # noqa: S301  # of our own worker, as all of Ray
                keys = [parse_key_text(key) for key in batch["key"][rows]]
                yield Sent(str(name), keys, values)
    except ray.exceptions.RayTaskError:
        raise  # of the user's own function
    except ray.exceptions.RayError as error:
        why = " ".join(str(error).split())
        raise StateError(
            f"{why}; nothing was committed: writing again sends only what is missing"
        ) from error


def _require() -> Any:
    try:
        import ray.data
    except ImportError as error:
        raise StateError("hangar_git.ray needs Ray: pip install 'hangar-git[ray]'") from error
    return ray.data
