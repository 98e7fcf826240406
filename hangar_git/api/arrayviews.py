"""Arraysets as the arrays of other libraries."""

from __future__ import annotations

from typing import Any


class ArrayViews:
    """Base of arraysets: what array libraries make of them."""

    def to_dask(self) -> Any:
        """All samples, in the order of `keys`, as a lazy `dask.array.Array` of shape (n, ...)."""
        from ..views.lazy import to_dask

        return to_dask(self)

    def to_arrow(self) -> Any:
        """All samples as a `pyarrow.Table` in memory, with columns ``key`` and ``sample``."""
        from ..views.arrow import to_arrow

        return to_arrow(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """All samples as one array of shape ``(n, *shape)``, in the order of `keys`.

        Shapes that vary are filled with zeros up to the largest.
        """
        from ..views.rows import stacked

        return stacked(self, dtype, copy)
