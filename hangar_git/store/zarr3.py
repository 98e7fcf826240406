"""Backend ``20``: Zarr v3 in an uncompressed zip file, for large samples.

The root group's attributes carry the container's description. For each shape there is a group, of
the shape's name, with the arrays ``samples`` (n, *sample shape), ``digests`` (n, 32) and
``checksums`` (n,). A sample is one shard of ``samples``: see `sharding`. zarr-python writes all
metadata; shards come encoded already, and are put into the zip file as they are.
"""

from __future__ import annotations

import json
import struct
import warnings
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..digest import DIGEST_SIZE_BYTES
from .codec import Codec
from .container import (
    Backend,
    ContainerSpec,
    Group,
    StoredGroup,
    damaged,
    element_count,
    shape_name,
    table_checksum,
)
from .sharding import grid_of

_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Of a zip entry: signature, lengths of the name and of the extra field that follow."""
_NATIVE_KINDS = "biufc"
"""Kinds of dtype that Zarr's core specification has; samples of others are arrays of bytes."""


class ZarrBackend(Backend):
    """Zarr containers."""

    code = "20"
    suffix = ".zarr.zip"
    sharded = True

    def write(self, file: BinaryIO, spec: ContainerSpec, groups: Sequence[Group]) -> None:
        import zarr

        groups = sorted(groups, key=lambda g: shape_name(g.shape))
        tables = [(group.header(), group.columns()) for group in groups]
        spec_json = spec.to_json()
        entries: dict[str, Any] = {}
        root = zarr.create_group(
            zarr.storage.MemoryStore(entries),
            attributes={"hangar": spec_json, "table_checksum": table_checksum(spec_json, tables)},
        )
        for group, (_, columns) in zip(groups, tables, strict=True):
            at = root.create_group(shape_name(group.shape))
            for name, column in columns.items():
                at.create_array(name, data=column, chunks=column.shape, compressors=None)
            create_samples(at, "samples", len(group.digests), group.shape, spec)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, buffer in entries.items():
                archive.writestr(zipfile.ZipInfo(name), buffer.to_bytes())
            for group in groups:
                for number, shard in enumerate(group.chunks):
                    archive.writestr(zipfile.ZipInfo(_shard_name(group, spec, number)), shard)

    def scan(self, path: Path) -> tuple[ContainerSpec, list[StoredGroup]]:
        try:
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                attributes = json.loads(archive.read("zarr.json"))["attributes"]
                spec = ContainerSpec.of_backend(attributes["hangar"], self.code)
                if spec.chunks is None:
                    raise ValueError("its description lacks the shape of chunks")
                tables, groups = [], []
                for name in _group_names(archive):
                    header, columns, stored = _scan_group(file, archive, name, spec)
                    tables.append((header, columns))
                    groups.append(stored)
            if table_checksum(spec.to_json(), tables) != attributes["table_checksum"]:
                raise ValueError("its table does not match its checksum")
        except Exception as error:  # a damaged zip file raises nearly every builtin type
            raise damaged(path, error) from error
        return spec, groups


def is_native(dtype: np.dtype[Any]) -> bool:
    """Whether Zarr has the dtype; samples of others are arrays of bytes, with one more axis."""
    return dtype.kind in _NATIVE_KINDS


def create_samples(
    at: Any, name: str, n: int, shape: tuple[int, ...], spec: ContainerSpec, **options: Any
) -> None:
    """The metadata of an array of samples in shards, in group `at`.

    `spec.chunks` is cut to the shape where that is smaller; `options` are of `create_array`.
    """
    assert spec.chunks is not None
    chunks = _chunks_for(spec.chunks, shape)
    shard = tuple(count * c for count, c in zip(grid_of(shape, chunks), chunks, strict=True))
    bytes_axis = () if is_native(spec.dtype) else (spec.dtype.itemsize,)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bytes that may be lost, which are put there below
        at.create_array(
            name,
            shape=(n, *shape, *bytes_axis),
            dtype=spec.dtype if is_native(spec.dtype) else np.uint8,
            chunks=(1, *chunks, *bytes_axis),
            shards=(1, *shard, *bytes_axis),
            compressors=[*compressors(spec.codec, spec.dtype.itemsize), _crc32c()],
            filters=None,
            fill_value=0,
            **options,
        )


def _chunks_for(chunks: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(min(c, s) for c, s in zip(chunks, shape, strict=True))


def _crc32c() -> Any:
    from zarr.codecs import Crc32cCodec

    return Crc32cCodec()


def compressors(codec: Codec, itemsize: int) -> list[Any]:
    """Zarr's codecs that decode what `codec` encodes."""
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    family, _, name = codec.complib.partition(":")
    if family == "none":
        return []
    if family == "zstd":
        return [ZstdCodec(level=codec.complevel)]
    if family == "gzip":
        return [GzipCodec(level=codec.complevel)]
    shuffle = {"none": "noshuffle", "byte": "shuffle", "bit": "bitshuffle"}[codec.shuffle]
    return [
        BloscCodec(
            cname=name,  # type: ignore[arg-type]
            clevel=codec.complevel,
            shuffle=shuffle,  # type: ignore[arg-type]
            typesize=min(itemsize, 255),
        )
    ]


def _shard_name(group: Group, spec: ContainerSpec, number: int) -> str:
    axes = len(group.shape) + (not is_native(spec.dtype))
    return f"{shape_name(group.shape)}/samples/c/{number}" + "/0" * axes


def _group_names(archive: zipfile.ZipFile) -> list[str]:
    return sorted(
        name.removesuffix("/samples/zarr.json")
        for name in archive.namelist()
        if name.endswith("/samples/zarr.json")
    )


def _scan_group(
    file: BinaryIO, archive: zipfile.ZipFile, name: str, spec: ContainerSpec
) -> tuple[list[Any], dict[str, NDArray[Any]], StoredGroup]:
    """Header, columns and places of one group."""
    n, *shape = json.loads(archive.read(f"{name}/samples/zarr.json"))["shape"]
    if not is_native(spec.dtype):
        shape.pop()
    digests = np.frombuffer(archive.read(f"{name}/digests/c/0/0"), np.uint8)
    columns = {
        "digests": digests.reshape(n, DIGEST_SIZE_BYTES),
        "checksums": np.frombuffer(archive.read(f"{name}/checksums/c/0"), "<u8"),
    }
    group = Group(tuple(shape), 1)
    ends = {*(entry.header_offset for entry in archive.infolist()), archive.start_dir}
    names = [_shard_name(group, spec, number) for number in range(n)]
    entries = [archive.getinfo(shard) for shard in names]
    offsets = [_data_offset(file, entry, ends) for entry in entries]
    stored = StoredGroup.fixed(
        shape,
        1,
        element_count(shape) * spec.dtype.itemsize,
        np.array(offsets, np.uint64),
        np.array([entry.file_size for entry in entries], np.uint64),
        columns,
    )
    return group.header(), columns, stored


def _data_offset(file: BinaryIO, entry: zipfile.ZipInfo, ends: Collection[int]) -> int:
    """Where the bytes of an entry begin: after its header, name and extra field."""
    file.seek(entry.header_offset)
    signature, name_size, extra_size = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    at = entry.header_offset + int(_LOCAL_HEADER.size) + int(name_size) + int(extra_size)
    if signature != b"PK\3\4" or at + entry.file_size not in ends:
        raise ValueError("a zip entry is not where the directory says")
    return at
