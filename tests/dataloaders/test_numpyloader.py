"""Batches of NumPy arrays; and which samples a loader has, whatever the framework."""

from __future__ import annotations

import json
import pickle
import shutil
import threading

import numpy as np
import pytest

from hangar_git import Repository, make_numpy_dataset
from hangar_git.dataloaders.batches import read_ahead

from .conftest import COUNT, make, value


def labels_of(batches):
    return [int(label) for batch in batches for label in batch["labels"]]


def test_batches_hold_the_samples_of_each_arrayset_side_by_side(co):
    data = make_numpy_dataset([co["images"], co["labels"], co["names"]], batch_size=16)
    batches = list(data)
    assert [len(batch["labels"]) for batch in batches] == [16, 16, 16, 2]
    assert len(data) == 4
    assert batches[1]["images"].shape == (16, 4, 3)
    for batch in batches:
        for image, label, name in zip(*batch.values(), strict=True):
            assert np.array_equal(image, value(int(label)))
            assert name == f"größe-{label}"


def test_only_samples_that_all_arraysets_have_are_given(co):
    data = make_numpy_dataset((co["labels"], co["some"]), field_names=["y", "x"], batch_size=100)
    (batch,) = data
    assert batch["y"].tolist() == list(range(0, COUNT, 3))
    assert batch["x"][:, 0].tolist() == batch["y"].tolist()


def test_keys_come_before_index_range_and_keep_their_order(co):
    data = make_numpy_dataset(co["labels"], [7, 3, 3, 40], slice(0, 2))
    assert labels_of(data) == [7, 3, 3, 40]
    assert labels_of(make_numpy_dataset(co["labels"], index_range=slice(5, 20, 5))) == [5, 10, 15]


@pytest.mark.parametrize("count", [1, 4])
def test_an_epoch_shuffles_all_samples_and_the_next_differently(co, count):
    data = make_numpy_dataset(co["labels"], shuffle=True, batch_size=count)
    first, second = labels_of(data), labels_of(data)
    assert sorted(first) == sorted(second) == list(range(COUNT))
    assert first != second
    data.set_epoch(0)
    assert labels_of(data) == first


def test_a_loop_is_resumed_in_the_middle_of_an_epoch(co):
    options = {"shuffle": True, "batch_size": 7, "seed": 3}
    data = make_numpy_dataset(co["labels"], **options)
    list(data)
    loop = iter(data)
    before = [next(loop), next(loop)]
    state = json.loads(json.dumps(data.state_dict()))
    loop.close()
    again = make_numpy_dataset(co["labels"], **options)
    again.load_state_dict(state)
    rest, following = labels_of(again), labels_of(again)
    data.set_epoch(1)
    assert labels_of(before) + rest == labels_of(data)
    assert following == labels_of(data)


def test_the_order_is_that_of_the_data_and_not_of_the_clone(co, fifty, tmp_path):
    other = make(tmp_path / "repo")
    with other.checkout() as checkout:
        theirs = labels_of(make_numpy_dataset(checkout["labels"], shuffle=True))
        ours = labels_of(make_numpy_dataset(co["labels"], shuffle=True))
        assert theirs == ours


def test_varying_shapes_are_padded_left_ragged_or_refused(co):
    (batch,) = make_numpy_dataset(co["lines"], batch_size=50, collate="pad")
    assert batch["lines"].shape == (50, 7)
    assert batch["lines_shape"][:, 0].tolist() == [1 + i % 7 for i in range(50)]
    assert batch["lines"][9].tolist() == [9, 9, 9, 0, 0, 0, 0]
    (batch,) = make_numpy_dataset(co["lines"], batch_size=50, collate="ragged")
    assert [len(line) for line in batch["lines"]] == [1 + i % 7 for i in range(50)]
    with pytest.raises(ValueError, match=r"differ in shape.*'pad'"):
        list(make_numpy_dataset(co["lines"]))


def test_samples_of_like_length_are_batched_together(co):
    data = make_numpy_dataset(
        [co["lines"], co["labels"]], batch_size=7, collate="pad", bucket_by="lines", shuffle=True
    )
    batches = list(data)
    assert sorted(labels_of(batches)) == list(range(COUNT))
    assert max(np.ptp(batch["lines_shape"]) for batch in batches) <= 1


def test_a_transform_has_the_last_word(co):
    data = make_numpy_dataset(co["labels"], transform=lambda batch: int(batch["labels"].sum()))
    assert sum(data) == sum(range(COUNT))


def test_a_dataset_is_pickled_with_the_commit_it_reads(co):
    data = make_numpy_dataset([co["images"], co["names"]], shuffle=True)
    data.load_state_dict(data.order.token(2, 1))
    copy = pickle.loads(pickle.dumps(data))
    for ours, theirs in zip(data, copy, strict=True):
        assert np.array_equal(ours["images"], theirs["images"])
        assert ours["names"] == theirs["names"]


def test_pairs_of_names_are_rows_too(repo):
    co = repo.checkout(write=True)
    scans = co.arraysets.init_arrayset(
        "scans", shape=(2,), dtype=np.uint8, contains_subsamples=True
    )
    for i in range(6):
        scans["p", i] = np.array([i, i], np.uint8)
    co.commit("six")
    co.close()
    with repo.checkout() as reader:
        (batch,) = make_numpy_dataset(reader["scans"])
        assert batch["scans"][:, 0].tolist() == [0, 1, 2, 3, 4, 5]
        (batch,) = make_numpy_dataset(reader["scans"], [("p", 4)])
        assert batch["scans"].tolist() == [[4, 4]]


# -- what cannot be ----------------------------------------------------------------------------


