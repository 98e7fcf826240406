"""What a worker sends arrives as it was, whatever the backend and codec."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from repositories import make_repository

from hangar_git.errors import InvalidInputError
from hangar_git.records.recordfile import shape_of
from hangar_git.remotes.localstore import LocalSamples
from hangar_git.schema import new_schema
from hangar_git.store.backends import parse_backend_opts
from hangar_git.workers.uploading import Uploader


def schema_of(backend=None, *, shape=None, dtype=None, prototype=None, **more):
    from dataclasses import replace

    options = {"named_samples": True, "variable_shape": False} | more
    schema = new_schema(shape, dtype, prototype, **options)
    if backend is None:
        return schema
    code, opts = parse_backend_opts(backend, schema)
    return replace(schema, backend=code, backend_opts=opts)


def noise(count, *shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(dtype)


def steps(count, *shape, dtype=np.uint8):
    return np.broadcast_to(np.arange(count).reshape(-1, *[1] * len(shape)), (count, *shape)).astype(
        dtype
    )


FIXED = {
    "default": (None, steps(300, 28, 28)),
    "incompressible": (None, noise(300, 28, 28)),
    "not a full chunk": (None, steps(3, 28, 28)),
    "tiny": ("10", noise(1000, 4)),
    "scalars": (None, np.arange(1000)),
    "blosc": ({"backend": "01", "complib": "blosc:lz4", "shuffle": "bit"}, steps(50, 40, 40)),
    "zstd": ({"backend": "01", "complib": "zstd"}, steps(50, 9, 9, dtype=np.float32)),
    "gzip": ({"backend": "01", "complib": "gzip", "shuffle": "byte"}, steps(50, 9, 9)),
    "lzf": ({"backend": "01", "complib": "lzf"}, steps(50, 9, 9)),
    "none": ({"backend": "01", "complib": "none"}, steps(50, 300, 300)),
    "shards": ({"backend": "20", "chunks": [8, 8]}, steps(5, 20, 30, dtype=np.int16)),
    "plain shards": ({"backend": "20", "complib": "none"}, noise(5, 20, 30)),
    "structured": (None, np.zeros(20, [("a", "<i4"), ("b", "<f8", (2,))])),
}


def read_back(store_root, schema, sent):
    """The samples, from containers that a receiver made."""
    from hangar_git.store.store import Store

    store = Store(store_root, writable=False)
    shapes = [shape_of(v) if schema.variable_shape else schema.shape for v in sent.values]
    digests = [value[:32] for value in sent.values]
    return [schema.value(a) for a in store.get_many(digests, schema.dtype, shapes)]


@pytest.fixture
def held(tmp_path):
    """A store that verifies what it receives."""
    root = tmp_path / "hangar"
    return LocalSamples(root), root


@pytest.mark.parametrize("name", FIXED)
def test_samples_of_one_shape_arrive(held, name):
    backend, data = FIXED[name]
    schema = schema_of(backend, shape=data.shape[1:], dtype=data.dtype)
    store, root = held
    sent = Uploader(store, {"a": schema}).send("a", range(len(data)), data)
    assert sent.keys == list(range(len(data)))
    found = read_back(root, schema, sent)
    assert np.array_equal(np.stack(found), data)


@pytest.mark.parametrize("backend", [None, {"backend": "00", "complib": "gzip"},
                                     {"backend": "00", "complib": "none"}, "20"])  # fmt: skip
@pytest.mark.parametrize("content", [noise, steps])
def test_samples_of_many_shapes_arrive(held, backend, content):
    schema = schema_of(backend, shape=(200, 300), dtype=np.uint8, variable_shape=True)
    arrays = [content(1 + i * 9 % 200, 1 + i * 31 % 300) for i in range(40)]
    store, root = held
    sent = Uploader(store, {"a": schema}).send("a", [f"k{i}" for i in range(40)], arrays)
    for found, array in zip(read_back(root, schema, sent), arrays, strict=True):
        assert np.array_equal(found, array)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("str", ["", "größe", "x" * 100_000, "", "größe"]),
        ("str", [""]),
        ("bytes", [b"", b"\0", b"a\0\0", bytes(range(256)) * 100]),
    ],
)
def test_texts_and_bytes_arrive(held, kind, values):
    schema = schema_of(kind=kind)
    store, root = held
    sent = Uploader(store, {"a": schema}).send("a", range(len(values)), values)
    assert read_back(root, schema, sent) == values


def test_records_are_those_of_a_clone_that_adds_the_same(held, tmp_path):
    repo = make_repository(tmp_path / "repo")
    co = repo.checkout(write=True)
    data = steps(20, 5, 5)
    aset = co.arraysets.init_arrayset("a", (5, 5), np.uint8)
    aset.add_batch(range(20), data)
    texts = co.arraysets.init_arrayset("t", kind="str")
    texts.update({1: "eins"}.items())
    uploader = Uploader(held[0], {"a": aset._schema, "t": texts._schema})
    for sent in (uploader.send("a", range(20), data), uploader.send_items("t", [(1, "eins")])):
        ours = dict(zip(sent.keys, sent.values, strict=True))
        assert ours == co._session.area.edits.arraysets[sent.arrayset].values
    co.close()


class Counting:
    """A store that counts what it receives."""

    def __init__(self, store):
        self._store = store
        self.received = 0

    def missing(self, digests):
        return self._store.missing(digests)

    def receive(self, parcels):
        count = self._store.receive(parcels)
        self.received += count
        return count


def test_sending_again_sends_nothing(held):
    store = Counting(held[0])
    uploader = Uploader(store, {"a": schema_of(shape=(5, 5), dtype=np.uint8)})
    first = uploader.send("a", range(40), steps(40, 5, 5))
    assert store.received == 40
    assert uploader.send("a", range(40), steps(40, 5, 5)) == first
    assert store.received == 40


def test_more_than_a_buffer_is_sent_in_parts(held, monkeypatch):
    monkeypatch.setattr("hangar_git.workers.uploading.FLUSH_BYTES", 100_000)
    data = noise(50, 100, 100)
    store = Counting(held[0])
    schema = schema_of(shape=(100, 100), dtype=np.uint8)
    sent = Uploader(store, {"a": schema}).send("a", range(50), data)
    assert np.array_equal(np.stack(read_back(held[1], schema, sent)), data)


def test_other_memory_orders_are_taken(held):
    data = np.asfortranarray(noise(10, 6, 4))
    schema = schema_of(shape=(6, 4), dtype=np.uint8)
    sent = Uploader(held[0], {"a": schema}).send("a", range(10), data)
    assert np.array_equal(np.stack(read_back(held[1], schema, sent)), data)
    lazily = [one.T for one in noise(10, 4, 6)]
    sent = Uploader(held[0], {"a": schema}).send("a", range(10), lazily)
    assert np.array_equal(np.stack(read_back(held[1], schema, sent)), np.stack(lazily))


def test_unnamed_samples_get_names(held):
    schema = schema_of(shape=(4,), dtype=np.uint8, named_samples=False)
    uploader = Uploader(held[0], {"a": schema})
    assert not uploader.needs_keys("a")
    sent = [uploader.send("a", None, noise(3, 4)), uploader.send_items("a", list(noise(3, 4)))]
    assert len({key for one in sent for key in one.keys}) == 6


def test_pairs_of_names_are_keys_of_subsamples(held):
    uploader = Uploader(held[0], {"a": schema_of(shape=(4,), dtype=np.uint8, nested=True)})
    assert uploader.send("a", [("x", 1), ("x", "y")], noise(2, 4)).keys == [("x", 1), ("x", "y")]
    with pytest.raises(InvalidInputError, match="'x' is not a pair"):
        uploader.send("a", ["x"], noise(1, 4))


@pytest.mark.parametrize(
    ("keys", "samples", "said"),
    [
        ([0, "?"], noise(2, 4), r"sample name '\?' is not valid"),
        ([0, 1], noise(2, 5), r"arrayset 'a' takes shape \(4,\), got \(5,\) for sample 0"),
        ([0, 7], [noise(4)[0:4], "x"], r"takes numpy.ndarray, got str for sample 7"),
        ([0, 1], noise(2, 4, dtype=np.int64), "takes dtype uint8, got int64 for sample 0"),
        ([0], noise(2, 4), "1 keys and 2 samples"),
        (None, noise(2, 4), "keys are required"),
    ],
)
def test_what_an_arrayset_does_not_take_is_named_and_nothing_is_sent(held, keys, samples, said):
    store = Counting(held[0])
    uploader = Uploader(store, {"a": schema_of(shape=(4,), dtype=np.uint8)})
    with pytest.raises(InvalidInputError, match=said):
        uploader.send("a", keys, samples)
    assert store.received == 0


def test_items_are_pairs(held):
    uploader = Uploader(held[0], {"a": schema_of(shape=(4,), dtype=np.uint8)})
    with pytest.raises(InvalidInputError, match="pairs of key and sample"):
        uploader.send_items("a", [1])


def test_an_uploader_travels_as_address_and_schemas():
    from hangar_git.remotes.access import RemoteAccess

    access = RemoteAccess("hangar://localhost:50051/x", push=True)
    uploader = Uploader(access, {"a": schema_of("20", shape=(4, 4), dtype=np.uint8)})
    assert len(pickle.dumps(uploader)) < 2000
    assert pickle.loads(pickle.dumps(uploader))._access == access
