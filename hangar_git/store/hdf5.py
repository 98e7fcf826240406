"""Backends ``00`` and ``01``: HDF5, variable and fixed shape.

A group of samples is an HDF5 group with the dataset ``samples`` and one for each column of its
table. In ``01`` it is the root, and ``samples`` has shape (n, *sample shape). In ``00`` there is
one for each size of page, and ``samples`` has one dimension, in which a sample begins at its
``starts``. ``samples`` has the standard filters, so any HDF5 program with the filter reads it.

After the HDF5 file comes a footer, which HDF5 does not look at: the checksum of all bytes but those
of samples. HDF5 is given no file that does not match: one with a changed byte may keep it busy for
ever.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64, xxh3_64_intdigest

from ..errors import StateError
from .codec import SHUFFLES, Codec
from .container import (
    Backend,
    ContainerSpec,
    Group,
    PagedGroup,
    StoredGroup,
    damaged,
    shape_name,
    table_checksum,
)

_MAGIC = b"HANGARH5"
_END = struct.Struct("<QQQ8s")
"""Number of runs, checksum of the bytes around them, checksum of the runs, magic."""


class Hdf5Backend(Backend):
    """HDF5 containers, of one shape or of many."""

    suffix = ".h5"

    def __init__(self, code: str, *, paged: bool) -> None:
        self.code = code
        self.paged = paged

    def write(self, file: BinaryIO, spec: ContainerSpec, groups: Sequence[Group]) -> None:
        import h5py

        spec_json = spec.to_json()
        runs: list[tuple[int, int]] = []
        with h5py.File(file, "w", libver="latest") as hdf5:
            hdf5.attrs["hangar"] = spec_json
            tables = []
            for group in sorted(groups, key=lambda g: shape_name(g.shape)):  # as HDF5 lists them
                at = hdf5.create_group(shape_name(group.shape)) if self.paged else hdf5
                columns = group.columns()
                _write_samples(at, spec, group)
                runs += _runs(at["samples"])
                for name, column in columns.items():
                    at[name] = column
                tables.append((group.header(), columns))
            hdf5.attrs["table_checksum"] = np.uint64(table_checksum(spec_json, tables))
        size = file.seek(0, os.SEEK_END)
        checksum = _checksum_around(file, _merged(runs), size)
        file.seek(size)
        file.write(_footer(_merged(runs), checksum))

    def scan(self, path: Path) -> tuple[ContainerSpec, list[StoredGroup]]:
        import h5py

        try:
            with path.open("rb") as raw:
                _check_footer(raw)
            with h5py.File(path, "r") as file:
                spec = ContainerSpec.of_backend(file.attrs["hangar"], self.code)
                scanned = [
                    _scan_group(group, spec, paged=self.paged)
                    for group in (file.values() if self.paged else [file])
                ]
                expected = int(file.attrs["table_checksum"])
            tables = [(header, columns) for header, columns, _ in scanned]
            if table_checksum(spec.to_json(), tables) != expected:
                raise ValueError("its table does not match its checksum")
        except Exception as error:  # h5py raises nearly every builtin type on damaged files
            raise damaged(path, error) from error
        return spec, [stored for _, _, stored in scanned]


def hdf5_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype by which HDF5 knows samples of `dtype`: itself or, where HDF5 has none, bytes."""
    return dtype if dtype.kind in "biufcS" else np.dtype(f"V{dtype.itemsize}")


def _write_samples(at: Any, spec: ContainerSpec, group: Group) -> None:
    dtype = hdf5_dtype(spec.dtype)
    if isinstance(group, PagedGroup) and group.shape == (0,):
        at.create_dataset("samples", data=np.frombuffer(b"".join(group.chunks), dtype))
        return
    count = len(group.chunks) if isinstance(group, PagedGroup) else len(group.digests)
    per_chunk, shape = group.samples_per_chunk, group.shape
    if isinstance(group, PagedGroup):
        per_chunk, count, shape = shape[0], count * shape[0], ()
    dataset = at.create_dataset(
        "samples", (count, *shape), dtype, chunks=(per_chunk, *shape), **_filters(spec.codec)
    )
    chunk_size = dtype.itemsize * int(np.prod((per_chunk, *shape)))
    rest = (0,) * len(shape)
    for number, chunk in enumerate(group.chunks):
        skipped = spec.codec.skipped_filters(len(chunk), chunk_size)
        dataset.id.write_direct_chunk((number * per_chunk, *rest), chunk, skipped)


