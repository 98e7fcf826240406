"""``co["images", "a7"]`` and its kin: samples across arraysets, read and written by one index."""

from __future__ import annotations

import warnings
from collections import namedtuple
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from ..errors import InvalidInputError, NotFoundError
from ..keys import SampleKey
from .arraysetwriter import WriterBase

A_co = TypeVar("A_co", covariant=True)


class ArraysetsByName(Protocol[A_co]):
    """What indexing needs of a checkout's arraysets."""

    def __getitem__(self, key: str, /) -> A_co:
        """The arrayset of this name."""
        ...

    def values(self) -> Iterable[A_co]:
        """All of them."""
        ...


_INVALID_FIELDS = (
    "Arrayset names contains characters which are invalid as namedtuple fields: all suspect field"
    ' names are replaced by their position ("_0" for element 0, "_4" for element 4)'
)


def split_index(index: object) -> tuple[Any, Any]:
    """Arraysets and samples that a two-part index asks for."""
    if not isinstance(index, tuple | list):
        raise TypeError(f"unknown index {index!r} of type {type(index).__name__}")
    if len(index) != 2:
        raise InvalidInputError(f"an index is ARRAYSET, or ARRAYSETS, SAMPLES; got {index!r}")
    return index[0], index[1]


def select(
    arraysets: ArraysetsByName[Any],
    names: object,
    samples: object,
    *,
    except_missing: bool,
) -> Any:
    """Samples across arraysets, in the shape `ReaderCheckout.__getitem__` documents."""
    chosen = _chosen_arraysets(arraysets, names)
    keys = _chosen_samples(samples)
    columns = [[_sample(aset, key, except_missing) for key in keys] for aset in chosen]
    if len(chosen) == 1:
        found: list[Any] = columns[0]
    else:
        row = _row_type([aset.name for aset in chosen])
        found = [row._make(values) for values in zip(*columns, strict=True)]
    return found[0] if len(found) == 1 else found


def _chosen_arraysets(arraysets: ArraysetsByName[Any], names: object) -> list[Any]:
    if names is Ellipsis or isinstance(names, slice):
        if isinstance(names, slice) and names != slice(None):
            raise InvalidInputError("only the whole slice ':' selects arraysets")
        return list(arraysets.values())
    if isinstance(names, str):
        return [arraysets[names]]
    if isinstance(names, tuple | list):
        return [arraysets[name] for name in names]
    raise TypeError(f"arraysets are chosen by name, names or ':', not {type(names).__name__}")


def _chosen_samples(samples: object) -> Sequence[SampleKey]:
    if isinstance(samples, str | int | np.integer):
        return [samples]  # type: ignore[list-item]
    if isinstance(samples, tuple | list):
        return samples
    raise TypeError(f"samples are chosen by name or names, not {type(samples).__name__}")


def _sample(aset: Any, key: SampleKey, except_missing: bool) -> Any:
    try:
        return aset.get(key)
    except NotFoundError:
        if except_missing:
            raise
        return None


def _row_type(names: list[str]) -> Any:
    try:
        return namedtuple("ArraysetData", names)  # noqa: PYI024
    except ValueError:
        warnings.warn(_INVALID_FIELDS, UserWarning, stacklevel=4)
        return namedtuple("ArraysetData", names, rename=True)  # noqa: PYI024


def assignments(
    arraysets: ArraysetsByName[WriterBase], index: object, value: object
) -> list[tuple[WriterBase, SampleKey, Any]]:
    """What ``co[index] = value`` is to add: arrayset, key and sample of each.

    Raises
    ------
    KeyError
        There is no arrayset of one of the names.
    ValueError
        Several arraysets and several samples at once, or not as many values as places.
    TypeError
        An index that selects nothing: slices are not supported.
    """
    names, samples = split_index(index)
    many_names, many_samples = isinstance(names, tuple | list), isinstance(samples, tuple | list)
    for part, kinds in (
        (names, str | tuple | list),
        (samples, str | int | np.integer | tuple | list),
    ):
        if not isinstance(part, kinds):
            raise TypeError(f"samples cannot be set at {part!r}")
    if not many_names and not many_samples:
        return [(arraysets[names], samples, value)]
    if many_names and many_samples and len(names) > 1 and len(samples) > 1:
        raise InvalidInputError("set several samples of one arrayset, or one sample of several")
    if not isinstance(value, tuple | list):
        raise TypeError(f"several samples are set from a list or tuple, not {type(value).__name__}")
    places = [
        (arraysets[name], key)
        for name in (names if many_names else [names])
        for key in (samples if many_samples else [samples])
    ]
    if len(places) != len(value):
        raise InvalidInputError(f"{len(places)} samples are to be set, {len(value)} were given")
    return [(aset, key, array) for (aset, key), array in zip(places, value, strict=True)]
