"""HDF5 files, by h5py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .base import ContainerPlugin, Form, Sample, readable
from .hierarchy import DATA, KEYS, samples_of, write


class Hdf5Plugin(ContainerPlugin):
    """Datasets of a file; see `hierarchy`."""

    takes_count = True

    def __init__(self) -> None:
        super().__init__(("load", "save"), ("h5", "hdf5", "he5"))

    def load(
        self, fpath: Any, *, form: Form | None = None, dataset: str | None = None
    ) -> Iterator[tuple[Any, str | int]]:
        """As `BasePlugin.load`; `dataset` is the dataset, or the group, to read."""
        import h5py

        Path(fpath).stat()
        with readable(fpath, "an HDF5 file"), h5py.File(fpath, "r") as file:
            found: dict[str, Any] = {}

            def visit(name: str, one: Any) -> None:
                if isinstance(one, h5py.Dataset) and one.shape is not None:
                    found[name] = one

            file.visititems(visit)
            yield from samples_of(str(fpath), found, form, dataset)

    def save_many(
        self, samples: Iterable[Sample], path: Path, form: Form | None = None, **options: Any
    ) -> None:
        """As `ContainerPlugin.save_many`; options are those of h5py: ``compression=gzip``."""
        import h5py

        count = options.pop("count", None)
        with h5py.File(path, "x") as file:
            write(
                samples,
                form,
                lambda size, of: file.create_dataset(DATA, (size, *of.shape), of.dtype, **options),
                lambda name, array: file.create_dataset(name, data=array, **options),
                lambda keys: file.create_dataset(KEYS, data=keys, dtype=h5py.string_dtype()),
                count,
            )
