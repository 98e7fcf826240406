"""Checkouts, arraysets and metadata: what is documented, and what users would expect."""

from __future__ import annotations

import os
import subprocess
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from repositories import Git, image, make_repository

from hangar_git import Repository


def test_reads_are_fresh_writable_contiguous_arrays_of_the_caller(aset):
    aset["a"] = image(1)
    for _ in range(2):
        read = aset["a"]
        np.testing.assert_array_equal(read, image(1), strict=True)
        assert read.flags.owndata
        assert read.flags.writeable
        assert read.flags.c_contiguous
        read[:] = 0


@pytest.mark.parametrize(
    "array",
    [
        np.array([0x7FC00001, 0xFFC12345], "<u4").view("<f4"),
        np.array([-0.0, 0.0], "<f8"),
        np.array(7, "<i8"),
        np.array([True, False]),
        np.array([1 + 2j], "<c16"),
        np.array(["2020-01-01"], "M8[D]"),
        np.array([b"ab", b"c"]),
        np.array(["größe", "x"]),
        np.array([(1, [2.0, 3.0])], [("a", "<i4"), ("b", "<f8", (2,))]),
        np.zeros((1,) * 31, "u1"),
    ],
    ids=lambda a: f"{a.dtype}-{a.ndim}",
)  # fmt: skip
def test_values_are_kept_bit_exactly(array, writer, repo):
    for variable in (False, True):
        aset = writer.arraysets.init_arrayset(
            f"x{variable}", prototype=array, variable_shape=variable
        )
        aset["a"] = array
    writer.commit("x")
    reader = repo.checkout()
    for name in ("xFalse", "xTrue"):
        read = reader[name, "a"]
        assert read.tobytes() == array.tobytes()
        assert (read.dtype, read.shape) == (array.dtype, array.shape)
    reader.close()


def test_big_endian_input_comes_back_equal(writer):
    aset = writer.arraysets.init_arrayset("x", shape=(3,), dtype=">f4")
    aset["a"] = np.array([1, 2, 3], ">f4")
    np.testing.assert_array_equal(aset["a"], [1, 2, 3])


@pytest.mark.parametrize("dtype", [object, np.longdouble, np.clongdouble, "U0", "V0"])
def test_dtypes_without_portable_bytes_are_refused(dtype, writer):
    with pytest.raises(ValueError):
        writer.arraysets.init_arrayset("x", shape=(2,), dtype=dtype)


@pytest.mark.parametrize(
    "key", [-1, 1.0, None, True, "", "a b", "a/b", "..x\n", "é", "a" * 256, 2**63]
)
def test_keys_that_are_not_valid_are_refused_and_absent(key, aset):
    with pytest.raises(ValueError):
        aset[key] = image(1)
    assert key not in aset
    with pytest.raises(KeyError):
        aset[key]


def test_integer_and_text_keys_are_two(aset):
    aset[1], aset["1"], aset[np.int32(2)] = image(1), image(2), image(3)
    assert list(aset.keys()) == [1, 2, "1"]
    assert aset[1][0, 0] == 1
    assert aset["1"][0, 0] == 2
    assert 1.0 not in aset
    assert True not in aset


@pytest.mark.parametrize(
    "name", ["a b", "a/b", "..", "a" * 65, "é", "", ".x", "-x", "x.", "CON", "nul.txt", None, 3]
)
def test_arrayset_names_that_are_not_valid_are_refused(name, writer):
    with pytest.raises(ValueError):
        writer.arraysets.init_arrayset(name, shape=(2,), dtype=np.uint8)


def test_names_that_differ_by_case_only_are_refused(writer, aset):
    with pytest.raises(ValueError, match="case only"):
        writer.arraysets.init_arrayset("Images", shape=(2,), dtype=np.uint8)
    writer.metadata["key"] = "v"
    with pytest.raises(ValueError, match="case only"):
        writer.metadata["Key"] = "v"


