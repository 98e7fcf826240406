"""The backends there are, and the choice among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from ..schema import Schema
from .codec import NONE, Codec
from .container import Backend
from .hdf5 import Hdf5Backend
from .npy import NpyBackend

BACKENDS: Mapping[str, Backend] = {
    backend.code: backend
    for backend in (
        Hdf5Backend("00", variable_shape=True),
        Hdf5Backend("01", variable_shape=False),
        NpyBackend(),
    )
}
"""Format code -> backend. Codes are permanent."""

_TINY_BYTES = 128
"""Up to this size a sample compresses too little to pay for decoding a chunk."""

DEFAULT_CODEC = Codec.parse({"complib": "blosc:lz4"})


def parse_backend_opts(backend_opts: object, schema: Schema) -> tuple[str, dict[str, Any] | None]:
    """Format code, and codec options if any are given, of `backend_opts` for `schema`.

    Raises
    ------
    InvalidInputError
        Not a known code, or options that the backend does not take; lists the valid ones.
    """
    if isinstance(backend_opts, str):
        code, options = backend_opts, None
    elif isinstance(backend_opts, Mapping) and "backend" in backend_opts:
        code = str(backend_opts["backend"])
        options = {name: value for name, value in backend_opts.items() if name != "backend"} or None
    else:
        raise InvalidInputError(
            f"backend_opts is a format code or a dict with key 'backend', not {backend_opts!r}"
        )
    if code not in BACKENDS:
        raise InvalidInputError(f"backend {code!r} is not one of {', '.join(sorted(BACKENDS))}")
    if options is not None:
        codec = Codec.parse(options)
        if code == "10" and codec != NONE:
            raise InvalidInputError("backend '10' takes no compression; use '00' or '01'")
        options = codec.to_json()
    if schema.variable_shape and code != "00":
        raise InvalidInputError(f"backend {code!r} needs samples of one shape; use '00'")
    return code, options


def chosen_backend(schema: Schema) -> str:
    """The backend for samples of `schema`: as it hints, else by size and shape."""
    if schema.backend in BACKENDS and (schema.backend == "00" or not schema.variable_shape):
        return str(schema.backend)
    if schema.variable_shape:
        return "00"
    return "10" if _sample_size_bytes(schema) <= _TINY_BYTES else "01"


def chosen_codec(schema: Schema) -> Codec:
    """The codec for samples of `schema`, before the first of them was tried."""
    return hinted_codec(schema) or (NONE if chosen_backend(schema) == "10" else DEFAULT_CODEC)


def hinted_codec(schema: Schema) -> Codec | None:
    """The codec that `schema` hints at; None without a hint, or with one of another version."""
    if chosen_backend(schema) == "10":
        return NONE
    try:
        return None if schema.backend_opts is None else Codec.parse(schema.backend_opts)
    except InvalidInputError:
        return None


def _sample_size_bytes(schema: Schema) -> int:
    return schema.dtype.itemsize * int(np.prod(schema.shape, dtype=np.int64))
