"""How much the values of a changed sample differ."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..digest import DIGEST_SIZE_BYTES
from ..records.gitrepo import GitRepository
from ..records.recordfile import RecordValue, shape_of
from ..schema import Schema
from ..staging.layout import Layout
from ..store.store import Store


class ValueDiff:
    """Reads samples of a repository, and compares them."""

    def __init__(self, git: GitRepository) -> None:
        self._store = Store(Layout.of(git).root, writable=False)

    def _read(self, schema: Schema, value: RecordValue) -> NDArray[Any]:
        shape = shape_of(value) if schema.variable_shape else schema.shape
        return self._store.get(value[:DIGEST_SIZE_BYTES], schema.dtype, shape)

    def describe(self, old: Schema, before: RecordValue, new: Schema, after: RecordValue) -> str:
        """Shape, and minimum, maximum and mean of the change; of 8-bit images PSNR in dB."""
        one, two = self._read(old, before), self._read(new, after)
        if one.shape != two.shape:
            return f"shape {one.shape} -> {two.shape}"
        if not _is_number(one) or not _is_number(two):
            return f"shape {two.shape}, dtype {two.dtype}"
        change = two.astype(np.float64) - one.astype(np.float64)
        text = (
            f"shape {two.shape}, change min {change.min():.6g}, max {change.max():.6g},"
            f" mean {change.mean():.6g}"
        )
        if one.dtype == two.dtype == np.uint8 and two.ndim >= 2:
            error = float(np.mean(change**2))
            text += f", PSNR {20 * np.log10(255) - 10 * np.log10(error):.2f} dB" if error else ""
        return text


def _is_number(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "biuf"
