"""What the repository and its handles return, as the reference documents it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from repositories import USER_EMAIL, USER_NAME, image, make_repository

from hangar_git import Repository


@pytest.fixture
def two(repo, writer, aset):
    """Two commits, of which a branch "old" is at the first; a writer checkout goes on."""
    aset["a"] = image(1)
    first = writer.commit("first")
    repo.create_branch("old")
    aset["b"] = image(2)
    return first, writer.commit("second\n\nwith a body")


def test_init_returns_where_records_are_and_can_be_repeated(repo):
    for _ in range(2):
        assert Path(repo.init(USER_NAME, USER_EMAIL)) == Path(repo.path) / ".hangar"
    assert repo.initialized
    for name, email in (("", USER_EMAIL), (USER_NAME, ""), (None, USER_EMAIL)):
        with pytest.raises(ValueError):
            repo.init(name, email)


def test_a_repository_is_found_from_any_directory_in_it(repo, two):
    below = Path(repo.path) / "some" / "where"
    below.mkdir(parents=True)
    assert Path(Repository(below).path) == Path(repo.path)


def test_branches_are_named_tuples(repo, two):
    first, second = two
    made = repo.create_branch("new")
    assert type(made).__name__ == "BranchHead"
    assert (made.name, made.digest) == made == ("new", second)
    assert repo.create_branch("older", base_commit=first) == ("older", first)
    assert repo.create_branch("feature/x", base_commit=second[:10]).digest == second
    assert {"new", "old", "older", "feature/x"} < set(repo.list_branches())
    repo.force_release_writer_lock()
    assert repo.remove_branch("older") == ("older", first)
    assert "older" not in repo.list_branches()


def test_an_unmerged_branch_is_removed_only_by_force(repo, writer, two):
    main = writer.branch_name
    writer.close()
    co = repo.checkout(write=True, branch="old")
    co["images", "c"] = image(3)
    tip = co.commit("on old")
    co.close()
    repo.checkout(write=True, branch=main).close()
    with pytest.raises(RuntimeError, match="not fully merged"):
        repo.remove_branch("old")
    assert repo.remove_branch("old", force_delete=True) == ("old", tip)
    repo.create_branch("again", base_commit=tip)
    assert "c" in repo.checkout(branch="again")["images"]


def test_the_log_as_data_is_the_graph_of_commits(repo, writer, two):
    first, second = two
    contents = repo.log(return_contents=True)
    assert contents["head"] == second
    assert contents["order"] == [second, first]
    assert contents["ancestors"] == {second: [first], first: []}
    assert contents["branch_heads"] == {first: ["old"], second: [writer.branch_name]}
    spec = contents["specs"][second]
    assert set(spec) == {"commit_message", "commit_time", "commit_user", "commit_email"}
    assert spec["commit_message"] == "second\n\nwith a body"
    assert (spec["commit_user"], spec["commit_email"]) == (USER_NAME, USER_EMAIL)
    assert repo.log(branch="old", return_contents=True)["order"] == [first]
    assert repo.log(commit=first, return_contents=True)["head"] == first


def test_nothing_is_read_before_the_first_commit(tmp_path, capsys):
    repo = make_repository(tmp_path / "empty")
    with pytest.raises(ValueError):
        repo.checkout()
    repo.summary()
    assert capsys.readouterr().out == "No commits made\n"
    co = repo.checkout(write=True)
    assert co.commit_hash == ""
    with pytest.raises(RuntimeError):
        co.commit("nothing")
    co.close()


def test_a_commit_goes_before_a_branch_and_both_can_be_read(repo, two):
    first, second = two
    reader = repo.checkout(branch="old", commit=second)
    assert reader.commit_hash == second
    assert repo.checkout(branch="old").commit_hash == first
    for options in ({"branch": "nope"}, {"commit": "0" * 40}):
        with pytest.raises(ValueError):
            repo.checkout(**options)


def test_what_is_added_and_removed_is_named_in_return(writer, aset):
    assert aset.add(image(1), "a") == "a"
    assert aset.add(image(1), np.int64(7)) == 7
    assert aset.add(image(1), name="b", option="has no effect") == "b"
    assert aset.remove("a") == "a"
    assert writer.metadata.add("m", "v") == "m"
    assert writer.metadata.remove("m") == "m"
    assert writer.arraysets.remove_aset("images") == "images"


def test_readers_have_no_way_to_write(reader):
    images = reader["images"]
    for iswriteable in (reader.arraysets, images, reader.metadata):
        assert iswriteable.iswriteable is False
    for name in ("add", "remove", "__setitem__", "__delitem__"):
        assert not hasattr(images, name)
        assert not hasattr(reader.metadata, name)
    for name in ("init_arrayset", "remove_aset", "multi_add", "__delitem__"):
        assert not hasattr(reader.arraysets, name)
    for name in ("commit", "merge", "__setitem__"):
        assert not hasattr(reader, name)


def test_mappings_iterate_over_what_was_there_when_they_began(writer, aset):
    for number in range(4):
        aset[number] = image(number)
        writer.metadata[number] = str(number)
    for key in aset.keys():  # noqa: SIM118
        del aset[key]
    for key in writer.metadata.keys():  # noqa: SIM118
        del writer.metadata[key]
    assert len(aset) == len(writer.metadata) == 0
