"""Tables of Apache Arrow: Parquet and Arrow (Feather) files, a row for each sample."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from ..dtypes import dtype_from_json, dtype_to_json
from ..errors import InvalidInputError
from .base import ContainerPlugin, Form, Sample, library, readable
from .names import file_stem

_ROWS = 1024
"""Rows of a batch, which is what is in memory at a time."""
_META = b"hangar_git"


class ColumnPlugin(ContainerPlugin):
    """What Parquet and Arrow have in common.

    Files written here have columns ``key`` and ``data`` (values in C order), ``shape`` where that
    varies, and dtype and shape in the metadata. Of others each row is a sample: of the columns of
    numbers in their order, or of one column that holds lists, texts or bytes.
    """

    def load(
        self,
        fpath: Any,
        *,
        form: Form | None = None,
        key: str | None = None,
        columns: str | None = None,
    ) -> Iterator[tuple[Any, str | int]]:
        """As `BasePlugin.load`.

        Parameters
        ----------
        fpath
            The file.
        form
            Of the arrayset.
        key
            The column of names; by default ``key``, if there is one, else rows are numbered.
        columns
            The columns of values, with commas between; by default all others.
        """
        library("pyarrow", "parquet")
        number = 0
        with Path(fpath).open("rb") as file, readable(fpath, f"a {self.accepts[0]} file"):
            schema, batches = self._read(file)
            said = json.loads((schema.metadata or {}).get(_META, b"null"))
            names = list(schema.names)
            wanted = columns.split(",") if columns is not None else None
            for name in [*([key] if key is not None else []), *(wanted or [])]:
                if name not in names:
                    raise InvalidInputError(
                        f"{fpath}: there is no column {name!r}, but {', '.join(names)}"
                    )
            key = key or ("key" if "key" in names else None)
            values = wanted or (["data"] if said else [name for name in names if name != key])
            for batch in batches:
                keys = batch.column(key).to_pylist() if key else range(number, number + len(batch))
                for name, value in zip(keys, _rows(batch, values, said, form), strict=True):
                    yield value, name
                number += len(batch)

    def save_many(
        self, samples: Iterable[Sample], path: Path, form: Form | None = None, **options: Any
    ) -> None:
        """As `ContainerPlugin.save_many`; options are those of pyarrow's writer."""
        pa = library("pyarrow", "parquet")
        rows = iter(samples)
        first = next(rows, None)
        if first is None:
            raise InvalidInputError("there are no samples to put into a table")
        if form is None:
            array = np.asarray(first.data)
            form = Form("array", array.dtype, array.shape)
        schema = _schema(pa, form)
        with self._writer(path, schema, options) as out:
            for part in _parts(chain([first], rows)):
                out.write_batch(pa.record_batch(_columns(pa, part, form, schema), schema=schema))

    @abstractmethod
    def _read(self, file: Any) -> tuple[Any, Iterable[Any]]:
        """Schema and batches of a file."""

    @abstractmethod
    def _writer(self, path: Path, schema: Any, options: dict[str, Any]) -> Any:
        """A context that writes batches to a new file."""


class ParquetPlugin(ColumnPlugin):
    """Parquet files."""

    def __init__(self) -> None:
        super().__init__(("load", "save"), ("parquet",))

    def _read(self, file: Any) -> tuple[Any, Iterable[Any]]:
        found = library("pyarrow.parquet", "parquet").ParquetFile(file)
        return found.schema_arrow, found.iter_batches(_ROWS)

    def _writer(self, path: Path, schema: Any, options: dict[str, Any]) -> Any:
        return library("pyarrow.parquet", "parquet").ParquetWriter(path, schema, **options)


class ArrowPlugin(ColumnPlugin):
    """Arrow IPC files, which are Feather files, too."""

    def __init__(self) -> None:
        super().__init__(("load", "save"), ("arrow", "feather"))

    def _read(self, file: Any) -> tuple[Any, Iterable[Any]]:
        found = library("pyarrow", "parquet").ipc.open_file(file)
        return found.schema, (found.get_batch(at) for at in range(found.num_record_batches))

    def _writer(self, path: Path, schema: Any, options: dict[str, Any]) -> Any:
        return library("pyarrow", "parquet").ipc.new_file(path, schema, **options)