def test_selection_across_arraysets(writer, repo):
    for name, first in (("a", 1), ("b", 10)):
        aset = writer.arraysets.init_arrayset(name, shape=(2, 3), dtype=np.uint8)
        for key in ("1", "2"):
            aset[key] = image(first + int(key))
    writer.commit("x")
    co = repo.checkout()
    assert co["a"].name == "a"
    assert co["a", "1"][0, 0] == 2
    assert [x[0, 0] for x in co["a", ["1", "2"]]] == [2, 3]
    row = co[("b", "a"), "1"]
    assert type(row).__name__ == "ArraysetData"
    assert row._fields == ("b", "a")
    assert (row.a[0, 0], row.b[0, 0]) == (2, 11)
    rows = co[("a", "b"), ("1", "2")]
    assert [r.b[0, 0] for r in rows] == [11, 12]
    assert co[:, "1"].a[0, 0] == co[..., "1"].a[0, 0] == 2
    assert co.get("a", "nope") is None
    assert co.get(("a", "b"), "nope") == (None, None)
    for bad in (("a", slice(None)), (slice(1), "1"), 3, ("a",)):
        with pytest.raises((TypeError, ValueError)):
            co[bad]
    co.close()


def test_names_that_are_no_fields_are_replaced_with_a_warning(writer):
    for name in ("raw", "data.jpeg"):
        writer.arraysets.init_arrayset(name, shape=(2, 3), dtype=np.uint8)["1"] = image(1)
    with pytest.warns(UserWarning, match="invalid as namedtuple fields"):
        row = writer[("raw", "data.jpeg"), "1"]
    assert row._fields == ("raw", "_1")


def test_setting_across_arraysets_is_all_or_nothing(writer):
    for name in ("a", "b"):
        writer.arraysets.init_arrayset(name, shape=(2, 3), dtype=np.uint8)
    writer["a", "1"] = image(1)
    writer["a", [2, 3]] = [image(2), image(3)]
    writer[["a", "b"], "4"] = [image(4), image(5)]
    assert writer["b", "4"][0, 0] == 5
    for index, value in (
        (("a", [5, 6]), [image(1)]),
        ((["a", "b"], "7"), [image(1), np.zeros(2)]),
        ((["a", "b"], [8, 9]), [image(1)] * 4),
    ):
        with pytest.raises(ValueError):
            writer[index] = value
    with pytest.raises(TypeError):
        writer[:, "1"] = [image(1)]
    assert set(writer["a"].keys()) == {2, 3, "1", "4"}


def test_unnamed_samples_get_random_names_shared_by_multi_add(writer):
    for name in ("a", "b"):
        writer.arraysets.init_arrayset(name, shape=(2, 3), dtype=np.uint8, named_samples=False)
    key = writer["a"].add(image(1))
    assert writer["a"].add(image(1)) != key
    both = writer.arraysets.multi_add({"a": image(2), "b": image(3)})
    assert writer[("a", "b"), both].b[0, 0] == 3
    with pytest.raises(ValueError):
        writer.arraysets.multi_add({"a": image(2), "b": np.zeros(2)})
    assert len(writer["a"]) == 3


def test_handles_die_with_their_checkout(repo, writer, aset):
    writer.metadata["hello"] = "world"
    metadata, arraysets, diff = writer.metadata, writer.arraysets, writer.diff
    writer.commit("x")
    writer.close()
    for use in (
        lambda: aset["a"], lambda: aset.name, lambda: repr(aset), lambda: len(arraysets),
        lambda: metadata["hello"], lambda: diff.status(),  # noqa: PLW0108
    ):  # fmt: skip
        with pytest.raises(ReferenceError, match="no longer exists"):
            use()
    for use in (lambda: writer["a"], lambda: repr(writer), lambda: writer.commit("x")):
        with pytest.raises(PermissionError, match="closed"):
            use()


def test_a_block_left_by_an_exception_keeps_what_was_added(repo, writer, aset):
    with pytest.raises(ZeroDivisionError), aset, writer:
        aset["a"] = image(1)
        raise ZeroDivisionError
    writer.close()
    again = repo.checkout(write=True)
    assert again["images", "a"][0, 0] == 1
    assert again.diff.status() == "DIRTY"
    again.close()


