"""What commands that move data have in common: progress, sizes and times."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import InvalidInputError
from .output import shows_progress

Progress = Callable[[int, int, int], object]
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """A bar of samples, with bytes and their rate, on a terminal, once it takes half a second."""
    if not shows_progress():
        yield lambda _done, _total, _size: None
        return
    from tqdm import tqdm

    form = "{desc}: {n_fmt} [{elapsed}, {rate_fmt}]{postfix}"
    with tqdm(desc=what, unit="B", unit_scale=True, delay=0.5, leave=False, bar_format=form) as bar:

        def progress(done: int, total: int, size: int) -> None:
            bar.set_postfix_str(f" {done:,} of {total:,} samples", refresh=False)
            bar.update(size)

        yield progress


def size_bytes(text: str) -> int:
    """Bytes of ``500MB``, ``1.5 GB``, ``2GiB``, ``4096``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if match is None:
        raise InvalidInputError(f"{text!r} is not a size such as 500MB, 2GiB or 4096")
    unit = match[2].upper()
    factor = 1 << (10 * "KMGT".index(unit) + 10) if match[3] and unit else _UNITS[unit]
    return int(float(match[1]) * factor)


def duration_s(text: str) -> float:
    """Seconds of ``90s``, ``10m``, ``12h``, ``14d``, ``2w``, or ``now`` for none."""
    if text == "now":
        return 0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if match is None:
        raise InvalidInputError(f"{text!r} is not a time such as 90s, 10m, 12h, 14d, 2w or now")
    return float(match[1]) * _UNITS_S[match[2]]


def size_text(size: int) -> str:
    """Bytes, as people read them."""
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.2f} {unit}"
