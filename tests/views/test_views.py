"""Commits as stores and arrays of Zarr, Dask, xarray and Arrow."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import zarr
from processes import in_child, run_python
from repositories import close, make_repository
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

PAIR = np.dtype([("a", "<i4"), ("b", "<f4")])


def photo(number: int) -> np.ndarray:
    rng = np.random.default_rng(number)
    return np.repeat(rng.integers(0, 256, (100, 90, 1), np.uint8), 3, axis=2)


def volume(number: int) -> np.ndarray:
    return np.arange(20 * 70 * 90, dtype=np.int16).reshape(20, 70, 90) * (number + 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    repo = make_repository(tmp_path_factory.mktemp("views") / "repo")
    co = repo.checkout(write=True)
    init = co.arraysets.init_arrayset
    digits = init("digits", shape=(8, 8), dtype=np.uint8)
    labels = init("labels", prototype=np.array(0, np.int64))
    photos = init("photos", shape=(100, 90, 3), dtype=np.uint8,
                  backend_opts={"backend": "01", "complib": "blosc:lz4"})  # fmt: skip
    raw = init("raw", shape=(100, 90, 3), dtype=np.uint8,
               backend_opts={"backend": "01", "complib": "none"})  # fmt: skip
    gzipped = init("gzipped", shape=(100, 90, 3), dtype=np.uint8,
                   backend_opts={"backend": "01", "complib": "gzip"})  # fmt: skip
    volumes = init("volumes", shape=(20, 70, 90), dtype=np.int16,
                   backend_opts={"backend": "20", "chunks": [8, 40, 90]})  # fmt: skip
    lines = init("lines", shape=(9,), dtype=np.int32, variable_shape=True)
    names = init("names", kind="str")
    blobs = init("blobs", kind="bytes")
    pairs = init("pairs", prototype=np.zeros(2, PAIR))
    init("empty", shape=(3,), dtype=np.uint8)
    with co:
        for i in range(10):
            digits[i], labels[i] = np.full((8, 8), i, np.uint8), np.array(i)
            volumes[i], names[i], blobs[i] = volume(i), f"größe-{i}", bytes([i])
            lines[i] = np.full(1 + i % 7, i, np.int32)
            pairs[i] = np.array([(i, i / 2), (0, 1)], PAIR)
            photos[f"p{i}"], gzipped[i], raw[i] = photo(i), photo(i + 100), photo(i + 200)
    co.commit("all kinds")
    co.close()
    return repo


@pytest.fixture
def co(place):
    checkout = place.checkout()
    yield checkout
    close(checkout)


# -- Zarr --------------------------------------------------------------------------------------


def test_zarr_opens_a_commit_as_a_group_of_arrays(co):
    group = zarr.open(co.to_zarr(), mode="r")
    assert group.attrs["hangar_commit"] == co.commit_hash
    for name in ("digits", "labels", "photos", "gzipped", "raw", "volumes"):
        expected = np.stack(list(co[name].values()))
        assert group[name].dtype == expected.dtype
        assert np.array_equal(group[name][:], expected), name
    assert group["pairs"][:].reshape(10, -1).tobytes() == b"".join(
        sample.tobytes() for sample in co["pairs"].values()
    )
    assert group["empty"].shape == (0, 3)
    assert group["lines"][8].tolist() == [8, 8, 0, 0, 0, 0, 0, 0, 0]
    assert list(group["names"][:]) == [f"größe-{i}" for i in range(10)]
    assert "blobs" not in group
    assert group["digits_key"][:].tolist() == list(range(10))
    assert list(group["photos_key"][:]) == [f"p{i}" for i in range(10)]


def get(store, key, byte_range=None):
    found = sync(store.get(key, default_buffer_prototype(), byte_range))
    return None if found is None else found.to_bytes()


def test_chunks_are_the_stored_bytes_where_the_codec_allows(co, place):
    store = co.to_zarr()
    containers = [
        path.read_bytes() for path in (Path(place.path) / ".git/hangar/containers").iterdir()
    ]
    for name, axes, stored in (
        ("photos", 4, True),
        ("volumes", 4, True),
        ("raw", 4, True),
        ("gzipped", 4, False),
    ):
        chunk = get(store, f"{name}/c/0" + "/0" * (axes - 1))
        assert any(chunk in data for data in containers) == stored, name


def test_a_slice_reads_only_the_chunks_that_it_touches(co, monkeypatch):
    array = zarr.open(co.to_zarr(), mode="r")["volumes"]
    store, read = co["volumes"]._store, []
    encoded = store.get_encoded

    def counting(*args):
        data = encoded(*args)
        read.append(len(data))
        return data

    whole = len(encoded(co["volumes"]._base.get(3)))
    monkeypatch.setattr(store, "get_encoded", counting)
    assert np.array_equal(array[3, 0:4, 0:10], volume(3)[0:4, 0:10])
    assert 0 < sum(read) < whole / 3


def test_the_store_is_listed_pickled_compared_and_not_written_to(co):
    store = co.to_zarr()

    async def keys():
        return [key async for key in store.list()]

    found = sync(keys())
    assert {"zarr.json", "digits/zarr.json", "digits/c/0/0/0", "photos/c/9/0/0/0"} <= set(found)
    for key in found:
        assert sync(store.exists(key))
        assert get(store, key) is not None, key
    for key in ("nope", "digits/c/1/0/0", "digits/c/0/0", "digits/c/x", "photos/c/0/0/0/1"):
        assert not sync(store.exists(key))
        assert get(store, key) is None
    copy = pickle.loads(pickle.dumps(store))
    assert copy == store
    assert np.array_equal(zarr.open(copy, mode="r")["photos"][4], photo(4))
    with pytest.raises(PermissionError):
        sync(store.set("digits/zarr.json", default_buffer_prototype().buffer.from_bytes(b"")))
    with pytest.raises(ValueError, match="read-only"):
        zarr.open(store, mode="a")["digits"][0] = 1


def test_the_view_reads_in_another_process(co):
    store = co.to_zarr()
    assert in_child(lambda: int(zarr.open(store, mode="r")["labels"][:].sum())) == 45


# -- Dask, xarray, Arrow -----------------------------------------------------------------------


def test_an_arrayset_is_a_lazy_dask_array(co):
    pytest.importorskip("dask.array")
    array = co["volumes"].to_dask()
    assert array.shape == (10, 20, 70, 90)
    assert array.dtype == np.int16
    assert array.numblocks[0] > 0
    total = sum(int(volume(i).astype(np.int64).sum()) for i in range(10))
    assert int(array.astype(np.int64).sum().compute()) == total
    assert np.array_equal(array[3, 2:5, ::7].compute(), volume(3)[2:5, ::7])
    assert array.name == co["volumes"].to_dask().name
    assert co["labels"].to_dask().compute(scheduler="threads").tolist() == list(range(10))
    assert co["lines"].to_dask()[8].compute().tolist() == [8, 8, 0, 0, 0, 0, 0, 0, 0]


def test_dask_reads_a_commit_through_zarr(co):
    da = pytest.importorskip("dask.array")
    array = da.from_zarr(co.to_zarr(), component="photos")
    assert np.array_equal(array[7].compute(), photo(7))


def test_dask_computes_in_processes_of_their_own(place):
    pytest.importorskip("distributed")
    done = run_python(
        """if __name__ == "__main__":
        import sys
        from distributed import Client, LocalCluster
        from hangar_git import Repository
        with LocalCluster(n_workers=2, threads_per_worker=1, processes=True,
                          dashboard_address=None) as cluster, Client(cluster):
            co = Repository(sys.argv[1]).checkout()
            print(int(co["labels"].to_dask().sum().compute()),
                  int(co["photos"].to_dask()[:, 0, 0, 0].astype("i8").sum().compute()))
            co.close()
        """,
        place.path,
        timeout=110,
    )
    total = sum(int(photo(i)[0, 0, 0]) for i in range(10))
    assert done.stdout.split()[-2:] == ["45", str(total)], done.stderr


def test_what_dask_cannot_hold_is_refused(co, repo):
    pytest.importorskip("dask.array")
    for name in ("names", "blobs", "empty"):
        with pytest.raises(ValueError, match=name):
            co[name].to_dask()
    writer = repo.checkout(write=True)
    aset = writer.arraysets.init_arrayset("a", shape=(1,), dtype=np.uint8)
    with pytest.raises(ValueError, match="writer checkout"):
        aset.to_dask()
    writer.close()


def test_xarray_has_keys_as_coordinates(co):
    pytest.importorskip("xarray")
    data = co.to_xarray()
    assert data.attrs["hangar_commit"] == co.commit_hash
    assert np.array_equal(data["photos"].sel(photos_key="p7").values, photo(7))
    assert int(data["labels"].sel(labels_key=[2, 5]).sum()) == 7
    assert data["digits"].dims == ("digits_key", "digits_0", "digits_1")
    assert data["digits"].chunks is not None
    assert {"names", "blobs", "empty"}.isdisjoint(data)


def test_arraysets_of_the_same_keys_share_a_coordinate(repo):
    xr = pytest.importorskip("xarray")
    co = repo.checkout(write=True)
    for name in ("x", "key"):
        aset = co.arraysets.init_arrayset(name, prototype=np.array(0.0))
        for i in (1, 2, 10):
            aset[i] = np.array(i / 2)
    co.commit("two")
    co.close()
    with repo.checkout() as reader:
        data = reader.to_xarray()
        assert data["x"].dims == data["key"].dims == ("key_",)
        assert float(data["x"].sel(key_=10)) == 5.0
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            opened = xr.open_zarr(reader.to_zarr())
        assert opened["x"].values.tolist() == [0.5, 1.0, 5.0]
        assert opened["key_"].values.tolist() == [1, 2, 10]


def test_numpy_makes_an_array_of_an_arrayset(co):
    assert np.array_equal(np.asarray(co["photos"]), np.stack([photo(i) for i in range(10)]))
    assert np.asarray(co["labels"], np.float32).tolist() == [float(i) for i in range(10)]
    assert np.array(co["lines"])[8].tolist() == [8, 8, 0, 0, 0, 0, 0, 0, 0]
    assert np.asarray(co["empty"]).shape == (0, 3)
    assert np.asarray(np.from_dlpack(co["digits"][3])).tolist() == np.full((8, 8), 3).tolist()
    with pytest.raises(ValueError, match="to_arrow"):
        np.asarray(co["names"])
    with pytest.raises(ValueError, match="always a copy"):
        np.array(co["labels"], copy=False)


def test_tables_of_arrow_have_keys_and_samples(co):
    pa = pytest.importorskip("pyarrow")
    table = co["digits"].to_arrow()
    assert table["key"].to_pylist() == list(range(10))
    tensors = table["sample"].combine_chunks()
    assert np.array_equal(tensors.to_numpy_ndarray()[4], np.full((8, 8), 4))
    assert co["labels"].to_arrow()["sample"].to_pylist() == list(range(10))
    assert co["names"].to_arrow()["sample"][3].as_py() == "größe-3"
    assert co["blobs"].to_arrow()["sample"][3].as_py() == b"\3"
    lines = co["lines"].to_arrow()
    assert lines["sample"][2].as_py() == [2, 2, 2]
    assert lines["shape"][2].as_py() == [3]
    assert co["empty"].to_arrow().num_rows == 0
    assert isinstance(table, pa.Table)
    with pytest.raises(ValueError, match=r"'pairs'.*Arrow lacks"):
        co["pairs"].to_arrow()


@pytest.mark.parametrize(
    ("library", "call"),
    [
        ("dask", "co['a'].to_dask()"),
        ("xarray", "co.to_xarray()"),
        ("pyarrow", "co['a'].to_arrow()"),
    ],
)
def test_a_library_that_is_not_installed_is_named_with_its_pip_line(library, call, repo):
    co = repo.checkout(write=True)
    co.arraysets.init_arrayset("a", shape=(1,), dtype=np.uint8)[1] = np.zeros(1, np.uint8)
    co.commit("one")
    co.close()
    done = run_python(
        f"import sys; sys.modules[{library!r}] = None\n"
        "from hangar_git import Repository\n"
        "co = Repository(sys.argv[1]).checkout()\n"
        f"try: {call}\n"
        "except RuntimeError as error: print(error)\n",
        repo.path, timeout=60,
    )  # fmt: skip
    assert "pip install 'hangar-git[arrays]'" in done.stdout, done.stderr
