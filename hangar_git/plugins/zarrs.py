"""Zarr groups and arrays: directories, or single .zip files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .base import ContainerPlugin, Form, Sample, readable
from .hierarchy import DATA, KEYS, samples_of, write

_CHUNK_BYTES = 1 << 20


class ZarrPlugin(ContainerPlugin):
    """Arrays of a group; see `hierarchy`."""

    takes_count = True

    def __init__(self) -> None:
        super().__init__(("load", "save"), ("zarr",))

    def load(
        self, fpath: Any, *, form: Form | None = None, dataset: str | None = None
    ) -> Iterator[tuple[Any, str | int]]:
        """As `BasePlugin.load`; `dataset` is the array, or the group, to read."""
        import zarr

        Path(fpath).stat()
        with readable(fpath, "a Zarr directory"):
            found = zarr.open(str(fpath), mode="r")
            if isinstance(found, zarr.Array):
                arrays = {Path(fpath).stem: found}
            else:
                members = dict(found.members(max_depth=None))
                arrays = {name: one for name, one in sorted(members.items())
                          if isinstance(one, zarr.Array)}  # fmt: skip
            yield from samples_of(str(fpath), arrays, form, dataset)

    def save_many(
        self, samples: Iterable[Sample], path: Path, form: Form | None = None, **options: Any
    ) -> None:
        """As `ContainerPlugin.save_many`; options are those of zarr's ``create_array``."""
        import zarr

        count = options.pop("count", None)
        group = zarr.open_group(str(path), mode="w-")

        def stack(size: int, of: Form) -> Any:
            row_bytes = max(1, of.dtype.itemsize * int(np.prod(of.shape)))
            rows = max(1, min(size, _CHUNK_BYTES // row_bytes))
            return group.create_array(DATA, shape=(size, *of.shape), dtype=of.dtype,
                                      chunks=(rows, *of.shape), **options)  # fmt: skip

        def keys(names: list[str]) -> None:
            # Fixed-width text has one form in every Zarr library; object strings have none.
            texts = np.array(names, dtype=bytes)
            group.create_array(KEYS, data=texts.view(np.uint8).reshape(len(names), -1))

        write(samples, form, stack, lambda n, a: group.create_array(n, data=a, **options),
              keys, count)  # fmt: skip