def _rows(
    batch: Any, columns: list[str], said: dict[str, Any] | None, form: Form | None
) -> Iterable[Any]:
    """The samples of a batch."""
    column = batch.column(columns[0]) if len(columns) == 1 else None
    if said is not None and column is not None:
        if said["kind"] != "array":
            return column.to_pylist()  # type: ignore[no-any-return]
        dtype = dtype_from_json(said["dtype"])
        shapes = batch.column("shape").to_pylist() if said["variable_shape"] else None
        return [
            np.frombuffer(raw, dtype).reshape(shapes[at] if shapes else said["shape"]).copy()
            for at, raw in enumerate(map(_raw, column, [dtype] * len(column)))
        ]
    if form is not None and form.kind != "array":
        if column is None:
            raise InvalidInputError("a text is in one column: name it with --columns=NAME")
        return column.to_pylist()  # type: ignore[no-any-return]
    if column is not None:
        found = [np.asarray(value) for value in column.to_pylist()]
    else:
        numbers = [batch.column(name).to_numpy(zero_copy_only=False) for name in columns]
        found = list(np.stack(numbers, axis=1))
    if form is None:
        return found
    return [_as(array, form) for array in found]


def _as(array: Any, form: Form) -> Any:
    """`array` in the dtype and shape of an arrayset; ValueError if values would change."""
    if array.dtype.kind == "O":
        raise ValueError("holds values that are missing, or no numbers")
    converted = array.astype(form.dtype)
    same = converted == array
    if not (same | (converted != converted)).all():  # noqa: PLR0124  # not a number
        raise ValueError(f"holds values that dtype {form.dtype} cannot")
    if not form.variable_shape and converted.size == int(np.prod(form.shape)):
        converted = converted.reshape(form.shape)
    return np.ascontiguousarray(converted) if converted.ndim else converted


def _raw(scalar: Any, dtype: np.dtype[Any]) -> bytes:
    if dtype.kind in "iuf" and dtype.itemsize <= 8:
        return scalar.values.to_numpy(zero_copy_only=False).astype(dtype).tobytes()  # type: ignore[no-any-return]
    return scalar.as_py()  # type: ignore[no-any-return]


def _schema(pa: Any, form: Form) -> Any:
    if form.kind != "array":
        value = pa.string() if form.kind == "str" else pa.binary()
    elif form.dtype.kind in "iuf":
        item = pa.from_numpy_dtype(form.dtype)
        size = -1 if form.variable_shape else int(np.prod(form.shape))
        value = pa.list_(item, size)
    else:
        value = pa.binary()  # as it lies in memory
    fields = [pa.field("key", pa.string()), pa.field("data", value)]
    if form.kind == "array" and form.variable_shape:
        fields.append(pa.field("shape", pa.list_(pa.int64())))
    said = {
        "kind": form.kind,
        "dtype": dtype_to_json(form.dtype),
        "shape": form.shape,
        "variable_shape": form.variable_shape,
    }
    return pa.schema(fields, metadata={_META: json.dumps(said)})


def _columns(pa: Any, part: Iterable[Sample], form: Form, schema: Any) -> list[Any]:
    rows = list(part)
    found = [pa.array([file_stem(key) for key, _ in rows])]
    data = [one for _, one in rows]
    kind = schema.field("data").type
    if form.kind != "array":
        found.append(pa.array(data, kind))
    elif form.dtype.kind in "iuf":
        arrays = [np.asarray(one, form.dtype).ravel() for one in data]
        flat = pa.array(np.concatenate(arrays))
        if form.variable_shape:
            offsets = np.cumsum([0, *map(len, arrays)], dtype=np.int32)
            found.append(pa.ListArray.from_arrays(pa.array(offsets), flat))
        else:
            found.append(pa.FixedSizeListArray.from_arrays(flat, kind.list_size))
    else:
        found.append(pa.array([np.asarray(one, form.dtype).tobytes() for one in data], kind))
    if len(schema.names) == 3:
        found.append(pa.array([list(one.shape) for one in data], pa.list_(pa.int64())))
    return found


def _parts(rows: Iterator[Sample]) -> Iterator[list[Sample]]:
    while part := list(islice(rows, _ROWS)):
        yield part
