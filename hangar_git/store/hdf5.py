"""Backends ``00`` and ``01``: HDF5, variable and fixed shape.

A group of samples is an HDF5 group with the datasets ``samples``, ``digests`` and ``checksums``;
in ``01`` it is the root, in ``00`` there is one for each shape, named ``28x31`` (``scalar`` for
shape ``()``). ``samples`` is chunked along its first axis and carries the standard filters, so any
HDF5 program with the filter reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from ..errors import StateError
from .codec import SHUFFLES, Codec
from .container import (
    Backend,
    ContainerSpec,
    Group,
    StoredGroup,
    damaged,
    stored_checksum,
    table_checksum,
)


class Hdf5Backend(Backend):
    """HDF5 containers, of one shape or of many."""

    suffix = ".h5"

    def __init__(self, code: str, *, variable_shape: bool) -> None:
        self.code = code
        self._variable_shape = variable_shape

    def write(self, file: BinaryIO, spec: ContainerSpec, groups: list[Group]) -> None:
        import h5py

        spec_json = spec.to_json()
        with h5py.File(file, "w", libver="latest") as hdf5:
            hdf5.attrs["hangar"] = spec_json
            table = []
            for group in sorted(groups, key=lambda g: _group_name(g.shape)):  # as HDF5 lists them
                at = hdf5.create_group(_group_name(group.shape)) if self._variable_shape else hdf5
                digests, checksums = group.table()
                _write_samples(at, spec, group)
                at["digests"], at["checksums"] = digests, checksums
                table.append((group.shape, group.samples_per_chunk, digests, checksums))
            hdf5.attrs["table_checksum"] = np.uint64(table_checksum(spec_json, table))

    def scan(self, path: Path) -> tuple[ContainerSpec, list[StoredGroup]]:
        import h5py

        try:
            with h5py.File(path, "r") as file:
                spec = ContainerSpec.from_json(file.attrs["hangar"], self.code)
                found = file.values() if self._variable_shape else [file]
                groups = [_scan_group(group, spec) for group in found]
                expected = int(file.attrs["table_checksum"])
            if stored_checksum(spec, groups) != expected:
                raise ValueError("its table does not match its checksum")
        except Exception as error:  # h5py raises nearly every builtin type on damaged files
            raise damaged(path, error) from error
        return spec, groups


def _group_name(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def hdf5_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype by which HDF5 knows samples of `dtype`: itself or, where HDF5 has none, bytes."""
    return dtype if dtype.kind in "biufcS" else np.dtype(f"V{dtype.itemsize}")


def _write_samples(at: Any, spec: ContainerSpec, group: Group) -> None:
    dataset = at.create_dataset(
        "samples",
        (len(group.digests), *group.shape),
        hdf5_dtype(spec.dtype),
        chunks=(group.samples_per_chunk, *group.shape),
        **_filter(spec.codec),
    )
    rest = (0,) * len(group.shape)
    for number, chunk in enumerate(group.chunks):
        dataset.id.write_direct_chunk((number * group.samples_per_chunk, *rest), chunk)


def _filter(codec: Codec) -> Mapping[str, Any]:
    """`create_dataset` arguments by which HDF5 decodes what `codec` encodes."""
    family, _, name = codec.complib.partition(":")
    if family == "none":
        return {}
    if family == "gzip":
        return {"compression": "gzip", "compression_opts": codec.complevel}
    try:
        import hdf5plugin
    except ImportError as error:
        raise StateError(
            f"codec {codec.complib} in HDF5 needs the hdf5plugin package: pip install hdf5plugin"
        ) from error
    if family == "zstd":
        return hdf5plugin.Zstd(clevel=codec.complevel)
    return hdf5plugin.Blosc(
        cname=cast("Any", name), clevel=codec.complevel, shuffle=SHUFFLES.index(codec.shuffle)
    )


def _scan_group(at: Any, spec: ContainerSpec) -> StoredGroup:
    dataset = at["samples"]
    if dataset.dtype != hdf5_dtype(spec.dtype):
        raise ValueError(f"dtype {dataset.dtype} is not {spec.dtype}")
    samples_per_chunk, *shape = dataset.chunks
    places = sorted(_chunk_places(dataset))
    return StoredGroup(
        shape=tuple(shape),
        samples_per_chunk=samples_per_chunk,
        offsets=np.array([offset for _, offset, _ in places], np.uint64),
        lengths=np.array([length for _, _, length in places], np.uint64),
        digests=at["digests"][...],
        checksums=at["checksums"][...],
    )


def _chunk_places(dataset: Any) -> Iterator[tuple[int, int, int]]:
    """First sample, byte offset and length of every chunk."""
    places: list[tuple[int, int, int]] = []
    dataset.id.chunk_iter(
        lambda info: places.append((info.chunk_offset[0], info.byte_offset, info.size))
    )
    return iter(places)
