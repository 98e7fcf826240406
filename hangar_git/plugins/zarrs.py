"""Zarr groups and arrays: directories, or single .zip files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from ..keys import parse_key_text
from .base import ContainerPlugin, Form, Sample, readable
from .hierarchy import DATA, KEYS, along, chosen_of, samples_of, write
from .names import file_stem

_CHUNK_BYTES = 1 << 20
_COMMIT = "hangar_commit"
"""Attribute of groups that are a view of a commit."""


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
            if isinstance(found, zarr.Group) and _COMMIT in found.attrs:
                yield from _of_view(str(fpath), found, form, dataset)
                return
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


def _of_view(
    where: str, group: Any, form: Form | None, dataset: str | None
) -> Iterator[tuple[Any, str | int]]:
    """The samples of an arrayset in a view of a commit: an array whose first axis is the keys'."""
    arrays = dict(group.arrays())
    axes = {name: (array.metadata.dimension_names or [""])[0] for name, array in arrays.items()}
    data = {name: array for name, array in arrays.items() if axes[name] != name}
    chosen = chosen_of(where, data, dataset)
    if len(chosen) != 1:
        raise InvalidInputError(
            f"{where}: holds several arraysets; choose one with --dataset=NAME: {', '.join(data)}"
        )
    ((name, array),) = chosen.items()
    if axes[name] not in arrays:
        raise InvalidInputError(f"{where}: array {name!r} lacks its keys {axes[name]!r}")
    keys = [one if isinstance(one, int) else file_stem(parse_key_text(one))
            for one in arrays[axes[name]][...].tolist()]  # fmt: skip
    raw = form is not None and form.kind == "array" and array.dtype != form.dtype and (
        array.ndim == form.rank + 2 and array.dtype == np.uint8
        and array.shape[-1] == form.dtype.itemsize
    )  # fmt: skip
    for row, key in along(where, array, keys):
        if form is not None and form.kind == "str":
            yield str(row[()]), key
        elif raw and form is not None:  # of a dtype that Zarr has no name for
            yield row.view(form.dtype)[..., 0], key
        else:
            yield row, key
