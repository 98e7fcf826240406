"""Backend ``10``: a NumPy file of tiny samples, uncompressed, one shape.

An ``.npy`` file of shape (n, *sample shape), then a footer that `np.load` ignores::

    b"HANGAR10"  spec JSON  NUL  digests (n x 32 bytes)  checksums (n x u64)
    table checksum (u64)  footer length, all of the above (u64)  b"HANGAR10"
"""

from __future__ import annotations

import math
import os
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..digest import DIGEST_SIZE_BYTES
from .codec import NONE
from .container import (
    Backend,
    ContainerSpec,
    Group,
    StoredGroup,
    damaged,
    table_checksum,
)

_MAGIC = b"HANGAR10"
_END = struct.Struct("<QQ8s")


class NpyBackend(Backend):
    """NumPy containers."""

    code = "10"
    suffix = ".npy"

    def write(self, file: BinaryIO, spec: ContainerSpec, groups: Sequence[Group]) -> None:
        (group,) = groups
        columns = group.columns()
        digests, checksums = columns["digests"], columns["checksums"]
        samples = np.frombuffer(b"".join(group.chunks), spec.dtype)
        with warnings.catch_warnings():
            # Field names beyond Latin-1 take a newer header; numpy warns that old ones cannot read.
            warnings.simplefilter("ignore", UserWarning)
            np.save(file, samples.reshape(-1, *group.shape), allow_pickle=False)
        spec_json = spec.to_json()
        footer = b"".join(
            [_MAGIC, spec_json.encode(), b"\0", digests.tobytes(), checksums.tobytes()]
        )
        checksum = table_checksum(spec_json, [(group.header(), columns)])
        file.write(footer + _END.pack(checksum, len(footer) + _END.size, _MAGIC))

    def scan(self, path: Path) -> tuple[ContainerSpec, list[StoredGroup]]:
        try:
            loaded = np.load(path, mmap_mode="r", allow_pickle=False)
            with path.open("rb") as file:
                dtype, (n, *sample_shape), start = loaded.dtype, loaded.shape, loaded.offset
                size = file.seek(0, os.SEEK_END)
                file.seek(size - _END.size)
                checksum, footer_size, magic = _END.unpack(file.read(_END.size))
                sample_size = dtype.itemsize * math.prod(sample_shape)
                if magic != _MAGIC or start + n * sample_size + footer_size != size:
                    raise ValueError("its size does not fit its header")
                file.seek(size - footer_size)
                footer = file.read(footer_size - _END.size)
            table = n * (DIGEST_SIZE_BYTES + 8)
            spec = ContainerSpec.of_backend(footer[len(_MAGIC) : -table - 1].decode(), self.code)
            digests = np.frombuffer(footer[-table : -8 * n], np.uint8)
            columns = {
                "digests": digests.reshape(n, DIGEST_SIZE_BYTES),
                "checksums": np.frombuffer(footer[-8 * n :], "<u8"),
            }
            if table_checksum(spec.to_json(), [([list(sample_shape), 1], columns)]) != checksum:
                raise ValueError("its table does not match its checksum")
            group = StoredGroup.fixed(
                sample_shape,
                1,
                sample_size,
                start + sample_size * np.arange(n, dtype=np.uint64),
                np.full(n, sample_size, np.uint64),
                columns,
            )
            if spec.dtype != dtype or spec.codec != NONE:
                raise ValueError("its header does not match its footer")
        except Exception as error:  # numpy raises nearly every builtin type on damaged headers
            raise damaged(path, error) from error
        return spec, [group]