def test_staged_changes_last_until_committed_or_reset(repo, writer, aset):
    aset["a"] = image(1)
    writer.metadata["m"] = "v"
    writer.close()
    co = repo.checkout(write=True)
    assert co["images", "a"][0, 0] == 1
    co.reset_staging_area()
    co = repo.checkout(write=True)
    assert len(co.arraysets) == len(co.metadata) == 0
    co.close()


def test_the_last_change_counts(repo, writer, aset):
    for number in range(5):
        aset["a"] = image(number)
    aset["b"] = image(9)
    del aset["b"]
    aset["c"] = image(7)
    aset.remove("c")
    aset["c"] = image(8)
    writer.commit("x")
    assert len(aset) == 2
    reader = repo.checkout()
    assert {k: v[0, 0] for k, v in reader["images"].items()} == {"a": 4, "c": 8}
    reader.close()
    del writer.arraysets["images"]
    fresh = writer.arraysets.init_arrayset("images", shape=(2, 3), dtype=np.float32)
    fresh["z"] = np.ones((2, 3), "f4")
    writer.commit("another dtype")
    reader = repo.checkout()
    assert list(reader["images"].keys()) == ["z"]
    assert reader["images"].dtype == np.float32
    reader.close()


def test_two_writers_are_refused_and_force_ends_the_first(repo, writer, aset):
    with pytest.raises(PermissionError, match="writer lock"):
        repo.checkout(write=True)
    aset["kept"] = image(1)
    assert repo.force_release_writer_lock() is True
    second = repo.checkout(write=True)
    for use in (
        lambda: aset.__setitem__("x", image(1)), lambda: writer.commit("x"),
        lambda: aset.remove("kept"), lambda: writer.metadata.add("a", "b"),
    ):  # fmt: skip
        with pytest.raises(PermissionError, match="released by force"):
            use()
    assert list(second["images"].keys()) == ["kept"]
    second.commit("second")
    second.close()


def test_a_forked_child_does_not_keep_the_lock(repo, writer):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)  # lives until the parent has tried
        os._exit(0)
    writer.close()
    repo.checkout(write=True).close()
    os.close(writing)
    os.waitpid(child, 0)
    os.close(reading)


def test_samples_are_read_from_threads_and_forked_children(reader):
    aset = reader["images"]
    errors = []

    def read():
        try:
            for _ in range(50):
                for number, key in enumerate([1, "1", "a"]):
                    np.testing.assert_array_equal(aset[key], image(number))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    child = os.fork()
    if child == 0:
        try:
            np.testing.assert_array_equal(aset["a"], image(2))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


def test_batches_are_lists_in_the_order_asked_for(reader):
    aset = reader["images"]
    assert [a[0, 0] for a in aset.get_batch(["a", 1])] == [2, 0]
    assert [a[0, 0] for a in aset.get_batch(("a", 1), n_cpus=2, start_method="fork")] == [2, 0]
    assert aset.get_batch("a")[0, 0] == 2
    with pytest.raises(ValueError):
        aset.get_batch(["a"], start_method="thread")


def test_the_library_prints_only_where_that_is_its_job(repo, capfd):
    co = repo.checkout(write=True)
    co.arraysets.init_arrayset("images", shape=(2, 3), dtype=np.uint8)["a"] = image(1)
    co.commit("one\n\nmore")
    co.close()
    repo.create_branch("b")
    repo.checkout().close()
    assert capfd.readouterr() == ("", "")
    repo.log(show_time=True, show_user=True)
    repo.summary()
    out, err = capfd.readouterr()
    assert "(b)" in out
    assert ": one" in out
    assert "Num Arrays: 1" in out
    assert err == ""
    contents = repo.log(return_contents=True)
    assert capfd.readouterr() == ("", "")
    assert contents["specs"][contents["head"]]["commit_message"].startswith("one")
    assert set(contents) == {"head", "ancestors", "specs", "order", "branch_heads"}


def test_reprs_tell_what_is_there(reader, writer):
    assert "Commit Hash  : " + reader.commit_hash in repr(reader)
    assert "- images / False" in repr(reader.arraysets)
    text = repr(reader["images"])
    for line in ("ArraysetDataReader", "(2, 3)", "numpy.uint8", "Number of Samples        : 3"):
        assert line in text
    assert "Number of Keys: 1" in repr(reader.metadata)
    assert "Base Branch" in repr(writer)


