"""Checkouts, arraysets and metadata at their edges: closed, removed, inside and after blocks."""

from __future__ import annotations

import enum
import gc
import os
from pathlib import Path

import numpy as np
import pytest
from repositories import Git, image

from hangar_git import Repository


class Name(str, enum.Enum):  # noqa: UP042  # its str() is not its value
    A = "a"


class Number(enum.IntEnum):
    ONE = 1


def test_keys_that_are_enumerations_or_numpy_scalars_are_their_values(aset):
    aset[Name.A], aset[Number.ONE], aset[np.str_("b")] = image(1), image(2), image(3)
    assert [(type(key), key) for key in aset] == [(int, 1), (str, "a"), (str, "b")]
    assert aset[Name.A][0, 0] == aset["a"][0, 0] == 1
    assert aset.get_batch([np.uint8(1), np.str_("b")])[1][0, 0] == 3


def test_every_use_of_a_closed_handle_says_so(writer, aset):
    aset["a"] = image(1)
    writer.metadata["m"] = "v"
    values = aset.values()
    handles = {"arraysets": writer.arraysets, "aset": aset, "metadata": writer.metadata}
    writer.close()
    for handle in handles.values():
        uses = {
            name: getattr(type(handle), name)
            for name in dir(type(handle))
            if isinstance(getattr(type(handle), name), property)
        }
        assert uses
        for name in uses:
            with pytest.raises(ReferenceError):
                getattr(handle, name)
        for use in (repr, len, iter, list, lambda h: "a" in h, lambda h: h["a"]):
            with pytest.raises(ReferenceError):
                use(handle)
        with pytest.raises(ReferenceError), handle if hasattr(handle, "__enter__") else aset:
            pass
    with pytest.raises(ReferenceError):
        next(values)


def test_every_use_of_a_closed_checkout_is_refused_but_closing_it(repo, writer):
    writer.arraysets.init_arrayset("images", shape=(2, 3), dtype=np.uint8)
    writer.commit("x")
    reader = repo.checkout()
    for checkout in (writer, reader):
        checkout.close()
        checkout.close()
        properties = [n for n in dir(type(checkout)) if isinstance(getattr(type(checkout), n),
                                                                   property)]  # fmt: skip
        assert {"arraysets", "metadata", "commit_hash", "diff"} <= set(properties)
        for name in properties:
            with pytest.raises(PermissionError):
                getattr(checkout, name)
        for use in (repr, lambda co: co["images"], lambda co: co.get("images", "a")):
            with pytest.raises(PermissionError):
                use(checkout)
        with pytest.raises(PermissionError), checkout:
            pass
    for use in (lambda: writer.commit("x"), writer.reset_staging_area,
                lambda: writer.__setitem__(("images", "a"), image(1)),
                lambda: writer.merge("x", "y")):  # fmt: skip
        with pytest.raises(PermissionError):
            use()


def test_a_removed_arrayset_s_handle_is_dead_though_its_name_is_taken_again(writer, aset):
    del writer.arraysets["images"]
    again = writer.arraysets.init_arrayset("images", shape=(4,), dtype="f4")
    with pytest.raises(ReferenceError):
        aset["a"] = image(1)
    again["a"] = np.ones(4, "f4")
    assert len(again) == 1


def test_a_checkout_that_nobody_holds_gives_the_lock_back(repo):
    repo.checkout(write=True)
    gc.collect()
    repo.checkout(write=True).close()


def test_commit_reset_and_close_work_inside_a_block(repo, writer, aset):
    with writer, aset:
        aset["a"] = image(1)
        first = writer.commit("inside")
        aset["b"] = image(2)
    assert set(repo.checkout(commit=first)["images"].keys()) == {"a"}
    assert writer.diff.status() == "DIRTY"
    with writer:
        writer.reset_staging_area()
    with repo.checkout(write=True) as writer:
        assert set(writer["images"].keys()) == {"a"}
        writer["images", "c"] = image(3)
        writer.close()
    writer = repo.checkout(write=True)
    assert set(writer["images"].keys()) == {"a", "c"}
    writer.close()


