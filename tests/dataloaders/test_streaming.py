"""Loaders and views of a clone without data, which comes from the remote as it is read."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr
from processes import in_child
from remotes.remoteplaces import Server, cloned
from repositories import Git, close
from transfer.s3server import s3, s3_process

from hangar_git import make_numpy_dataset
from hangar_git.remotes import diskcache, forking

from .conftest import COUNT, make

__all__ = ["s3", "s3_process"]


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """A server with fifty samples in each arrayset, and the repository that they are from."""
    place = tmp_path_factory.mktemp("streaming")
    with Server("--default", place / "served") as server:
        repo = make(place / "origin")
        repo.remote.add("origin", server.bare)
        repo.remote.push("origin", repo.list_branches()[0])
        yield repo, server


@pytest.fixture
def clone(pushed, tmp_path):
    """A clone of it, without data."""
    return cloned(tmp_path / "clone", pushed[1].bare)


@pytest.fixture
def co(clone):
    checkout = clone.checkout(stream="origin")
    yield checkout
    close(checkout)


def labels_of(batches):
    return [int(label) for batch in batches for label in batch["labels"]]


def stored(clone):
    return list((Path(clone.path) / ".git/hangar").glob("containers/*"))


def test_a_streamed_epoch_is_that_of_the_origin_and_stores_nothing(clone, co, pushed):
    options = {"shuffle": True, "batch_size": 8}
    arraysets = ["images", "labels", "names"]
    streamed = list(make_numpy_dataset([co[name] for name in arraysets], **options))
    with pushed[0].checkout() as reader:
        here = list(make_numpy_dataset([reader[name] for name in arraysets], **options))
    for ours, theirs in zip(streamed, here, strict=True):
        assert np.array_equal(ours["images"], theirs["images"])
        assert np.array_equal(ours["labels"], theirs["labels"])
        assert ours["names"] == theirs["names"]
    assert not stored(clone)


@pytest.mark.parametrize(("workers", "start"), [(0, None), (2, "fork"), (2, "spawn")])
def test_workers_stream_over_connections_of_their_own(co, workers, start):
    pytest.importorskip("torch")
    from torch.utils.data import DataLoader

    from hangar_git import make_torch_dataset, make_torch_iterable_dataset, make_torch_loader

    assert int(co["labels"][7]) == 7  # the connection of this process is in use
    columns = [co["labels"], co["lines"], co["names"]]
    loader = make_torch_loader(
        columns, batch_size=8, shuffle=True, collate="pad", num_workers=workers, start_method=start
    )
    epochs = [labels_of(loader), labels_of(loader)]
    alone = make_numpy_dataset(columns, batch_size=8, shuffle=True, collate="pad")
    assert epochs == [labels_of(alone), labels_of(alone)]
    if start != "spawn":
        more = {"num_workers": workers, "multiprocessing_context": start}
        data = make_torch_dataset(columns)
        batches = DataLoader(data, batch_size=25, collate_fn=data.collate, **more)
        assert labels_of(batches) == list(range(COUNT))
        stream = make_torch_iterable_dataset(columns, batch_size=8, collate="ragged")
        assert labels_of(DataLoader(stream, batch_size=None, **more)) == list(range(COUNT))


def test_tensorflow_reads_a_stream(co):
    pytest.importorskip("tensorflow")
    from hangar_git import make_tf_dataset

    found = [int(label) for (label,) in make_tf_dataset(co["labels"])]
    assert sorted(found) == list(range(COUNT))


def test_batches_are_asked_for_at_once(co, monkeypatch):
    together = threading.Barrier(3, timeout=60)

    class Slow:
        """A remote that answers when three ask."""

        def __init__(self):
            self.remote = opener()

        def export(self, digests):
            together.wait()
            return self.remote.export(digests)

    streamed = co["labels"]._store._connections
    opener = streamed.opener
    monkeypatch.setattr(streamed._pool, "_opener", Slow)
    streamed.close()
    seen = []
    data = make_numpy_dataset(
        co["labels"], index_range=slice(0, 24), batch_size=4, prefetch=3,
        transform=lambda batch: seen.append(batch["labels"].tolist()) or batch,
    )  # fmt: skip
    assert labels_of(data) == list(range(24))
    assert seen == [list(range(at, at + 4)) for at in range(0, 24, 4)]  # one by one, in order
    streamed.close()


def test_arrays_of_other_libraries_are_streamed_too(co):
    group = zarr.open(co.to_zarr(), mode="r")
    assert group["labels"][:].tolist() == list(range(COUNT))
    assert group["images"][9].tolist() == np.full((4, 3), 9).tolist()
    assert int(co["labels"].to_dask().sum().compute()) == sum(range(COUNT))
    copy = pickle.loads(pickle.dumps(co["labels"]))
    assert int(copy[3]) == 3


def test_samples_that_are_here_need_no_remote(clone, pushed):
    clone.remote.fetch_data("origin", pushed[0].list_branches()[0], arrayset_names=["labels"])
    with clone.checkout(stream="origin") as reader:
        streamed = reader["labels"]._store._connections
        streamed.close()
        streamed._pool._opener = None
        assert labels_of(make_numpy_dataset(reader["labels"])) == list(range(COUNT))


# -- in forked processes -----------------------------------------------------------------------


def test_a_forked_process_reads_through_a_process_that_ends_with_it(co):
    assert int(co["labels"][1]) == 1

    def read():
        streamed = co["labels"]._store._connections
        first = int(co["labels"][2])
        process = streamed._apart._process
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return first, int(co["labels"][3]), process.pid != streamed._apart._process.pid

    assert in_child(read) == (2, 3, True)


def test_an_error_at_the_remote_is_the_same_through_the_other_process(co):
    from hangar_git.errors import DataNotLocalError

    def read():
        with pytest.raises(DataNotLocalError):
            list(co["labels"]._store._connections.export([bytes(32)]))
        return len(list(co["labels"].values()))

    assert in_child(read) == COUNT


def test_a_forked_process_streams_from_a_bucket(s3, tmp_path):
    repo = make(tmp_path / "origin")
    bare = tmp_path / "bare.git"
    Git(tmp_path)("init", "--bare", "-q", str(bare))
    repo.remote.add("origin", str(bare), data="s3://bucket/some/where")
    repo.remote.push("origin", repo.list_branches()[0])
    clone = cloned(tmp_path / "clone", str(bare), data="s3://bucket/some/where")
    with clone.checkout(stream="origin") as reader:
        assert int(reader["labels"][1]) == 1
        assert in_child(lambda: [int(v) for v in reader["labels"].values()]) == list(range(COUNT))
        reader["labels"]._store._connections.close()


# -- kept on disk ------------------------------------------------------------------------------


def test_what_was_kept_on_disk_does_not_come_again(clone, monkeypatch):
    monkeypatch.setattr(diskcache, "_WAIT_S", -1)
    options = {"stream": "origin", "stream_disk_bytes": 64 << 20}
    with clone.checkout(**options) as reader:
        first = list(make_numpy_dataset([reader["images"], reader["lines"]], collate="ragged"))
        reader["images"]._store.close()
    assert not stored(clone)
    with clone.checkout(**options) as reader:
        streamed = reader["images"]._store._connections
        monkeypatch.setattr(streamed._pool, "_opener", None)
        streamed.close()
        again = list(make_numpy_dataset([reader["images"], reader["lines"]], collate="ragged"))
    for ours, theirs in zip(first, again, strict=True):
        assert np.array_equal(ours["images"], theirs["images"])
        assert all(map(np.array_equal, ours["lines"], theirs["lines"]))


def cache_of(clone):
    return list((Path(clone.path) / ".git/hangar/cache/containers").iterdir())


def test_the_cache_on_disk_is_bounded_and_keeps_what_its_checkout_brought(clone, monkeypatch):
    monkeypatch.setattr(diskcache, "_WAIT_S", -1)
    options = {"stream": "origin", "stream_disk_bytes": 20_000}
    held = []
    for names in (("images", "labels"), ("lines", "names")):
        with clone.checkout(**options) as reader:
            for _ in range(2):
                for name in names:
                    list(make_numpy_dataset(reader[name], batch_size=4, collate="ragged"))
                reader["labels"]._store.close()  # and what is in memory is forgotten
                held.append(set(cache_of(clone)))
                assert 0 < sum(path.stat().st_size for path in held[-1]) <= 20_000
    assert held[0] == held[1]  # full, and of this checkout
    assert held[2] == held[3] != held[1]


def test_a_damaged_cache_on_disk_is_passed_over(clone, monkeypatch, caplog):
    monkeypatch.setattr(diskcache, "_WAIT_S", -1)
    options = {"stream": "origin", "stream_disk_bytes": 64 << 20}
    with clone.checkout(**options) as reader:
        list(reader["labels"].values())
        reader["labels"]._store.close()
    for path in cache_of(clone):
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[len(data) // 3 : 2 * len(data) // 3] = bytes(len(data) // 3)
        path.write_bytes(data)
    with clone.checkout(**options) as reader, caplog.at_level(logging.WARNING):
        assert labels_of(make_numpy_dataset(reader["labels"])) == list(range(COUNT))


# -- what cannot be ----------------------------------------------------------------------------


def test_a_remote_that_goes_away_ends_the_loop_with_an_error(tmp_path):
    repo = make(tmp_path / "origin")
    with Server("--default", tmp_path / "served") as server:
        repo.remote.add("origin", server.bare)
        repo.remote.push("origin", repo.list_branches()[0])
        clone = cloned(tmp_path / "clone", server.bare)
        reader = clone.checkout(stream="origin")
        loop = iter(make_numpy_dataset(reader["labels"], batch_size=1, prefetch=1))
        next(loop)
    with pytest.raises(ConnectionError, match="localhost"):
        list(loop)
    with pytest.raises(ConnectionError):
        clone.checkout(stream="origin")
    reader.close()


def test_no_data_here_and_no_stream_names_both_ways(clone):
    match = r"fetch-data.*stream='origin'"
    with clone.checkout() as reader, pytest.raises(FileNotFoundError, match=match):
        make_numpy_dataset(reader["labels"])
    with pytest.raises(KeyError, match="nowhere"):
        clone.checkout(stream="nowhere")


def test_connections_are_made_only_as_needed_and_used_again(co):
    streamed = co["labels"]._store._connections
    for key in range(5):
        co["labels"][key]
    assert len(streamed._pool.free) == 1
    assert not forking._forked
