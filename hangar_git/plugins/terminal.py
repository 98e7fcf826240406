"""Samples as text: pictures of half-blocks, and statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Array

_UPPER_HALF = "\N{UPPER HALF BLOCK}"


def picture_of(array: Array) -> Array | None:
    """`array` as uint8 of (height, width, 3), if it can be taken for an image; else None.

    Volumes and (channels, height, width) are none: what they show depends on whom one asks.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    is_color = array.ndim == 3 and array.shape[2] in (3, 4)
    if not (is_color or array.ndim == 2) or array.dtype.kind not in "biuf" or min(array.shape) < 1:
        return None
    color = array[..., :3] if is_color else np.repeat(array[..., None], 3, axis=2)
    if color.dtype == np.uint8:
        return np.ascontiguousarray(color)
    values = np.nan_to_num(color.astype(np.float64), posinf=0, neginf=0)
    low, high = values.min(), values.max()
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return (scaled * 255).astype(np.uint8)


def half_blocks(picture: Array, width: int, height: int) -> str:
    """`picture` in at most `width` columns and `height` lines of characters, in 24-bit color."""
    rows, columns = picture.shape[:2]
    scale = max(1.0, columns / width, rows / (2 * height))
    wide, high = max(1, int(columns / scale)), max(1, int(rows / scale))
    high += high % 2
    at_row = np.minimum((np.arange(high) + 0.5) * rows / high, rows - 1).astype(int)
    at_column = np.minimum((np.arange(wide) + 0.5) * columns / wide, columns - 1).astype(int)
    small = picture[at_row][:, at_column].tolist()
    lines = []
    for upper, lower in zip(small[::2], small[1::2], strict=True):
        cells = "".join(
            f"\x1b[38;2;{a[0]};{a[1]};{a[2]};48;2;{b[0]};{b[1]};{b[2]}m{_UPPER_HALF}"
            for a, b in zip(upper, lower, strict=True)
        )
        lines.append(f"{cells}\x1b[0m")
    return "\n".join(lines)


def statistics(data: Any) -> dict[str, Any]:
    """What a sample is: dtype, shape and size; of numbers the range, mean and deviation."""
    if isinstance(data, str | bytes):
        raw = data.encode() if isinstance(data, str) else data
        kind = "str" if isinstance(data, str) else "bytes"
        shown: dict[str, Any] = {"kind": kind, "size_bytes": len(raw)}
        if isinstance(data, str):
            shown |= {"characters": len(data), "lines": len(data.splitlines())}
        return shown
    found: dict[str, Any] = {
        "kind": "array",
        "dtype": str(data.dtype),
        "shape": list(data.shape),
        "size_bytes": data.nbytes,
    }
    if data.dtype.kind not in "biuf" or data.size == 0:
        return found
    finite = data if data.dtype.kind in "biu" else data[np.isfinite(data)]
    found["not_finite"] = int(data.size - finite.size)
    if finite.size:
        found |= {
            "min": finite.min().item(),
            "max": finite.max().item(),
            "mean": float(finite.mean(dtype=np.float64)),
            "std": float(finite.std(dtype=np.float64)),
            "nonzero": int(np.count_nonzero(finite)),
        }
    return found
