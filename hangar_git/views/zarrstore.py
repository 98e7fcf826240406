"""A commit as a read-only Zarr v3 store. zarr-python makes the metadata; chunks are ours.

At the root is an array for each arrayset. Where all samples of an arrayset have a chunk of their
own and one codec that Zarr knows, the chunks of the view are the encoded bytes as they are stored;
else they are decoded and put together, uncompressed, when they are asked for.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype

from ..errors import ReadOnlyError
from ..store.codec import NONE
from ..store.container import ContainerSpec, element_count
from ..store.zarr3 import compressors, create_samples, is_native
from .columns import Column
from .rows import dimension_names, key_names, padded, texts_of_keys

_CHUNK_BYTES = 1 << 20
"""Small samples are put together to chunks of about this size: a chunk costs zarr 0.5 ms."""


class CommitStore(Store):
    """The arraysets of a commit, as arrays; made by ``checkout.to_zarr()``.

    Shapes that vary are filled with zeros up to the largest. Arraysets of kind bytes are left out:
    Zarr has no type for them. It pickles as the path of the repository and the digests.
    """

    def __init__(
        self, commit: str, arrays: dict[str, ArrayChunks], metadata: dict[str, bytes]
    ) -> None:
        super().__init__(read_only=True)
        self._commit = commit
        self._arrays = arrays
        self._metadata = metadata

    @classmethod
    def of(cls, commit: str, arraysets: Sequence[Any]) -> CommitStore:
        """The store of all of a commit's `arraysets`."""
        return cls.of_columns(commit, [Column.of(one) for one in arraysets if one.kind != "bytes"])

    @classmethod
    def of_columns(cls, commit: str, columns: Sequence[Column]) -> CommitStore:
        """The store of some samples of a commit, none of them of kind bytes."""
        arrays = {column.name: ArrayChunks(column) for column in columns}
        entries: dict[str, Any] = {}
        memory = zarr.storage.MemoryStore(entries)
        root = zarr.create_group(memory, attributes={"hangar_commit": commit})
        for column, key_name in zip(columns, key_names(columns), strict=True):
            arrays[column.name].create(root, key_name)
            if key_name not in root:
                _create_keys(root, key_name, column)
        metadata = {name: buffer.to_bytes() for name, buffer in entries.items()}
        return cls(commit, arrays, _consolidated(metadata))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, CommitStore)
            and self._commit == other._commit
            and self._metadata == other._metadata
        )

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"hangar commit {self._commit}"

    # -- reading -------------------------------------------------------------------------------

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """The value of `key`, or the part of it that `byte_range` asks for."""
        buffer = (prototype or default_buffer_prototype()).buffer
        value = self._metadata.get(key)
        if value is not None:
            start, stop = _bounds(byte_range)
            return buffer.from_bytes(value[start:stop])
        name, at = _chunk_of(key)
        array = self._arrays.get(name)
        if array is None or at is None or not array.has(at):
            return None
        if array.form is not None:
            return buffer.from_bytes(array.encoded(at[0], *_bounds(byte_range)))
        data = await asyncio.to_thread(array.decoded, at[0])
        start, stop = _bounds(byte_range)
        return buffer.from_bytes(data[start:stop])

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """As `get`, for many."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """Whether there is such a key."""
        name, at = _chunk_of(key)
        return key in self._metadata or (
            name in self._arrays and at is not None and self._arrays[name].has(at)
        )

    def write_to(self, directory: Path) -> Iterator[int]:
        """Write it out, as a Zarr directory that is not there yet; gives the rows of each chunk."""
        for name, data in self._metadata.items():
            _write_new(directory / name, data)
        for name, array in self._arrays.items():
            inner = "/0" * (array.axes - 1)
            for number in range(array.count):
                _write_new(directory / f"{name}/c/{number}{inner}", array.value(number))
                yield min(array.rows, len(array.column) - number * array.rows)

    async def list(self) -> AsyncIterator[str]:
        """All keys."""
        for key in self._keys():
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """All keys that begin with `prefix`."""
        for key in self._keys():
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Names right below `prefix`."""
        prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        seen = set()
        for key in self._keys():
            if key.startswith(prefix):
                name = key[len(prefix) :].partition("/")[0]
                if name not in seen:
                    seen.add(name)
                    yield name

    def _keys(self) -> Iterator[str]:
        yield from self._metadata
        for name, array in self._arrays.items():
            for number in range(array.count):
                yield f"{name}/c/{number}" + "/0" * (array.axes - 1)

    # -- not writing ---------------------------------------------------------------------------

    @property
    def supports_writes(self) -> bool:
        """False."""
        return False

    @property
    def supports_deletes(self) -> bool:
        """False."""
        return False

    @property
    def supports_listing(self) -> bool:
        """True."""
        return True

    async def set(self, key: str, value: Buffer) -> None:  # noqa: ARG002
        """Refused: commits do not change."""
        raise ReadOnlyError(f"{self} is read-only: write through a checkout, and commit")

    async def delete(self, key: str) -> None:
        """Refused."""
        await self.set(key, default_buffer_prototype().buffer.from_bytes(b""))