def test_arraysets_without_common_keys_are_refused(repo):
    co = repo.checkout(write=True)
    for name, key in (("a", 1), ("b", "1")):
        co.arraysets.init_arrayset(name, shape=(1,), dtype=np.uint8)[key] = np.zeros(1, np.uint8)
    co.commit("two")
    co.close()
    with repo.checkout() as reader, pytest.raises(ValueError, match="no samples that all"):
        make_numpy_dataset([reader["a"], reader["b"]])


def test_what_cannot_be_asked_for_is_refused(co):
    labels = co["labels"]
    with pytest.raises(KeyError, match="sample 999"):
        make_numpy_dataset([labels, co["some"]], [3, 999])
    with pytest.raises(KeyError, match="sample 1 "):
        make_numpy_dataset([labels, co["some"]], [1])
    with pytest.raises(KeyError, match="sample '3'"):
        make_numpy_dataset(labels, ["3"])
    for arraysets, keys, index_range in (
        ([], None, None), (labels, [], None), (labels, "abc", None), ("labels", None, None),
        (labels, None, slice(60, 70)), (labels, None, 3),
    ):  # fmt: skip
        with pytest.raises(ValueError):
            make_numpy_dataset(arraysets, keys, index_range)
    for options in (
        {"field_names": ["a", "b"]}, {"field_names": [1]}, {"collate": "x"}, {"prefetch": -1},
        {"bucket_by": "nope"}, {"batch_size": 0},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            make_numpy_dataset(labels, **options)


def test_an_arrayset_that_can_be_written_to_is_refused(repo):
    co = repo.checkout(write=True)
    aset = co.arraysets.init_arrayset("a", shape=(1,), dtype=np.uint8)
    aset[1] = np.zeros(1, np.uint8)
    with pytest.raises(ValueError, match="writer checkout"):
        make_numpy_dataset(aset)
    co.close()


def without_data(repo, tmp_path):
    """A clone that has the history, and no arrays."""
    shutil.copytree(repo.path, tmp_path / "clone")
    (git,) = (tmp_path / "clone").rglob("hangar/containers")
    shutil.rmtree(git.parent)
    return Repository(tmp_path / "clone")


def test_data_that_is_not_here_is_refused_by_name(fifty, tmp_path):
    clone = without_data(fifty, tmp_path)
    with clone.checkout() as checkout:
        for keys in (None, [3]):
            with pytest.raises(FileNotFoundError, match="not on this machine"):
                make_numpy_dataset(checkout["labels"], keys)


def test_samples_whose_data_is_not_here_are_left_out(fifty, tmp_path, caplog):
    clone = without_data(fifty, tmp_path)
    co = clone.checkout(write=True)
    co["labels"][100] = np.array(100)
    co.commit("one more")
    co.close()
    with clone.checkout() as checkout:
        data = make_numpy_dataset(checkout["labels"])
        assert "50 of 51 samples are left out" in caplog.text
        assert labels_of(data) == [100]
        with pytest.raises(FileNotFoundError):
            make_numpy_dataset(checkout["labels"], [100, 3])


def test_a_checkout_closed_under_a_running_loop_ends_it_with_an_error(fifty):
    checkout = fifty.checkout()
    loop = iter(make_numpy_dataset(checkout["labels"], batch_size=1, prefetch=1))
    next(loop)
    checkout.close()
    with pytest.raises(ReferenceError, match="has been closed"):
        list(loop)
    assert not [t for t in threading.enumerate() if t.name.startswith("hangar-loader")]


def test_reading_ahead_stops_with_its_reader_and_keeps_to_its_depth():
    started = []
    loop = read_ahead(lambda job: started.append(job) or job, range(100), 3)
    assert [next(loop), next(loop)] == [0, 1]
    loop.close()
    assert len(started) <= 6
    assert not [t for t in threading.enumerate() if t.name.startswith("hangar-loader")]


def test_small_arraysets_stay_in_memory_once_read(co, monkeypatch):
    data = make_numpy_dataset([co["images"], co["labels"]], shuffle=True, batch_size=8)
    first = list(data)
    copy = pickle.loads(pickle.dumps(data))
    monkeypatch.setattr(type(co["images"]._store), "get_stacked", None)  # no more reading
    data.set_epoch(0)
    for ours, again in zip(first, data, strict=True):
        assert np.array_equal(ours["images"], again["images"])
        ours["images"][:] = 0  # the caller's own
    data.set_epoch(0)
    assert all(
        np.array_equal(batch["images"][:, 0, 0], batch["labels"].astype("f4")) for batch in data
    )
    monkeypatch.undo()
    assert sorted(labels_of(copy)) == list(range(COUNT))


def test_small_arraysets_are_read_in_few_reads_and_each_sample_once(co, monkeypatch):
    monkeypatch.setattr("hangar_git.views.columns._KEPT_AT_ONCE", 20)
    store, reads = co["images"]._store, []
    read = store.get_stacked
    monkeypatch.setattr(
        store, "get_stacked", lambda digests, *args: reads.append(digests) or read(digests, *args)
    )
    data = make_numpy_dataset([co["images"], co["labels"]], shuffle=True, batch_size=2)
    assert sorted(labels_of(data)) == list(range(COUNT))
    assert len(reads) <= 2 * 3  # 3 reads of 20 and a batch cover 50 samples
    assert sum(map(len, reads)) == 2 * COUNT


def test_large_arraysets_do_not_stay_in_memory(co, monkeypatch):
    monkeypatch.setattr("hangar_git.dataloaders.batches.KEPT_BYTES", 1000)
    data = make_numpy_dataset([co["images"], co["labels"]])
    assert [column._kept is None for column in data.reader.columns] == [True, False]
    assert sorted(labels_of(data)) == list(range(COUNT))
