"""Backends ``00`` and ``01``: HDF5."""

from __future__ import annotations

from hangar_git.store.backends import BACKENDS

from .contract import BackendContract

H5PY = """
import h5py, hdf5plugin
def read(path):
    with h5py.File(path, "r") as file:
        groups = [file] if "samples" in file else file.values()
        return [group["samples"][...] for group in groups]
"""


class TestVariableShape(BackendContract):
    backend = BACKENDS["00"]
    variable_shape = True
    stock_reader = H5PY


class TestFixedShape(BackendContract):
    backend = BACKENDS["01"]
    stock_reader = H5PY
