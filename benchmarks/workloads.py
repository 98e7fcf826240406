"""Data for the benchmarks: seeded generators, cached as .npy files below ``benchmarks/data``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DATA = Path(os.environ.get("HANGAR_BENCH_DATA", Path(__file__).parent / "data"))


def digits(n: int = 50_000) -> NDArray[np.uint8]:
    """28x28 pen strokes: ten templates of five segments, jittered; about 80 % of pixels are zero."""
    rng = np.random.default_rng(11)
    templates = rng.uniform(6, 22, (10, 6, 2))
    along = np.linspace(0, 5, 22, endpoint=False)
    segment, part = along.astype(int), (along % 1)[None, :, None]
    pixels = np.stack(np.meshgrid(np.arange(28), np.arange(28), indexing="ij"), -1).reshape(-1, 2)
    out = np.empty((n, 28, 28), np.uint8)
    for start in range(0, n, 1000):
        count = min(1000, n - start)
        points = templates[rng.integers(0, 10, count)]
        points = (points - 14) * rng.uniform(0.8, 1.1, (count, 1, 2)) + 14
        points += rng.normal(0, 1.1, points.shape)
        pen = points[:, segment] * (1 - part) + points[:, segment + 1] * part
        squares = (
            (pixels**2).sum(1)[None, :, None]
            + (pen**2).sum(2)[:, None]
            - 2 * pixels.astype(float) @ pen.transpose(0, 2, 1)
        )
        distance = np.sqrt(np.maximum(squares.min(2), 0))
        ink = np.clip(1.9 - distance, 0, 1) * rng.uniform(0.8, 1, distance.shape)
        out[start : start + count] = (np.minimum(ink * 1.2, 1) * 255).reshape(count, 28, 28)
    return out


def images(n: int = 2_000) -> NDArray[np.uint8]:
    """224x224x3 photographs in kind: clipped light and shade, noise only where it is in focus."""
    rng = np.random.default_rng(12)
    grain = rng.normal(0, 3, (4, 224, 224, 3)).astype("f4")
    out = np.empty((n, 224, 224, 3), np.uint8)
    for i in range(n):
        light = _smooth(rng, 4) + 0.45 * _smooth(rng, 28) - 0.22
        tint = 0.8 * rng.random(3, np.float32) + 0.6
        focus = (_smooth(rng, 5) > 0.56)[..., None]
        out[i] = np.clip(480 * (light[..., None] - 0.25) * tint + focus * grain[i % 4], 0, 255)
    return out


def _smooth(rng: np.random.Generator, cells: int, size: int = 224) -> NDArray[np.float32]:
    """Bilinearly enlarged noise of `cells` x `cells`."""
    grid = rng.random((cells + 1, cells + 1), np.float32)
    at = np.linspace(0, cells - 1e-4, size)
    low, part = at.astype(int), (at % 1).astype("f4")
    rows = grid[low] * (1 - part)[:, None] + grid[low + 1] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, low + 1] * part


def tiny(n: int = 1_000_000) -> NDArray[np.uint8]:
    """8x8 random bytes."""
    return np.random.default_rng(13).integers(0, 256, (n, 8, 8), np.uint8)


GENERATORS: dict[str, Callable[[], NDArray[np.uint8]]] = {
    "digits": digits,
    "images": images,
    "tiny": tiny,
}


def load(name: str) -> NDArray[np.uint8]:
    """The data called `name`, in memory; made when first asked for."""
    path = DATA / f"{name}.npy"
    if not path.exists():
        DATA.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp.npy")
        np.save(temporary, GENERATORS[name]())
        temporary.rename(path)
    return np.load(path)