def test_blocks_can_be_nested_and_left_one_by_one(repo, writer, aset):
    labels = writer.arraysets.init_arrayset("labels", shape=(1,), dtype="i8")
    with aset, aset, labels:
        aset["a"] = image(1)
        with writer:
            labels["a"] = np.array([1])
        with pytest.raises(PermissionError):
            writer.arraysets.init_arrayset("more", shape=(1,), dtype="u1")
    writer.arraysets.init_arrayset("more", shape=(1,), dtype="u1")
    writer.commit("x")
    co = repo.checkout()
    assert co.arraysets.keys() == ["images", "labels", "more"]
    assert co[("images", "labels"), "a"].labels.tolist() == [1]
    co.close()


@pytest.mark.parametrize("bad", ["b c", -1, 1.5, None, "x" * 256])
def test_setting_several_samples_with_one_bad_key_sets_none(bad, writer, aset):
    with pytest.raises((ValueError, TypeError)):
        writer["images", ["good", bad]] = [image(1), image(2)]
    assert len(aset) == 0


def test_a_writer_whose_lock_was_taken_cannot_write_by_any_way(repo, writer, aset):
    unnamed = writer.arraysets.init_arrayset("u", shape=(1,), dtype="u1", named_samples=False)
    aset["a"] = image(1)
    repo.force_release_writer_lock()
    journal = Path(repo.path) / ".git/hangar/staging/journal"
    before = journal.read_bytes()
    for use in (
        lambda: writer.__setitem__(("images", "b"), image(2)),
        lambda: writer.arraysets.init_arrayset("n", shape=(1,), dtype="u1"),
        lambda: writer.arraysets.remove_aset("images"),
        lambda: writer.arraysets.multi_add({"u": np.zeros(1, "u1")}),
        lambda: unnamed.add(np.zeros(1, "u1")),
        lambda: aset.change_backend("00"),
        lambda: writer.metadata.__setitem__("m", "v"),
        aset.__enter__, writer.__enter__, writer.reset_staging_area,
    ):  # fmt: skip
        with pytest.raises(PermissionError, match="by force"):
            use()
    assert journal.read_bytes() == before
    writer.close()
    again = repo.checkout(write=True)
    assert list(again["images"].keys()) == ["a"]
    assert again.arraysets.keys() == ["images", "u"]
    again.close()


def test_another_process_is_refused_and_its_number_told(repo, writer):
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            Repository(repo.path).checkout(write=True)
        except PermissionError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    said = os.read(reading, 1000).decode()
    os.close(reading)
    os.wait()
    assert f"process {os.getpid()} " in said


def test_what_cannot_be_kept_of_an_array_is_refused(writer, aset):
    masked = np.ma.MaskedArray(image(1), mask=np.eye(2, 3))
    for not_an_array in (masked, image(1).tolist(), memoryview(image(1)), np.uint8(1), None, "x"):
        with pytest.raises(ValueError):
            aset["a"] = not_an_array
    fields = writer.arraysets.init_arrayset("f", shape=(2,), dtype=[("a", "u1"), ("b", "i4")])
    for other in (
        np.zeros(2, [("a", "u1"), ("c", "i4")]), np.zeros(2, [("b", "i4"), ("a", "u1")]),
        np.zeros(2, [("a", "u1"), ("b", "i8")]), np.zeros(2, "V5"),
    ):  # fmt: skip
        with pytest.raises(ValueError):
            fields["a"] = other
    padded = np.zeros(2, np.dtype([("a", "u1"), ("b", ">i4")], align=True))
    padded["b"] = [1, 2]
    fields["a"] = padded
    assert fields["a"]["b"].tolist() == [1, 2]
    assert len(aset) == 0
    for dtype in ([("a", "u1", (0,))], [("a", "u1"), ("b", "i4", (2, 0))], [("a", [("b", "V0")])]):
        with pytest.raises(ValueError):
            writer.arraysets.init_arrayset("z", shape=(2,), dtype=dtype)