# -- where repositories are ----------------------------------------------------------------------


def test_a_directory_without_repository_warns_and_says_what_to_do(tmp_path):
    with pytest.warns(UserWarning, match="init"):
        repo = Repository(tmp_path)
    assert not repo.initialized
    with pytest.raises(RuntimeError, match="git hangar init"):
        repo.checkout()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Repository(tmp_path, exists=False)


def test_the_default_branch_is_gits(tmp_path, global_config):
    global_config("init.defaultBranch", "trunk")
    repo = make_repository(tmp_path / "r")
    assert repo.list_branches() == ["trunk"]
    assert repo.log() is None


def test_code_and_history_of_a_repository_are_left_alone(tmp_path):
    path = tmp_path / "code"
    path.mkdir()
    git = Git(path)
    git("init", "-q")
    (path / "code.py").write_text("1\n")
    git("add", ".")
    git("commit", "-qm", "code")
    tip = git("rev-parse", "HEAD")
    repo = make_repository(path)
    (path / "code.py").write_text("2\n")
    (path / "staged.py").write_text("s\n")
    git("add", "staged.py")
    co = repo.checkout(write=True)
    co.arraysets.init_arrayset("images", shape=(2, 3), dtype=np.uint8)["a"] = image(1)
    co.commit("data")
    co.close()
    assert git("status", "--porcelain") == " M code.py\nA  staged.py"
    assert git("rev-parse", "HEAD~1") == tip
    assert git("show", "--name-only", "--format=").splitlines()[0].startswith(".hangar/")
    assert "code.py" in git("ls-tree", "--name-only", "HEAD")
    with pytest.raises(PermissionError, match="other files"):
        repo.init("Ada", "ada@example.org", remove_old=True)
    git("fsck", "--strict")


def test_remove_old_starts_anew_where_there_is_only_data(repo, writer, aset):
    aset["a"] = image(1)
    writer.commit("x")
    writer.close()
    (Path(repo.path) / "notes.txt").write_text("mine")
    repo.init("Ada", "ada@example.org", remove_old=True)
    assert repo.log() is None
    assert (Path(repo.path) / "notes.txt").read_text() == "mine"
    co = repo.checkout(write=True)
    assert len(co.arraysets) == 0
    co.close()


def test_bare_repositories_and_linked_worktrees(repo, git, writer, aset, tmp_path):
    aset["a"] = image(1)
    writer.commit("x")
    writer.close()
    git("clone", "-q", "--bare", ".", str(tmp_path / "bare"))
    bare = Repository(tmp_path / "bare")
    co = bare.checkout(write=True)
    co["images"]["b"] = image(2)
    co.commit("in bare")
    assert co["images", "b"][0, 0] == 2
    with pytest.raises(FileNotFoundError):
        co["images", "a"]
    co.close()
    git("worktree", "add", "-q", "-b", "topic", str(tmp_path / "linked"))
    linked = Repository(tmp_path / "linked")
    co = linked.checkout(write=True, branch="topic")
    co["images"]["c"] = image(3)
    co.commit("in linked")
    co.close()
    assert Git(tmp_path / "linked")("status", "--porcelain") == ""
    assert git("status", "--porcelain") == ""
    assert "c" in repo.checkout(branch="topic")["images"]


def test_a_detached_head_is_refused_with_what_to_do(repo, git, writer, aset):
    aset["a"] = image(1)
    writer.commit("x")
    writer.close()
    git("checkout", "-q", "--detach")
    (Path(repo.path) / ".git/hangar/staging/branch").unlink()
    with pytest.raises(RuntimeError, match="git switch BRANCH"):
        repo.checkout(write=True)


def test_plain_git_reads_the_history(repo, git, writer, aset):
    aset["a"] = image(1)
    commit = writer.commit("first version")
    writer.close()
    assert git("log", "--format=%H %an %s") == f"{commit} Ada Lovelace first version"
    subprocess.run(["git", "tag", "v1"], cwd=repo.path, check=True)
    assert repo.checkout(commit="v1").commit_hash == commit
    assert repo.checkout(commit=commit[:8]).commit_hash == commit
