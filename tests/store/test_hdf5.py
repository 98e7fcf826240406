"""Backends ``00`` and ``01``: HDF5."""

from __future__ import annotations

from hangar_git.store.backends import BACKENDS
from hangar_git.store.codec import NONE, Codec

from .contract import BackendContract, pages_of

LZF = [Codec.parse({"complib": "lzf", "shuffle": shuffle}) for shuffle in ("none", "byte")]


class TestVariableShape(BackendContract):
    backend = BACKENDS["00"]
    variable_shape = True
    only_through_the_store = LZF
    stock_reader = """
import h5py, hdf5plugin
def read(path):
    with h5py.File(path, "r") as file:
        return [list(samples(group)) for group in file.values()]
def samples(group):
    for start, shape in zip(group["starts"][...].astype("i8"), group["shapes"][...]):
        yield group["samples"][start : start + np.prod(shape, dtype="i8")].reshape(shape)
"""

    def groups(self, samples, per_chunk=1, codec=NONE):
        return [pages_of(samples, max(s.size for s in samples) * per_chunk, codec)]


class TestVariableShapeWithoutPages(TestVariableShape):
    compresses = False

    def groups(self, samples, per_chunk=1, codec=NONE):
        half = len(samples) // 2
        if not half:
            return [pages_of(samples, 0)]
        page = max(s.size for s in samples[:half])
        return [pages_of(samples[half:], 0), pages_of(samples[:half], page)]

    def check_samples(self, path, samples, per_chunk=1, codec=NONE):
        super().check_samples(path, samples, per_chunk, codec)

    def read_stock(self, *paths):
        """The group without pages comes first as HDF5 lists them, and holds the later samples."""
        return [groups[::-1] for groups in super().read_stock(*paths)]


class TestFixedShape(BackendContract):
    backend = BACKENDS["01"]
    only_through_the_store = LZF
    stock_reader = """
import h5py, hdf5plugin
def read(path):
    with h5py.File(path, "r") as file:
        return [file["samples"][...]]
"""
