"""Text, byte strings, nested samples, slices, batches: what samples can be, and ways to many."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from repositories import make_repository

from hangar_git import Repository


@pytest.fixture
def repo(tmp_path):
    return make_repository(tmp_path / "repo")


@pytest.fixture
def co(repo):
    co = repo.checkout(write=True)
    yield co
    co.close()


def committed(repo, co):
    """A reader of what the writer `co` has staged, committed."""
    co.commit("staged")
    co.close()
    return Repository(repo.path).checkout()


# -- text and byte strings ---------------------------------------------------------------------

TEXTS = ["", "a", "né", "日本語 \U0001f409", "tab\tand\nline\0", "x" * 9000, "y" * 300_000]


@pytest.mark.parametrize("kind", ["str", "bytes"])
def test_text_and_byte_strings_come_back_equal(kind, repo, co):
    values = TEXTS if kind == "str" else [text.encode("utf-16") for text in TEXTS]
    aset = co.arraysets.init_arrayset("notes", kind=kind)
    aset[0] = values[0]
    aset.add_batch(range(1, 4), values[1:4])
    aset.update({4: values[4], 5: values[5]}, named=values[6])
    staged = [*(aset[i] for i in range(6)), aset["named"]]
    assert staged == values
    reader = committed(repo, co)
    aset = reader["notes"]
    assert (aset.kind, aset.dtype, aset.shape, aset.variable_shape) == (
        kind, str if kind == "str" else bytes, (), True
    )  # fmt: skip
    assert list(aset.values()) == aset.get_batch([*range(6), "named"]) == values
    assert {type(value) for value in aset.values()} == {str if kind == "str" else bytes}
    assert reader["notes", 3] == values[3]
    assert f"Datatype                 : <class '{kind}'>" in repr(aset)
    reader.close()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=30))
def test_any_unicode_text_comes_back(tmp_path_factory, texts):
    repo = make_repository(tmp_path_factory.mktemp("texts") / "repo")
    co = repo.checkout(write=True)
    co.arraysets.init_arrayset("notes", kind="str").add_batch(range(len(texts)), texts)
    reader = committed(repo, co)
    assert list(reader["notes"].values()) == texts
    reader.close()


def test_what_is_not_of_the_kind_is_refused(co):
    notes = co.arraysets.init_arrayset("notes", kind="str")
    blobs = co.arraysets.init_arrayset("blobs", kind="bytes")
    for aset, wrong in (
        (notes, b"bytes"), (notes, 7), (notes, np.array("x")), (notes, None), (notes, "\ud800"),
        (blobs, "text"), (blobs, 3), (blobs, [1, 2]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"takes|no Unicode"):
            aset["k"] = wrong
    with pytest.raises(ValueError, match="takes"):
        notes.add_batch(["a", "b"], ["fine", b"not"])
    assert len(notes) == len(blobs) == 0
    blobs["k"] = bytearray(b"ab")
    assert blobs["k"] == b"ab"
    with pytest.raises(ValueError, match="read whole"):
        blobs["k", 0]
    for arguments in ({"shape": (3,)}, {"dtype": "U3"}, {"prototype": np.zeros(3)}):
        with pytest.raises(ValueError, match="takes no shape"):
            co.arraysets.init_arrayset("more", kind="str", **arguments)
    with pytest.raises(ValueError, match="array, str, bytes"):
        co.arraysets.init_arrayset("more", kind="text")
    with pytest.raises(ValueError, match="'00' alone"):
        notes.change_backend("20")


def test_text_is_never_normalised(repo, co):
    one, two = "\u00e9", "e\u0301"
    aset = co.arraysets.init_arrayset("notes", kind="str")
    aset.update({"one": one, "two": two})
    reader = committed(repo, co)
    assert (reader["notes"]["one"], reader["notes"]["two"]) == (one, two)
    reader.close()


# -- nested samples ----------------------------------------------------------------------------


def scan(number: int) -> np.ndarray:
    return np.full((4, 4), number, np.int16)


@pytest.fixture
def scans(co):
    return co.arraysets.init_arrayset("scans", prototype=scan(0), contains_subsamples=True)


def test_nested_samples_are_mappings_of_mappings(repo, co, scans):
    scans["patient-7"]["ct"] = scan(1)
    scans["patient-7"]["mri"] = scan(2)
    scans[3] = {0: scan(3), "0": scan(4)}
    scans.update({"patient-8": {"ct": scan(5)}, ("patient-8", "mri"): scan(6)})
    scans.add(scan(7), ("patient-9", 1))

    def check(aset):
        assert list(aset) == [3, "patient-7", "patient-8", "patient-9"]
        assert (len(aset), aset.num_subsamples, aset.contains_subsamples) == (4, 7, True)
        assert list(aset["patient-7"]) == ["ct", "mri"]
        assert list(aset[3]) == [0, "0"]
        assert aset[3][0][0, 0] == 3
        assert aset[3]["0"][0, 0] == 4
        assert aset["patient-8", "mri"][0, 0] == 6
        assert {k: v[0, 0] for k, v in aset["patient-7"].data.items()} == {"ct": 1, "mri": 2}
        assert [len(sample) for sample in aset.values()] == [2, 2, 2, 1]
        assert "patient-7" in aset
        assert "patient-1" not in aset
        assert ("patient-7", "ct") in aset
        assert ("patient-7", "pet") not in aset
        assert ("patient-7", "ct", "x") not in aset
        assert "ct" in aset["patient-7"]
        assert 7 not in aset["patient-7"]
        assert aset["patient-7"]["ct", 1:3, 0].tolist() == [1, 1]
        assert aset["patient-7", "ct", 1:3, 0].tolist() == [1, 1]
        assert [a[0, 0] for a in aset.get_batch([(3, 0), ("patient-9", 1)])] == [3, 7]
        assert not aset.contains_remote_references
        assert aset.remote_reference_keys == []
        assert aset["patient-7"].remote_reference_keys == []
        for wrong in ("patient-1", ("patient-7", "pet"), ("nobody", "ct")):
            with pytest.raises(KeyError):
                aset.get(wrong)
        with pytest.raises(KeyError):
            aset["patient-7"]["pet"]

    check(scans)
    assert co["scans", "patient-7"]["ct"][0, 0] == 1
    reader = committed(repo, co)
    check(reader["scans"])
    with pytest.raises(KeyError):
        reader["scans"]["patient-1"]
    assert reader["scans", "patient-9"][1][0, 0] == 7
    sample = reader["scans"]["patient-7"]
    assert "patient-7" in repr(sample)
    reader.close()
    with pytest.raises(ReferenceError):
        sample["ct"]


def test_nested_samples_are_removed_one_by_one_and_whole(repo, co, scans):
    scans.update({p: {m: scan(i) for i, m in enumerate(("ct", "mri"))} for p in "abc"})
    co.commit("first")
    del scans["a"]["ct"]
    del scans["b"]
    scans["c"].remove("ct")
    scans["c"].remove("mri")
    assert list(scans) == ["a"]
    assert list(scans["a"]) == ["mri"]
    for gone in ("b", ("a", "ct"), ("b", "ct")):
        with pytest.raises(KeyError):
            scans.remove(gone)
    scans["b"]["new"] = scan(9)
    reader = committed(repo, co)
    assert {key: list(sample) for key, sample in reader["scans"].items()} == {
        "a": ["mri"], "b": ["new"]
    }  # fmt: skip
    reader.close()


def test_a_checkout_sets_nested_samples_from_mappings(co, scans):
    co["scans", "p"] = {"ct": scan(1), "mri": scan(2)}
    assert sorted(scans["p"]) == ["ct", "mri"]
    with pytest.raises(ValueError, match="mapping of subsamples"):
        co["scans", "p"] = scan(1)
    with pytest.raises(ValueError, match="not valid"):
        scans["p"] = {"a/b": scan(1)}
    with pytest.raises(ValueError, match="takes shape"):
        scans.update({"q": {"ct": scan(1), "mri": np.zeros(3, np.int16)}})
    assert "q" not in scans
    with pytest.raises(ValueError, match="pair"):
        scans.add(scan(1), "q")
    with pytest.raises(ValueError, match="named"):
        co.arraysets.init_arrayset("x", (3,), "u1", named_samples=False, contains_subsamples=True)


def test_many_nested_samples_of_one_patient(repo, co, scans):
    scans.update({"p": {i: scan(i) for i in range(3000)}, "q": {0: scan(1)}})
    reader = committed(repo, co)
    assert list(reader["scans"]["p"]) == list(range(3000))
    assert reader["scans"]["p"][2999][0, 0] == 2999
    reader.close()


def test_nested_and_text_merge_diff_and_blame(repo, co, scans):
    co.arraysets.init_arrayset("notes", kind="str")["n"] = "base"
    scans["p"]["ct"] = scan(1)
    co.commit("base")
    trunk = co.branch_name
    co.close()
    repo.create_branch("dev")
    dev = repo.checkout(write=True, branch="dev")
    dev["scans"]["p"]["mri"] = scan(2)
    dev["notes"]["n"] = "theirs"
    dev.commit("dev")
    dev.close()
    main = repo.checkout(write=True, branch=trunk)
    main["scans"]["p"]["pet"] = scan(3)
    main.commit("main")
    main.merge("both", "dev")
    assert sorted(main["scans"]["p"]) == ["ct", "mri", "pet"]
    assert main["notes"]["n"] == "theirs"
    main.close()


# -- slices ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "backend", ["00", "01", "10", "20", {"backend": "20", "chunks": (3, 4, 5)}]
)
def test_slices_are_those_of_the_array(backend, repo, co):
    code = backend if isinstance(backend, str) else backend["backend"]
    rng = np.random.default_rng(1)
    array = rng.integers(0, 1000, (10, 11, 12)).astype(np.int32)
    aset = co.arraysets.init_arrayset(
        "volumes", (10, 11, 12), np.int32, backend_opts=backend, variable_shape=code == "00"
    )
    aset["v"] = array
    indices = [
        np.s_[2:5], np.s_[3], np.s_[-1], np.s_[..., 2], np.s_[1:9:3, ::-1, ::2], np.s_[:, 5, 1],
        np.s_[2, 3, 4], np.s_[4:4], np.s_[100:], np.s_[::-4, -3:-9:-2], np.s_[...],
        np.s_[np.int64(3), ..., 1:3],
    ]  # fmt: skip
    staged = [aset.get("v", slices=index) for index in indices]
    reader = committed(repo, co)
    for index, before in zip(indices, staged, strict=True):
        found = reader["volumes"].get("v", slices=index)
        np.testing.assert_array_equal(found, array[index])
        np.testing.assert_array_equal(before, array[index])
        assert found.shape == array[index].shape
        assert found.flags.writeable
        assert found.flags.c_contiguous
        if isinstance(index, tuple):
            np.testing.assert_array_equal(reader["volumes"][("v", *index)], array[index])
    for index in (10, -11, (0, 0, 12)):
        with pytest.raises(IndexError, match="out of range"):
            reader["volumes"].get("v", slices=index)
    for index in ((0, 0, 0, 0), (..., ...), [1, 2], "x", True, None, slice("a"), 1.5):
        with pytest.raises((ValueError, TypeError)):
            reader["volumes"].get("v", slices=(index,) if index is None else index)
    with pytest.raises(KeyError):
        reader["volumes"]["w", 0]
    reader.close()


def test_a_slice_reads_no_more_than_the_chunks_it_touches(repo, co, monkeypatch):
    import os

    array = np.random.default_rng(1).integers(0, 255, (64, 64, 64), np.uint8)
    opts = {"backend": "20", "complib": "none", "chunks": (8, 16, 64)}
    co.arraysets.init_arrayset("volumes", prototype=array, backend_opts=opts)["v"] = array
    reader = committed(repo, co)
    aset = reader["volumes"]
    aset["v", 0:1]  # opens the container
    read = []
    pread = os.pread

    def counting(fd, size, offset):
        data = pread(fd, size, offset)
        read.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", counting)
    found = aset["v", 8:16]
    assert found.nbytes <= sum(read) <= found.nbytes * 1.2
    assert len(read) == 2  # the shard's index, and neighbouring chunks at once
    read.clear()
    aset["v", 10:20, 3:5, ::2]
    assert sum(read) <= 2 * (8 * 16 * 64 + 4) + 16 * 32 + 4
    reader.close()


# -- batches -----------------------------------------------------------------------------------


def test_batches_are_added_from_mappings_lists_and_stacks(repo, co):
    stack = np.arange(5 * 6).reshape(5, 6)
    aset = co.arraysets.init_arrayset("numbers", (6,), stack.dtype)
    assert aset.add_batch([1, "a", 2, "b", 3], stack) == [1, "a", 2, "b", 3]
    assert aset.add_batch({"m": stack[0], 9: stack[1]}) == ["m", 9]
    assert aset.add_batch((f"g{i}" for i in range(2)), [stack[2], stack[3]]) == ["g0", "g1"]
    assert aset.add_batch([], []) == []
    aset.update({1: stack[4]})
    aset.update([("pair", stack[0])], named=stack[1])
    unnamed = co.arraysets.init_arrayset("unnamed", (6,), stack.dtype, named_samples=False)
    made = unnamed.add_batch(None, stack)
    assert len(set(made)) == 5
    with pytest.raises(ValueError, match="unnamed"):
        unnamed.update({"x": stack[0]})
    reader = committed(repo, co)
    aset = reader["numbers"]
    np.testing.assert_array_equal(aset.get_batch([1, "a", 9, "g1", "named"]),
                                  stack[[4, 1, 1, 3, 1]])  # fmt: skip
    np.testing.assert_array_equal(reader["unnamed"].get_batch(made), stack)
    reader.close()


def test_a_batch_of_0_d_samples_is_a_stack_of_one_dimension(co):
    scalars = co.arraysets.init_arrayset("scalars", shape=(), dtype=np.int64)
    scalars.add_batch([0, 1, 2], np.arange(3))
    assert [(one.shape, int(one)) for one in scalars.values()] == [((), 0), ((), 1), ((), 2)]


def test_a_batch_is_added_whole_or_not_at_all(co):
    aset = co.arraysets.init_arrayset("numbers", (6,), np.int64)
    good = np.arange(6)
    for names, data in (
        (["a", "b"], [good, np.arange(5)]),
        (["a", "not valid"], [good, good]),
        (["a"], [good, good]),
        (["a", True], [good, good]),
        (["a", "b"], [good, good.astype(np.int32)]),
        (["a"], None),
        ({"a": good}, [good]),
    ):
        with pytest.raises(ValueError, match=r"."):
            aset.add_batch(names, data)
    assert len(aset) == 0


def test_a_batch_outlives_a_kill_of_the_process(repo, co):
    aset = co.arraysets.init_arrayset("numbers", (6,), np.int64)
    aset.add_batch(range(100), np.arange(600).reshape(100, 6))
    co._session._lock.release()  # as the kernel does when the process dies
    after = Repository(repo.path).checkout(write=True)
    np.testing.assert_array_equal(after["numbers"][99], np.arange(594, 600))
    after.close()


def test_samples_of_a_batch_share_no_memory(repo, co):
    stack = np.arange(40 * 6).reshape(40, 6)
    aset = co.arraysets.init_arrayset("numbers", (6,), stack.dtype)
    aset.add_batch(range(40), stack)
    stack[...] = 0
    reader = committed(repo, co)
    for found in (reader["numbers"].get_batch(range(40)), list(reader["numbers"].values())):
        found[0][...] = -1
        assert [row[0] for row in found] == [-1, *range(6, 240, 6)]
        assert all(row.flags.writeable and row.flags.owndata for row in found)
    reader.close()


def test_iteration_reads_ahead_and_meets_a_missing_sample_where_it_is(repo, co):
    stack = np.random.default_rng(1).integers(0, 255, (50, 400, 500), np.uint8)
    aset = co.arraysets.init_arrayset("images", (400, 500), np.uint8)
    aset.add_batch(range(50), stack)
    reader = committed(repo, co)
    for read_ahead in (False, True):
        found = list(reader["images"].values(read_ahead=read_ahead))
        np.testing.assert_array_equal(np.stack(found), stack)
        items = dict(reader["images"].items(read_ahead=read_ahead))
        np.testing.assert_array_equal(items[49], stack[49])
    reader.close()


def test_readers_are_safe_under_threads_and_processes_and_pickle(repo, co):
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

    stack = np.arange(300 * 64).reshape(300, 64)
    co.arraysets.init_arrayset("numbers", (64,), stack.dtype).add_batch(range(300), stack)
    reader = committed(repo, co)
    aset = reader["numbers"]
    copy = pickle.loads(pickle.dumps(aset))
    assert len(pickle.dumps(aset)) < 2000
    np.testing.assert_array_equal(copy[7], stack[7])
    assert (len(copy), copy.name, list(copy)) == (300, "numbers", list(range(300)))
    writer = repo.checkout(write=True)
    with pytest.raises(RuntimeError, match="cannot be pickled"):
        pickle.dumps(writer["numbers"])
    writer.close()
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: aset.get_batch(range(300)), range(8)):
            np.testing.assert_array_equal(found, stack)
    for method in ("fork", "spawn"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context = multiprocessing.get_context(method)
            with ProcessPoolExecutor(2, context) as pool:
                sums = list(pool.map(_sum_of, [aset] * 4, range(4)))
        assert sums == [int(stack[i].sum()) for i in range(4)]
    reader.close()


def _sum_of(aset, key):
    return int(aset[key].sum() + aset.get_batch([key])[0].sum() * 0)