def _filters(codec: Codec) -> Mapping[str, Any]:
    """`create_dataset` arguments by which HDF5 decodes what `codec` encodes."""
    family, _, name = codec.complib.partition(":")
    shuffle = {"shuffle": True} if codec.shuffles_apart else {}
    if family == "none":
        return {}
    if family == "gzip":
        return {"compression": "gzip", "compression_opts": codec.complevel, **shuffle}
    if family == "lzf":
        return {"compression": "lzf", **shuffle}
    try:
        import hdf5plugin
    except ImportError as error:
        raise StateError(
            f"codec {codec.complib} in HDF5 needs the hdf5plugin package: pip install hdf5plugin"
        ) from error
    if family == "zstd":
        return {**hdf5plugin.Zstd(clevel=codec.complevel), **shuffle}
    return hdf5plugin.Blosc(
        cname=cast("Any", name), clevel=codec.complevel, shuffle=SHUFFLES.index(codec.shuffle)
    )


def _scan_group(
    at: Any, spec: ContainerSpec, *, paged: bool
) -> tuple[list[Any], dict[str, NDArray[Any]], StoredGroup]:
    """Header, columns and places of one group."""
    dataset = at["samples"]
    if dataset.dtype != hdf5_dtype(spec.dtype):
        raise ValueError(f"dtype {dataset.dtype} is not {spec.dtype}")
    names = ("digests", "checksums", "starts", "shapes") if paged else ("digests", "checksums")
    columns = {name: at[name][...] for name in names}
    itemsize = spec.dtype.itemsize
    if dataset.chunks is None:
        header: list[Any] = [[0], 1]
        return header, columns, _plain(dataset, columns, itemsize)
    per_chunk, *shape = dataset.chunks
    places = sorted(_chunk_places(dataset))
    offsets = np.array([offset for _, offset, _ in places], np.uint64)
    lengths = np.array([length for _, _, length in places], np.uint64)
    if not paged:
        size = itemsize * int(np.prod(shape, dtype=np.int64))
        stored = StoredGroup.fixed(shape, per_chunk, size, offsets, lengths, columns)
        return [shape, per_chunk], columns, stored
    starts, page = columns["starts"], np.uint64(per_chunk)
    stored = StoredGroup(
        offsets,
        lengths,
        columns["digests"],
        columns["checksums"],
        starts // page,
        starts % page * np.uint64(itemsize),
        columns["shapes"],
    )
    return [[per_chunk], 1], columns, stored


def _runs(dataset: Any) -> list[tuple[int, int]]:
    """Offset and length of the encoded samples of a dataset in the file."""
    if dataset.chunks is None:
        return [(dataset.id.get_offset(), dataset.nbytes)] if dataset.nbytes else []
    return [(offset, length) for _, offset, length in _chunk_places(dataset)]


def _merged(runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same bytes, in order, neighbours made one."""
    merged: list[tuple[int, int]] = []
    for offset, length in sorted(runs):
        if merged and sum(merged[-1]) == offset:
            merged[-1] = (merged[-1][0], merged[-1][1] + length)
        else:
            merged.append((offset, length))
    return merged


def _checksum_around(file: BinaryIO, runs: Sequence[tuple[int, int]], size: int) -> int:
    """xxh3-64 of the first `size` bytes of a file but those in `runs`."""
    hasher, at = xxh3_64(), 0
    for offset, length in [*runs, (size, 0)]:
        file.seek(at)
        hasher.update(file.read(offset - at))
        at = offset + length
    return hasher.intdigest()


def _footer(runs: Sequence[tuple[int, int]], checksum: int) -> bytes:
    table = np.array(runs, "<u8").tobytes()
    return table + _END.pack(len(runs), checksum, xxh3_64_intdigest(table), _MAGIC)


def _check_footer(file: BinaryIO) -> None:
    """Raise ValueError unless the bytes around the samples are those that were written."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END.size))
    count, checksum, table_checksum, magic = _END.unpack(file.read())
    size -= _END.size + 16 * count
    if magic != _MAGIC or size < 0:
        raise ValueError("it is cut off")
    file.seek(size)
    table = file.read(16 * count)
    runs = [(int(a), int(n)) for a, n in np.frombuffer(table, "<u8").reshape(-1, 2)]
    if xxh3_64_intdigest(table) != table_checksum or _checksum_around(file, runs, size) != checksum:
        raise ValueError("the bytes around its samples do not match their checksum")


def _plain(dataset: Any, columns: Mapping[str, NDArray[Any]], itemsize: int) -> StoredGroup:
    """A group without pages: each sample is a chunk."""
    sizes = columns["shapes"].prod(axis=1, dtype=np.uint64) * np.uint64(itemsize)
    n = len(sizes)
    return StoredGroup(
        np.uint64(dataset.id.get_offset() or 0) + columns["starts"] * np.uint64(itemsize),
        sizes,
        columns["digests"],
        columns["checksums"],
        np.arange(n, dtype=np.uint64),
        np.zeros(n, np.uint64),
        columns["shapes"],
    )


def _chunk_places(dataset: Any) -> Iterator[tuple[int, int, int]]:
    """First element, byte offset and length of every chunk."""
    places: list[tuple[int, int, int]] = []
    dataset.id.chunk_iter(
        lambda info: places.append((info.chunk_offset[0], info.byte_offset, info.size))
    )
    return iter(places)
