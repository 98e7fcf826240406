"""The backends there are, and the choice among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import InvalidInputError
from ..schema import Schema, checked_shape
from .codec import NONE, Codec
from .container import Backend, element_count
from .hdf5 import Hdf5Backend
from .npy import NpyBackend
from .sharding import default_chunks, fitted_chunks
from .zarr3 import ZarrBackend

BACKENDS: Mapping[str, Backend] = {
    backend.code: backend
    for backend in (
        Hdf5Backend("00", paged=True),
        Hdf5Backend("01", paged=False),
        NpyBackend(),
        ZarrBackend(),
    )
}
"""Format code -> backend, of those that hold samples here. Codes are permanent."""

REMOTE = "50"
"""The format code of samples that are known, and whose data is not on this machine."""

_TINY_BYTES = 128
"""Up to this size a sample compresses too little to pay for decoding a chunk."""
_LARGE_BYTES = 4 << 20
"""From this size on a sample of two or more axes is cut into chunks, so that parts can be read."""

DEFAULT_CODEC = Codec.parse({"complib": "blosc:lz4", "complevel": 9})
_VARIABLE = ("00", "20")


class Storage(NamedTuple):
    """Where samples of a schema go.

    Parameters
    ----------
    backend
        The container format.
    codec
        How they are encoded; None to decide by a trial on the first of them.
    chunks
        Shape of the chunks that samples are cut into, for a sharded backend.
    """

    backend: Backend
    codec: Codec | None
    chunks: tuple[int, ...] | None

    @classmethod
    def of(cls, schema: Schema) -> Storage:
        """As `schema` hints, else by size and shape; a hint that means nothing here is ignored."""
        code = schema.backend
        if code not in BACKENDS or (schema.variable_shape and code not in _VARIABLE):
            code = _backend_by_size(schema)
        options = dict(schema.backend_opts or {})
        try:
            return cls._parse(str(code), options, schema)
        except InvalidInputError:
            return cls._parse(str(code), {}, schema)

    @classmethod
    def _parse(cls, code: str, options: dict[str, Any], schema: Schema) -> Storage:
        backend, chunks = BACKENDS[code], options.pop("chunks", None)
        codec = Codec.parse(options) if options else None
        if code == "10":
            if codec not in (None, NONE):
                raise InvalidInputError("backend '10' takes no compression; others do: 00, 01, 20")
            codec = NONE
        if not backend.sharded:
            if chunks is not None:
                raise InvalidInputError(f"backend {code!r} takes no chunks; '20' does")
            return cls(backend, codec, None)
        if codec is not None and (codec.shuffles_apart or codec.family == "lzf"):
            raise InvalidInputError(
                "backend '20' takes complib none, zstd or gzip without shuffle, or blosc:..."
            )
        return cls(backend, codec, _checked_chunks(chunks, schema))

    def options(self) -> dict[str, Any]:
        """Codec options that the next samples are encoded with, before any was tried."""
        options = (self.codec or DEFAULT_CODEC).to_json()
        return options if self.chunks is None else {**options, "chunks": list(self.chunks)}


def _checked_chunks(chunks: object, schema: Schema) -> tuple[int, ...]:
    if chunks is None:
        return default_chunks(schema.shape, schema.dtype.itemsize)
    sizes = checked_shape(chunks)
    if len(sizes) != schema.rank:
        raise InvalidInputError(f"chunks {sizes} do not fit samples of {schema.rank} dimensions")
    return fitted_chunks(sizes, schema.shape)


def _backend_by_size(schema: Schema) -> str:
    if schema.kind != "array":
        return "00"
    size = schema.dtype.itemsize * element_count(schema.shape)
    if size >= _LARGE_BYTES and schema.rank > 1:
        return "20"
    if schema.variable_shape:
        return "00"
    return "10" if size <= _TINY_BYTES else "01"


def parse_backend_opts(backend_opts: object, schema: Schema) -> tuple[str, dict[str, Any] | None]:
    """Format code, and options if any are given, of `backend_opts` for `schema`.

    Raises
    ------
    InvalidInputError
        Not a known code, or options that the backend does not take; lists the valid ones.
    """
    if isinstance(backend_opts, str):
        code, options = backend_opts, {}
    elif isinstance(backend_opts, Mapping) and "backend" in backend_opts:
        code = str(backend_opts["backend"])
        options = {name: value for name, value in backend_opts.items() if name != "backend"}
    else:
        raise InvalidInputError(
            f"backend_opts is a format code or a dict with key 'backend', not {backend_opts!r}"
        )
    if code == REMOTE:
        raise InvalidInputError(f"backend {code!r} stands for data elsewhere; nothing is written")
    if code not in BACKENDS:
        raise InvalidInputError(f"backend {code!r} is not one of {', '.join(sorted(BACKENDS))}")
    if schema.kind != "array" and code != "00":
        raise InvalidInputError(f"values of kind {schema.kind!r} are kept in backend '00' alone")
    if schema.variable_shape and code not in _VARIABLE:
        raise InvalidInputError(f"backend {code!r} needs samples of one shape; use '00' or '20'")
    if not options:
        return code, None
    storage = Storage._parse(code, dict(options), schema)
    chosen = (storage.codec or DEFAULT_CODEC).to_json()
    if "chunks" in options:
        chosen["chunks"] = list(storage.chunks or ())
    return code, chosen
