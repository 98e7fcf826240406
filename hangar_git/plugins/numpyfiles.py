"""NumPy's own files: .npy and .npz."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, InvalidInputError
from .base import ContainerPlugin, FilePlugin, Form, Sample, readable
from .names import file_stem


class NpyPlugin(FilePlugin):
    """One array a file; one dimension more than the samples have makes it a stack of them."""

    def __init__(self) -> None:
        super().__init__(("load", "save", "show", "board_show"), ("npy",))

    def load(self, fpath: Any, *, form: Form | None = None) -> Any:
        """As `BasePlugin.load`; the rows of a stack are called 0, 1, 2, ..."""
        path = Path(fpath)
        if path.suffix.lower() == ".npz":  # asked for by the plugin's name
            return NpzPlugin().load(path, form=form)
        size = path.stat().st_size
        with readable(path, "a .npy file"):
            # Mapped if large, so that of a stack of many samples only one is in memory at a time.
            mapped = "r" if size > 1 << 20 else None
            array = np.load(path, mmap_mode=mapped, allow_pickle=False)  # type: ignore[arg-type]
        if not isinstance(array, np.ndarray):
            raise FormatError(f"{path}: not a .npy file, but an archive of several; name it .npz")
        if form is not None and array.ndim == form.rank + 1:
            return ((np.array(row, order="C"), number) for number, row in enumerate(array))
        return np.array(array, order="C", ndmin=array.ndim), self.sample_name(path)

    def write(self, path: Path, data: Any, extension: str, **options: Any) -> None:  # noqa: ARG002
        """As `FilePlugin.write`."""
        with path.open("xb") as file:
            np.lib.format.write_array(file, data, allow_pickle=False)

    def show(self, arr: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Print the array as NumPy does."""
        print(np.array2string(np.asarray(arr)))  # noqa: T201

    def board_show(self, arr: Any, *args: Any, **kwargs: Any) -> str:  # noqa: ARG002
        """The array's text."""
        return np.array2string(np.asarray(arr))


class NpzPlugin(ContainerPlugin):
    """An archive of arrays, each of them a sample, called by its key."""

    def __init__(self) -> None:
        super().__init__(("load", "save"), ("npz",))

    def load(self, fpath: Any, *, form: Form | None = None) -> Iterator[tuple[Any, str]]:
        """As `BasePlugin.load`."""
        # Given a path of a damaged archive, NumPy would leave the file open.
        with Path(fpath).open("rb") as file:
            with readable(fpath, "a .npz file"):
                archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise FormatError(f"{fpath}: not a .npz file, but a single array; name it .npy")
            for name in archive.files:
                with readable(fpath, "a .npz file"):
                    array = archive[name]
                yield _value(array, form), name

    def save_many(
        self,
        samples: Iterable[Sample],
        path: Path,
        form: Form | None = None,  # noqa: ARG002
        **options: Any,
    ) -> None:
        """As `ContainerPlugin.save_many`."""
        if options:
            raise InvalidInputError(f"npz files take no option {next(iter(options))!r}")
        # As np.savez does, but with one sample in memory at a time.
        with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED) as archive:
            for key, data in samples:
                array = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
                with archive.open(f"{file_stem(key)}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)


def _value(array: Any, form: Form | None) -> Any:
    """What an arrayset of `form` takes for an array: texts are arrays of rank 0 in archives."""
    if form is not None and form.kind == "str" and array.dtype.kind == "U" and array.ndim == 0:
        return str(array)
    if form is not None and form.kind == "bytes" and array.dtype == np.uint8:
        return array.tobytes()
    return np.array(array, order="C", ndmin=array.ndim, copy=None)
