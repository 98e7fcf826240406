"""Pictures as sixels: the graphics of DEC terminals, which xterm, foot, WezTerm and others show.

Format: VT330/VT340 Programmer Reference Manual, volume 2, chapter 14.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np

from .base import Array
from .images import pillow

_COLORS = 256
_BAND = 6
"""Rows of pixels that one character is high."""


def sixels(picture: Array, width: int, height: int) -> str:
    """`picture`, uint8 of (height, width, 3), scaled down to at most so many pixels."""
    image = pillow().fromarray(picture)
    image.thumbnail((width, height))
    image = image.quantize(_COLORS)
    indices = np.asarray(image)
    palette = np.asarray(image.getpalette()).reshape(-1, 3)
    rows, columns = indices.shape
    # Aspect ratio 1:1, and the size, so that a terminal need not guess.
    parts = [f'\x1bPq"1;1;{columns};{rows}']
    for number in np.unique(indices).tolist():
        red, green, blue = (round(int(one) * 100 / 255) for one in palette[number])
        parts.append(f"#{number};2;{red};{green};{blue}")
    weights = 1 << np.arange(_BAND)[:, None]
    for top in range(0, rows, _BAND):
        band = indices[top : top + _BAND]
        for number in np.unique(band).tolist():
            bits = ((band == number) * weights[: len(band)]).sum(axis=0)
            parts += [f"#{number}", _encoded(bits.tolist()), "$"]
        parts[-1] = "-"
    return "".join([*parts, "\x1b\\"])


def _encoded(bits: list[int]) -> str:
    """A row of characters, repetitions counted."""
    runs = ((chr(63 + value), len(list(run))) for value, run in groupby(bits))
    return "".join(f"!{count}{one}" if count > 3 else one * count for one, count in runs)