def test_samples_of_varying_shape_and_rank_0_are_committed(repo, writer):
    scalars = writer.arraysets.init_arrayset("s", shape=(), dtype="f4", variable_shape=True)
    shapes = writer.arraysets.init_arrayset("v", shape=(3, 2), dtype="f4", variable_shape=True)
    scalars["x"] = np.array(3, "f4")
    for rows, columns in ((1, 1), (1, 2), (3, 2), (2, 1)):
        shapes[f"{rows}x{columns}"] = np.full((rows, columns), rows, "f4")
    for bad in ((4, 1), (1, 3), (2,), (1, 1, 1), (0, 1), ()):
        with pytest.raises(ValueError):
            shapes["bad"] = np.zeros(bad, "f4")
    writer.commit("x")
    co = repo.checkout()
    assert co["s", "x"].shape == ()
    assert co["s", "x"] == 3
    assert {key: sample.shape for key, sample in co["v"].items()} == {
        "1x1": (1, 1), "1x2": (1, 2), "2x1": (2, 1), "3x2": (3, 2),
    }  # fmt: skip
    co.close()


def test_field_names_can_be_any_text(repo, writer):
    dtype = np.dtype([("名", "u1"), ("größe x", "<f4"), ("'\"\\\n", "?")])
    for number, backend in enumerate((None, "00", "01", "10")):
        aset = writer.arraysets.init_arrayset(
            f"a{number}", shape=(2,), dtype=dtype, backend_opts=backend,
            variable_shape=backend == "00",
        )  # fmt: skip
        aset["a"] = np.ones(2, dtype)
    writer.commit("x")
    co = repo.checkout()
    for number in range(4):
        read = co[f"a{number}", "a"]
        assert read.dtype == dtype
        assert read.tolist() == [(1, 1.0, True)] * 2
    co.close()


def test_undoing_every_change_leaves_nothing_to_commit(writer, aset):
    aset["a"] = image(1)
    writer.metadata["m"] = "v"
    writer.commit("x")
    aset["a"], writer.metadata["m"] = image(2), "w"
    aset["a"], writer.metadata["m"] = image(1), "v"
    aset["b"] = image(3)
    del aset["b"]
    writer.arraysets.init_arrayset("n", shape=(1,), dtype="u1")
    del writer.arraysets["n"]
    del writer.arraysets["images"]
    writer.arraysets.init_arrayset("images", shape=(2, 3), dtype=np.uint8)["a"] = image(1)
    for use in (lambda: writer.commit("nothing"), writer.reset_staging_area):
        with pytest.raises(RuntimeError):
            use()


def test_a_message_of_many_lines_and_separators_is_one_line_of_the_log(
    repo, git, writer, aset, capsys
):
    tip = writer.commit("sub\x0cject \u2028 größe\n\nbody\nof it")
    repo.log()
    assert capsys.readouterr().out == f"* {tip} ({writer.branch_name}) : sub\x0cject \u2028 größe\n"
    assert git("log", "-1", "--format=%b") == "body\nof it"


def test_remove_old_refuses_whatever_is_not_data(repo, git, writer, aset):
    aset["a"] = image(1)
    writer.commit("data")
    with pytest.raises(PermissionError):
        repo.init("Ada", "ada@example.org", remove_old=True)  # a writer is open
    writer.close()
    top = Path(repo.path)
    (top / "code.py").write_text("1\n")

    def refused(why):
        with pytest.raises(PermissionError, match=why):
            repo.init("Ada", "ada@example.org", remove_old=True)
        assert "data" in git("log", "--all", "--format=%s")

    git("add", "code.py")
    refused("index")
    git("stash", "-q")
    refused("commit")
    git("stash", "pop", "-q")
    git("commit", "-qm", "code")
    refused("index")
    git("reset", "-q", "--hard", "HEAD^")
    refused("commit")  # which a reflog names
    git("reflog", "expire", "--expire=now", "--all")
    git("update-ref", "-d", "ORIG_HEAD")
    git("worktree", "add", "-q", "--detach", str(top.parent / "linked"))
    refused("worktree")
    git("worktree", "remove", str(top.parent / "linked"))
    (top / "untracked.py").write_text("2\n")
    repo.init("Ada", "ada@example.org", remove_old=True)
    assert (top / "untracked.py").read_text() == "2\n"
    assert Git(top)("log", "--all", "--format=%s", check=False) == ""
