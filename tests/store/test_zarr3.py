"""Backend ``20``: Zarr v3 in a zip file."""

from __future__ import annotations

from hangar_git.store.backends import BACKENDS
from hangar_git.store.codec import NONE
from hangar_git.store.container import ContainerSpec

from .contract import CODECS, BackendContract, shards_of


class TestZarr(BackendContract):
    backend = BACKENDS["20"]
    many = 300
    stock_reader = """
import zarr
def read(path):
    root = zarr.open_group(zarr.storage.ZipStore(path, mode="r"), mode="r")
    return [group["samples"][...] for _, group in sorted(root.groups())]
"""

    def codecs(self):
        return [codec for codec in CODECS if not codec.shuffles_apart]

    def per_chunk(self):
        return [1]

    def spec(self, samples, codec=NONE):
        dtype, chunks = samples[0].dtype, samples[0].shape
        return ContainerSpec(self.backend.code, "array", dtype, codec, chunks)

    def groups(self, samples, per_chunk=1, codec=NONE):
        return [shards_of(samples, codec)]
