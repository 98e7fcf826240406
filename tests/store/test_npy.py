"""Backend ``10``: NumPy files."""

from __future__ import annotations

from hangar_git.store.backends import BACKENDS

from .contract import BackendContract


class TestLoaded(BackendContract):
    backend = BACKENDS["10"]
    compresses = False
    stock_reader = "def read(path): return [np.load(path)]"


class TestMapped(BackendContract):
    backend = BACKENDS["10"]
    compresses = False
    stock_reader = "def read(path): return [np.load(path, mmap_mode='r')]"
