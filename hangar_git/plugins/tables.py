"""Comma- and tab-separated values: a row for each sample."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, InvalidInputError
from .base import ContainerPlugin, Form, Sample
from .names import file_stem

KEY = "key"
"""Head of the column of names, in files that we write."""


class CsvPlugin(ContainerPlugin):
    """A row a sample: its name, and its values in C order.

    Files that were not written here have a head or none; without a column of names the rows are
    called 0, 1, 2, ...
    """

    def __init__(self) -> None:
        super().__init__(("load", "save"), ("csv", "tsv"))

    def load(
        self,
        fpath: Any,
        *,
        form: Form | None = None,
        key: str | None = None,
        columns: str | None = None,
        delimiter: str | None = None,
    ) -> Iterator[tuple[Any, str | int]]:
        """As `BasePlugin.load`.

        Parameters
        ----------
        fpath
            The file.
        form
            Of the arrayset; without it the values are float64 in one dimension.
        key
            Head of the column of names; by default ``key``, if there is one.
        columns
            Heads of the columns of values, with commas between; by default all others.
        delimiter
            What stands between values; by default a comma, in .tsv files a tab.
        """
        path = Path(fpath)
        delimiter = delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = csv.reader(file, delimiter=delimiter, strict=True)
                yield from _samples(path, rows, form, key, columns)
        except (csv.Error, UnicodeDecodeError) as error:
            raise FormatError(f"{path}: cannot be read as a table: {error}") from error

    def save_many(
        self, samples: Iterable[Sample], path: Path, form: Form | None = None, **options: Any
    ) -> None:
        """As `ContainerPlugin.save_many`; option ``delimiter`` is what stands between values."""
        if form is not None and (form.variable_shape and form.kind == "array" and form.rank > 1):
            raise InvalidInputError("samples of varying shape cannot be rows of a table")
        delimiter = options.pop("delimiter", "\t" if ".tsv" in path.name else ",")
        if options or len(delimiter) != 1:
            raise InvalidInputError(f"tables take no option {next(iter(options), 'delimiter')!r}")
        with path.open("x", newline="", encoding="utf-8") as file:
            out = csv.writer(file, delimiter=delimiter, lineterminator="\n")
            for number, (name, data) in enumerate(samples):
                values = _texts(data)
                if number == 0:
                    out.writerow([KEY, *(map(str, range(len(values))))])
                out.writerow([file_stem(name), *values])


def _texts(data: Any) -> list[Any]:
    if isinstance(data, str):
        return [data]
    if isinstance(data, bytes):
        raise InvalidInputError("samples of kind bytes cannot be rows of a table")
    array = np.asarray(data)
    if array.dtype.kind not in "biufcUM":
        raise InvalidInputError(f"dtype {array.dtype} cannot be a row of a table")
    # repr() of a float is the shortest text that is read back as the same number.
    return [str(value) for value in array.ravel()] if array.dtype.kind in "fcM" else list(
        array.ravel().tolist()
    )  # fmt: skip


def _samples(
    path: Path, rows: Any, form: Form | None, key: str | None, columns: str | None
) -> Iterator[tuple[Any, str | int]]:
    head: list[str] | None = None
    places: list[int] = []
    key_at: int | None = None
    number = 0
    for row in rows:
        if not row:
            continue
        if head is None:
            head = row if _is_head(row, form, key, columns) else []
            key_at, places = _places(path, head, len(row), key, columns)
            if head:
                continue
        if key_at is not None and key_at >= len(row):
            raise FormatError(f"{path}, line {rows.line_num}: has no column of names")
        name = number if key_at is None else row[key_at]
        short = form is not None and form.variable_shape
        try:
            cells = [row[at] for at in places if at < len(row) or not short]
            yield _value(cells, form), name
        except (ValueError, IndexError, OverflowError) as error:
            raise FormatError(f"{path}, line {rows.line_num}: {error}") from error
        number += 1


def _is_head(row: list[str], form: Form | None, key: str | None, columns: str | None) -> bool:
    if key is not None or columns is not None or row[0] == KEY:
        return True
    if form is not None and form.kind == "str":
        return False
    try:
        np.array(row).astype(np.complex128)
    except ValueError:
        return True
    return False


def _places(
    path: Path, head: list[str], width: int, key: str | None, columns: str | None
) -> tuple[int | None, list[int]]:
    """Where a row has its name, and its values."""
    wanted = columns.split(",") if columns is not None else None
    for name in [*([key] if key is not None else []), *(wanted or [])]:
        if name not in head:
            raise InvalidInputError(f"{path}: there is no column {name!r}, but {', '.join(head)}")
    key_at = head.index(key or KEY) if (key or KEY) in head else None
    if wanted is not None:
        return key_at, [head.index(name) for name in wanted]
    return key_at, [at for at in range(width) if at != key_at]


def _value(cells: list[str], form: Form | None) -> Any:
    if form is None:
        return np.array(cells).astype(np.float64)
    if form.kind == "str":
        if len(cells) != 1:
            raise ValueError(f"{len(cells)} columns, and one is expected; name it with --columns")
        return cells[0]
    if form.kind == "bytes":
        raise InvalidInputError("samples of kind bytes cannot be read from a table")
    if form.dtype.kind == "b":
        array = np.array([_truth(cell) for cell in cells])
    elif form.dtype.kind in "iu":
        array = np.array([int(cell) for cell in cells], form.dtype)
    else:
        array = np.array(cells).astype(form.dtype)
    if form.variable_shape:
        return array
    try:
        return array.reshape(form.shape)
    except ValueError:
        raise ValueError(f"{len(cells)} values do not make the shape {form.shape}") from None


def _truth(cell: str) -> bool:
    if cell.lower() in ("true", "1"):
        return True
    if cell.lower() in ("false", "0"):
        return False
    raise ValueError(f"{cell!r} is neither true nor false")
