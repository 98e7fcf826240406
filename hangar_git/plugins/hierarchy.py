"""Files of named arrays in groups, such as HDF5 and Zarr.

A dataset with one dimension more than the samples have holds samples along its first axis; their
names are in dataset ``keys`` beside it, or they are numbered. Others hold one sample each, called
by their name; in a group, by the group's name and theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from .base import Form, Sample
from .names import file_stem

KEYS = "keys"
DATA = "data"
_BLOCK_BYTES = 4 << 20


def samples_of(
    where: str, datasets: dict[str, Any], form: Form | None, dataset: str | None
) -> Iterator[tuple[Any, str | int]]:
    """The samples in `datasets`, which are by path without a leading ``/``.

    Parameters
    ----------
    where
        The file, for messages.
    datasets
        All that are in it.
    form
        Of the arrayset.
    dataset
        The one that is asked for; or a group.
    """
    chosen = chosen_of(where, datasets, dataset)
    arrays = {path: one for path, one in chosen.items() if path.rpartition("/")[2] != KEYS}
    stacks = [path for path, one in arrays.items() if _is_stack(one, form)]
    if stacks and len(arrays) > 1:
        raise InvalidInputError(
            f"{where}: holds several datasets; choose one with --dataset=NAME: {', '.join(arrays)}"
        )
    if stacks:
        group = stacks[0].rpartition("/")[0]
        keys = datasets.get(f"{group}/{KEYS}" if group else KEYS)
        names = None if keys is None else [_text(one) for one in keys[()]]
        yield from along(where, arrays[stacks[0]], names)
        return
    prefix = f"{DATA}/" if dataset is None and all(p.startswith(f"{DATA}/") for p in arrays) else ""
    if dataset is not None and dataset.strip("/") not in arrays:
        prefix = f"{dataset.strip('/')}/"
    for path, one in arrays.items():
        yield np.array(one[()], order="C"), path.removeprefix(prefix)


def _is_stack(one: Any, form: Form | None) -> bool:
    if form is None or form.kind != "array":
        return False
    return int(one.ndim) == form.rank + 1


def chosen_of(where: str, datasets: dict[str, Any], dataset: str | None) -> dict[str, Any]:
    """The dataset that is asked for, or those of the group; by default all."""
    if dataset is None:
        return datasets
    wanted = dataset.strip("/")
    chosen = {path: one for path, one in datasets.items()
              if path == wanted or path.startswith(f"{wanted}/")}  # fmt: skip
    if not chosen:
        raise InvalidInputError(
            f"{where}: there is no dataset {dataset!r}, but {', '.join(datasets)}"
        )
    return chosen


def along(
    where: str, stack: Any, keys: Sequence[str | int] | None
) -> Iterator[tuple[Any, str | int]]:
    """The rows of a dataset, and their names; they are numbered if there are none."""
    count = int(stack.shape[0])
    names: Any = range(count) if keys is None else keys
    if len(names) != count:
        raise InvalidInputError(f"{where}: has {count} samples and {len(names)} keys")
    row_bytes = max(1, stack.dtype.itemsize * int(np.prod(stack.shape[1:])))
    step = max(1, _BLOCK_BYTES // row_bytes)
    for at in range(0, count, step):
        block = np.asarray(stack[at : at + step])
        for number, row in enumerate(block, at):
            yield np.array(row, order="C"), names[number]


def _text(one: Any) -> str:
    if isinstance(one, np.ndarray):  # a row of ASCII codes, filled up with NUL
        one = one.tobytes().rstrip(b"\0")
    return one.decode() if isinstance(one, bytes) else str(one)


def write(
    samples: Iterable[Sample],
    form: Form | None,
    new_stack: Callable[[int, Form], Any],
    new_array: Callable[[str, Any], Any],
    new_keys: Callable[[list[str]], Any],
    count: int | None,
) -> None:
    """Write `samples`: as one stack if they are of one shape and their number is known."""
    if form is not None and form.kind != "array":
        raise InvalidInputError(f"samples of kind {form.kind} cannot be datasets")
    if form is None or form.variable_shape or count is None:
        for key, data in samples:
            new_array(f"{DATA}/{file_stem(key)}", np.asarray(data))
        return
    stack = new_stack(count, form)
    keys: list[str] = []
    row_bytes = max(1, form.dtype.itemsize * int(np.prod(form.shape)))
    step = max(1, _BLOCK_BYTES // row_bytes)
    block: list[Any] = []
    for key, data in samples:
        keys.append(file_stem(key))
        block.append(data)
        if len(block) == step:
            stack[len(keys) - len(block) : len(keys)] = np.stack(block)
            block = []
    if block:
        stack[len(keys) - len(block) : len(keys)] = np.stack(block)
    new_keys(keys)