class ArrayChunks:
    """The chunks of one arrayset's array.

    Attributes
    ----------
    form
        How stored chunks are encoded, if they are chunks of the view as they are; else None.
    rows, count, axes
        Samples in a chunk, number of chunks, and axes of the array.
    """

    def __init__(self, column: Column) -> None:
        self.column = column
        n = len(column)
        self.form: ContainerSpec | None = None
        if column.shape is not None:
            self.form = column.aset._store.common_form(
                column.records(range(n)), column.dtype, column.shape
            )
        size = 256 if column.kind != "array" else self._sample_bytes()
        self.rows = 1 if self.form is not None else max(1, min(n, _CHUNK_BYTES // max(1, size)))
        self.count = -(-n // self.rows)
        self.axes = 1
        if column.kind == "array":
            self.axes += len(column.aset.shape) + (not is_native(column.dtype))

    def _sample_bytes(self) -> int:
        return element_count(self.column.aset.shape) * int(self.column.dtype.itemsize)

    def create(self, root: Any, key_name: str) -> None:
        """Put the array's metadata into `root`."""
        column = self.column
        names = dimension_names(column, key_name)
        if self.form is not None and self.form.chunks is not None:
            create_samples(
                root, column.name, len(column), column.aset.shape, self.form, dimension_names=names
            )
            return
        shape, dtype = column.aset.shape, column.dtype
        if column.kind == "str":
            dtype = "string"
        elif not is_native(dtype):
            shape, dtype = (*shape, dtype.itemsize), np.uint8
        root.create_array(
            column.name,
            shape=(len(column), *shape),
            dtype=dtype,
            chunks=(self.rows, *shape),
            compressors=self._compressors(),
            filters=None if column.kind != "str" else "auto",
            dimension_names=names,
        )

    def _compressors(self) -> Any:
        if self.form is None:
            return None
        return compressors(self.form.codec, self.column.dtype.itemsize)

    def has(self, at: Sequence[int]) -> bool:
        """Whether there is a chunk at these coordinates."""
        return len(at) == self.axes and 0 <= at[0] < self.count and not any(at[1:])

    def value(self, number: int) -> bytes:
        """All bytes of a chunk."""
        return self.decoded(number) if self.form is None else self.encoded(number, None, None)

    def encoded(self, number: int, start: int | None, stop: int | None) -> bytes:
        """The stored bytes of a sample, or a slice of them."""
        column, store = self.column, self.column.aset._store
        (digest,) = column.records([number])
        if self.form is not None and self.form.codec == NONE and self.form.chunks is None:
            # Nothing to decode, so that verifying costs little.
            whole: bytes = store.get(digest, column.dtype, column.shape).tobytes()
            return whole[start:stop]
        data: bytes = store.get_encoded(digest, start, stop)
        return data

    def decoded(self, number: int) -> bytes:
        """The samples of a chunk, uncompressed; after the last, zeros fill the chunk."""
        first = number * self.rows
        rows = range(first, min(first + self.rows, len(self.column)))
        found = self.column.read(rows)
        if self.column.kind == "str":
            return _vlen_utf8(found, self.rows)
        array: NDArray[Any] = padded(self.column, found)
        return array.tobytes() + bytes((self.rows - len(rows)) * self._sample_bytes())


def _write_new(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(data)


def _create_keys(root: Any, name: str, column: Column) -> None:
    keys = column.keys
    if isinstance(keys, np.ndarray):
        root.create_array(name, data=keys, compressors=None, dimension_names=[name])
        return
    texts = np.array(texts_of_keys(keys), object)
    array = root.create_array(
        name, shape=texts.shape, dtype="string", chunks=texts.shape, compressors=None,
        dimension_names=[name],
    )  # fmt: skip
    array[:] = texts


def _consolidated(metadata: dict[str, bytes]) -> dict[str, bytes]:
    """The metadata with that of all arrays at the root, so that xarray need not ask for each."""
    root = json.loads(metadata["zarr.json"])
    arrays = {
        name.removesuffix("/zarr.json"): json.loads(text)
        for name, text in metadata.items()
        if name.endswith("/zarr.json")
    }
    root["consolidated_metadata"] = {
        "kind": "inline", "must_understand": False, "metadata": arrays
    }  # fmt: skip
    return metadata | {"zarr.json": json.dumps(root).encode()}


def _chunk_of(key: str) -> tuple[str, list[int] | None]:
    name, _, chunk = key.partition("/c/")
    try:
        return name, [int(part) for part in chunk.split("/")] if chunk else None
    except ValueError:
        return name, None


def _bounds(request: ByteRequest | None) -> tuple[int | None, int | None]:
    """A request as the bounds of a slice."""
    if isinstance(request, RangeByteRequest):
        return request.start, request.end
    if isinstance(request, OffsetByteRequest):
        return request.offset, None
    if isinstance(request, SuffixByteRequest):
        return -request.suffix if request.suffix else None, None
    return None, None


def _vlen_utf8(texts: Sequence[str], count: int) -> bytes:
    """Texts as codec vlen-utf8 has them; empty ones up to `count`."""
    parts = [struct.pack("<I", count)]
    for text in [*texts, *[""] * (count - len(texts))]:
        data = text.encode()
        parts += [struct.pack("<I", len(data)), data]
    return b"".join(parts)
