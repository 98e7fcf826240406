"""Which dtypes can be stored, and their one canonical form.

Canonical means little-endian, packed, without titles. Object, extended-precision, metadata-bearing
and zero-itemsize dtypes have no portable bytes and are refused.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np

_KINDS = frozenset("biufcmMSUV")


def canonical_json(value: Any) -> str:
    """The one JSON text of `value`: sorted keys, no spaces, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """`dtype` in the form it is stored in.

    Raises
    ------
    InvalidInputError
        The dtype has no fixed portable bytes.
    """
    if dtype.metadata is not None:
        raise InvalidInputError(f"dtype {dtype} carries metadata, which cannot be stored")
    if dtype.fields is not None:
        if not dtype.names:
            raise InvalidInputError("a structured dtype needs at least one field")
        import numpy as np

        return np.dtype([(name, *_field(dtype.fields[name][0])) for name in dtype.names])
    if (
        dtype.kind not in _KINDS
        or dtype.itemsize == 0
        or dtype.subdtype is not None
        or (dtype.kind == "f" and dtype.itemsize > 8)
        or (dtype.kind == "c" and dtype.itemsize > 16)
    ):
        raise InvalidInputError(
            f"dtype {dtype} cannot be stored: it has no fixed size and portable layout"
        )
    return dtype.newbyteorder("<")


def _field(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    base, shape = dtype.subdtype or (dtype, ())
    if 0 in shape:
        raise InvalidInputError(f"dtype {dtype} cannot be stored: it has no bytes")
    return canonical(base), tuple(shape)


def dtype_to_json(dtype: np.dtype[Any]) -> Any:
    """JSON form of a canonical dtype: its ``.str``, or a list of ``[name, dtype, subshape]``."""
    if dtype.names is None or dtype.fields is None:
        return dtype.str
    fields = []
    for name in dtype.names:
        base, shape = dtype.fields[name][0].subdtype or (dtype.fields[name][0], ())
        fields.append([name, dtype_to_json(base), list(shape)])
    return fields


def dtype_from_json(value: Any) -> np.dtype[Any]:
    """Inverse of `dtype_to_json`; ValueError when it is not one a canonical dtype would give."""
    import numpy as np

    try:
        if isinstance(value, str):
            dtype = np.dtype(value)
        elif isinstance(value, list) and value:
            dtype = np.dtype([(name, dtype_from_json(base), tuple(s)) for name, base, s in value])
        else:
            raise ValueError("neither a dtype string nor a list of fields")
        if dtype_to_json(canonical(dtype)) != value:
            raise ValueError("not the canonical form")
    except (TypeError, ValueError) as error:
        raise ValueError(f"malformed dtype {value!r}: {error}") from error
    return dtype
