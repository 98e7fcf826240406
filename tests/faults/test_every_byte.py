"""Every byte of a small container is flipped in turn: each flip is found, or changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from processes import in_child

from hangar_git.errors import IntegrityError
from hangar_git.schema import Schema
from hangar_git.store.checking import scanned, verify
from hangar_git.store.store import Store

ARRAYS = [np.full((3, 2), number, "<i4") for number in range(2)]


@pytest.mark.parametrize("backend", ["00", "01", "10", "20"])
def test_every_flip_is_found_or_harmless(backend, tmp_path):
    options = None if backend == "10" else {"complib": "zstd"}
    schema = Schema(
        np.dtype("<i4"), (3, 2), variable_shape=backend == "00", backend=backend,
        backend_opts=options,
    )  # fmt: skip
    store = Store(tmp_path, writable=True)
    digests = [store.writer(schema).put(array) for array in ARRAYS]
    store.flush()
    (path,) = store.containers.iterdir()
    data = path.read_bytes()
    copy = tmp_path / path.name

    def flip_all() -> tuple[int, int]:
        found = harmless = 0
        for at in range(len(data)):
            copy.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
            try:
                container = scanned(copy)
                verify(container, lambda _: None, threads=1)
            except IntegrityError as error:
                assert str(copy) in str(error)
                found += 1
                continue
            assert set(container.digests()) == set(digests)
            if container.corrupt:
                found += 1
            else:
                harmless += 1
        return found, harmless

    found, harmless = in_child(flip_all)
    assert found + harmless == len(data)
    assert found > 100


def test_every_flip_of_a_shard_is_found_by_slices_that_touch_it(tmp_path):
    """Slices check what they read by itself: the index of the shard, and each chunk."""
    array = np.arange(8 * 6, dtype="<i4").reshape(8, 6)
    opts = {"complib": "none", "chunks": [2, 6]}
    schema = Schema(array.dtype, array.shape, backend="20", backend_opts=opts)
    store = Store(tmp_path, writable=True)
    digest = store.writer(schema).put(array)
    store.flush()
    (path,) = store.containers.iterdir()
    (group,) = scanned(path).groups
    start, length = int(group.offsets[0]), int(group.lengths[0])
    data = path.read_bytes()
    path.chmod(0o644)
    touched = {*range(52 + 0, 2 * 52), *range(4 * 52, length)}  # the second chunk, and the index
    for at in range(length):
        with path.open("r+b") as file:
            file.seek(start + at)
            file.write(bytes([data[start + at] ^ 1]))
        reader = Store(tmp_path, writable=False)
        try:
            part = reader.get_part(digest, array.dtype, array.shape, np.s_[2:4])
        except IntegrityError:
            assert at in touched
        else:
            assert at not in touched
            np.testing.assert_array_equal(part, array[2:4])
        reader.close()
        path.write_bytes(data)
