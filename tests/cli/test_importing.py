"""``git hangar import`` and ``export``, beyond single good files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hangar_git import Repository


def staged_samples(shell):
    return json.loads(shell("status", "--json"))["arraysets"]["images"]["samples"]


def test_a_stack_is_imported_as_integers_and_exported_beside_strings(filled, tmp_path):
    stack = np.arange(18, dtype=np.uint8).reshape(3, 2, 3)
    np.save(tmp_path / "stack.npy", stack)
    np.savez(tmp_path / "named.npz", **{"1": stack[0]})
    said = filled("import", "images", str(tmp_path / "stack.npy"), str(tmp_path / "named.npz"))
    assert "4 samples" in said
    assert staged_samples(filled)["added"] == [0, 1, 2, "1"]
    filled("commit", "-m", "more")
    out = tmp_path / "out"
    filled("export", "images", "-o", str(out), "-s", "int:1", "-s", "1")
    np.testing.assert_array_equal(np.load(out / "int=1.npy"), stack[1])
    np.testing.assert_array_equal(np.load(out / "1.npy"), stack[0])
    assert "exists" in filled.fails("export", "images", "-o", str(out))
    assert len(list(out.iterdir())) == 2
    filled("export", "images", "-o", str(out), "--overwrite")
    assert len(list(out.iterdir())) == 6
    assert "int:2" in filled.fails("export", "images", "-s", "2")
    filled("export", "images", "-f", "npz", "-o", str(out))
    with np.load(out / "images.npz") as archive:
        assert sorted(archive.files) == ["1", "a", "b", "int=0", "int=1", "int=2"]
    # What was exported is imported as what it was.
    (out / "images.npz").unlink()
    assert "6 samples" in filled("import", "--overwrite", "images", str(out))
    assert "nothing staged" in filled("status")


def test_a_failed_import_keeps_what_was_staged_before(filled, tmp_path):
    co = Repository(filled.path).checkout(write=True)
    co["images"]["a"] = np.full((2, 3), 50, np.uint8)
    co["images"]["new"] = np.full((2, 3), 51, np.uint8)
    del co["images"]["b"]
    co.close()
    before = staged_samples(filled)
    stack = np.full((4, 2, 3), 9, np.uint8)
    np.savez(tmp_path / "1.npz", a=stack[0], b=stack[1], new=stack[2], more=stack[3])
    np.save(tmp_path / "2.npy", stack[0, :1])
    said = filled.fails("import", "--overwrite", "images", str(tmp_path / "1.npz"),
                        str(tmp_path / "2.npy"))  # fmt: skip
    assert "2.npy" in said
    assert "nothing was staged" in said
    assert staged_samples(filled) == before
    filled("commit", "-m", "what was staged before")
    co = Repository(filled.path).checkout()
    assert {key: int(array[0, 0]) for key, array in co["images"].items()} == {"a": 50, "new": 51}
    co.close()


def test_one_name_in_two_files_is_refused(filled, tmp_path):
    for directory in ("one", "two"):
        (tmp_path / directory).mkdir()
        np.save(tmp_path / directory / "x.npy", np.zeros((2, 3), np.uint8))
    said = filled.fails("import", "images", str(tmp_path / "one"), str(tmp_path / "two"))
    assert str(tmp_path / "one" / "x.npy") in said
    assert str(tmp_path / "two" / "x.npy") in said
    assert "nothing staged" in filled("status")


def test_what_a_directory_holds_besides_files_is_left_out(filled, tmp_path):
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / ".DS_Store").write_bytes(b"rubbish")
    assert "no files" in filled.fails("import", "images", str(tmp_path / "d"))
    np.save(tmp_path / "d" / "x.npy", np.zeros((2, 3), np.uint8))
    np.save(tmp_path / "d" / "sub" / "y.npy", np.zeros((2, 3), np.uint8))
    assert "1 sample " in filled("import", "images", str(tmp_path / "d"))
    (tmp_path / "d" / "notes.txt").write_text("")
    assert "notes.txt" in filled.fails("import", "--overwrite", "images", str(tmp_path / "d"))


def test_samples_without_names_are_added_each_time(hangar, tmp_path):
    hangar("arrayset", "create", "images", "uint8", "2", "3", "--not-named")
    np.save(tmp_path / "x.npy", np.zeros((2, 3), np.uint8))
    for _ in range(2):
        hangar("import", "images", str(tmp_path / "x.npy"))
    assert "2 samples" in hangar("arrayset", "list")


def test_another_branch_can_be_imported_to(filled, tmp_path):
    filled("branch", "create", "dev")
    np.save(tmp_path / "x.npy", np.zeros((2, 3), np.uint8))
    assert "'dev'" in filled("import", "--branch", "dev", "images", str(tmp_path / "x.npy"))
    assert json.loads(filled("status", "--json"))["branch"] == "dev"
    assert "nope" in filled.fails("import", "--branch", "nope", "images", str(tmp_path / "x.npy"))


@pytest.mark.parametrize("dtype", ["Float32", "BOOL", "complex64", "<U5", "datetime64[s]"])
def test_dtypes_are_those_of_the_reference_and_of_numpy(dtype, hangar):
    hangar("arrayset", "create", "x", dtype, "2")
    name = dtype.lower() if dtype[0].isalpha() else dtype
    co = Repository(hangar.path).checkout(write=True)
    assert co["x"].dtype == np.dtype(name)
    co.close()
