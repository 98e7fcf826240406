"""Names of samples in names of files, and which names files give to samples."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from hangar_git.errors import InvalidInputError
from hangar_git.plugins.finding import Found, Naming, Search
from hangar_git.plugins.names import (
    detail_of,
    file_stem,
    key_of_detail,
    key_of_stem,
    key_of_text,
    stem_and_extension,
)

KEYS = [0, 10, 2**63 - 1, "10", "a7", "int", ".", "a.b-c_d", ("a", 7), (7, "7"), (0, 0)]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_a_name_comes_back_from_the_name_of_its_file(key):
    assert key_of_text(file_stem(key)) == key
    assert key_of_detail(detail_of(key)) == key


@pytest.mark.parametrize("stem", ["", "a b", "int=", "int=-1", f"int={2**63}", "str=10", "int=1=2"])
def test_a_file_name_that_no_sample_can_have_is_refused(stem):
    with pytest.raises(InvalidInputError):
        key_of_stem(stem)


def test_extensions_of_two_parts_are_whole():
    assert stem_and_extension("scan.NII.GZ") == ("scan", ".nii.gz")
    assert stem_and_extension("a.b.png") == ("a.b", ".png")


def found(relative: str) -> Found:
    return Found(Path("/data") / relative, PurePosixPath(relative))


@pytest.mark.parametrize(
    ("keys_from", "nested", "replace", "key"),
    [
        ("stem", False, None, "x-1"),
        ("name", False, None, "x-1.png"),
        ("path", False, None, "cats.young.x-1"),
        ("stem", True, None, ("young", "x-1")),
        ("path", True, None, ("cats.young", "x-1")),
    ],
)
def test_names_come_from_stem_name_or_path(keys_from, nested, replace, key):
    file = found("cats/young/x-1.png")
    assert Naming(keys_from, nested, replace).key(file, "x-1", alone=True) == key


def test_characters_that_no_name_has_are_replaced_if_told():
    file = found("my scan (2).png")
    with pytest.raises(InvalidInputError):
        Naming("stem", False, None).key(file, "my scan (2)", alone=True)
    assert Naming("stem", False, "_").key(file, "my scan (2)", alone=True) == "my_scan__2_"
    assert Naming("stem", False, "_").key(found("int=7.png"), "int=7", alone=True) == 7


def test_many_samples_of_a_file_are_nested_below_its_name():
    naming = Naming("stem", True, None)
    assert naming.key(found("p7.npz"), "ct", alone=False) == ("p7", "ct")
    assert naming.key(found("p7.npy"), 3, alone=False) == ("p7", 3)
    assert naming.key(found("all.tar"), "p8/int=1", alone=False) == ("p8", 1)


def search(**options):
    defaults = {"recursive": True, "patterns": (), "is_known": lambda path: path.suffix == ".png"}
    errors: list[Exception] = []
    return Search(**(defaults | {"refused": errors.append} | options)), errors


def test_directories_are_searched_by_pattern_and_without_what_is_hidden(tmp_path):
    for name in ("b/2.png", "a/1.png", "a/1.txt", ".git/3.png", "top.png", ".DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [str(one.relative) for one in search()[0].find([tmp_path])] == [
        "a/1.png", "a/1.txt", "b/2.png", "top.png",
    ]  # fmt: skip
    assert [str(one.relative) for one in search(patterns=("*.txt", "b/*"))[0].find([tmp_path])] == [
        "a/1.txt", "b/2.png",
    ]  # fmt: skip
    assert len(search(recursive=False)[0].find([tmp_path])) == 1
    with pytest.raises(InvalidInputError, match="no files that fit"):
        search(patterns=("*.wav",))[0].find([tmp_path])


def test_a_loop_of_links_ends_and_is_named(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x.png").write_bytes(b"")
    (tmp_path / "d" / "up").symlink_to(tmp_path)
    (tmp_path / "d" / "gone.png").symlink_to(tmp_path / "nowhere")
    one, errors = search()
    assert [str(file.relative) for file in one.find([tmp_path])] == ["d/x.png"]
    assert {"links to a directory that it lies in", "links to a file that is not there"} == {
        str(error).partition(": ")[2] for error in errors
    }


def test_a_directory_that_cannot_be_read_is_named_and_the_others_are_searched(
    tmp_path, monkeypatch
):
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    scandir = os.scandir

    def refusing(path):  # root may read all there is
        if path.name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    one, errors = search()
    assert [str(file.relative) for file in one.find([tmp_path])] == ["b/2.png"]
    assert [error.filename for error in errors] == [str(tmp_path / "a")]
