"""Clone, fetch, fetch_data, streaming: parts of a repository's data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from repositories import USER_EMAIL, USER_NAME, Git, make_repository

from hangar_git import Repository
from hangar_git.errors import DataNotLocalError
from hangar_git.remotes.selecting import Stratify

from .remoteplaces import add, cloned, read, samples


def keys_here(repo: Repository, name: str, **options) -> list:
    co = repo.checkout(**options)
    found = list(co[name].keys(local=True))
    co.close()
    return found


def test_a_clone_has_history_and_no_data(clone, branch):
    co = clone.checkout()
    assert co["x"].contains_remote_references
    assert len(co["x"]) == 300
    assert co["x"].remote_reference_keys == list(range(300))
    assert list(co["x"].keys(local=True)) == []
    co.close()
    assert Git(clone.path)("status", "--porcelain") == ""
    assert clone.list_branches() == [branch, f"origin/{branch}"]


def test_a_missing_sample_says_how_to_get_it_and_that_command_does(clone, branch):
    co = clone.checkout()
    with pytest.raises(FileNotFoundError) as caught:
        co["x"][7]
    assert isinstance(caught.value, DataNotLocalError)
    commit = co.commit_hash[:12]
    assert str(caught.value).endswith(
        f"git hangar fetch-data origin {commit} --arrayset x --sample int:7"
    )
    with pytest.raises(FileNotFoundError, match="git hangar fetch-data"):
        co["x"].get_batch([1, 2])
    with pytest.raises(FileNotFoundError, match="git hangar fetch-data"):
        list(co["x"].values())
    co.close()
    clone.remote.fetch_data("origin", commit=commit, samples=["int:7"])
    assert keys_here(clone, "x") == [7]


def test_clone_refuses_where_a_repository_is(origin, server):
    with pytest.raises(ValueError, match="already"):
        origin.clone(USER_NAME, USER_EMAIL, server.bare)


def test_clone_of_nothing_leaves_nothing(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine.txt").write_text("mine")
    repo = Repository(tmp_path / "new", exists=False)
    for address in (str(tmp_path / "nowhere"), "localhost:1"):
        with pytest.raises(ConnectionError):
            repo.clone(USER_NAME, USER_EMAIL, address)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["mine.txt"]


def test_selections_by_arrayset_key_pattern_and_bytes(origin, branch, tmp_path):
    names = [f"img-{n:03}" for n in range(50)]
    add(origin, "named", names, samples(50, 3))
    clone = cloned(tmp_path / "clone", str(origin.path))
    commits = clone.remote.fetch_data("origin", branch, arrayset_names=["named"],
                                      samples=["img-00*", "img-040"])  # fmt: skip
    assert commits == [clone.log(return_contents=True)["head"]]
    assert keys_here(clone, "named") == [*names[:10], "img-040"]
    assert keys_here(clone, "x") == []
    clone.remote.fetch_data("origin", branch, arrayset_names=["x"], max_num_bytes=10 * 784 + 5)
    assert keys_here(clone, "x") == list(range(10))
    with pytest.raises(KeyError, match="nope"):
        clone.remote.fetch_data("origin", branch, arrayset_names=["nope"])
    with pytest.raises(KeyError, match="'b-\\*'"):
        clone.remote.fetch_data("origin", branch, samples=["b-*"])


def test_whole_history_and_ranges_bring_what_is_gone_now(origin, branch, tmp_path):
    first = origin.log(return_contents=True)["head"]
    middle = add(origin, "x", range(5), samples(5, 40))
    last = add(origin, "x", range(5), samples(5, 50))
    clone = cloned(tmp_path / "clone", str(origin.path))
    assert clone.remote.fetch_data("origin", commit=f"{middle}..{branch}") == [last]
    assert keys_here(clone, "x", commit=middle) == list(range(5, 300))
    found = clone.remote.fetch_data("origin", branch, retrieve_all_history=True)
    assert found == [last, middle, first]
    assert (read(clone, "x", commit=middle)[3] == samples(5, 40)[3]).all()
    assert (read(clone, "x", commit=first)[3] == samples(300)[3]).all()


def test_a_stratified_subset_is_the_same_everywhere_and_in_proportion(tmp_path):
    origin = make_repository(tmp_path / "origin")
    labels = np.repeat(np.arange(3, dtype=np.int64), [100, 50, 10]).reshape(-1, 1)
    add(origin, "labels", range(160), labels)
    add(origin, "x", range(160), samples(160))
    branch = origin.list_branches()[0]
    found = []
    for name, seed in (("one", 7), ("two", 7), ("three", 8)):
        clone = cloned(tmp_path / name, str(origin.path))
        clone.remote.fetch_data("origin", branch, stratify=Stratify("labels", count=16, seed=seed))
        found.append(keys_here(clone, "x"))
    assert found[0] == found[1] != found[2]
    assert np.bincount(labels[found[0], 0]).tolist() == [10, 5, 1]


def test_fetch_of_an_unknown_branch_is_a_value_error(clone):
    with pytest.raises(ValueError, match="nope"):
        clone.remote.fetch("origin", "nope")


def test_partial_clones_diff_merge_commit_and_push_without_data(clone, pushed, branch):
    clone.create_branch("topic")
    add(clone, "y", range(3), samples(3, 60), branch="topic")
    assert clone.diff(branch, "topic").diff.added
    clone.merge("merge", branch, "topic")
    assert clone.remote.push("origin", branch) == branch
    pushed.remote.fetch("origin", branch)
    pushed.merge("ff", branch, f"origin/{branch}")
    pushed.remote.fetch_data("origin", branch)
    assert len(read(pushed, "y")) == 3


def test_streaming_reads_everything_and_writes_nothing(clone):
    co = clone.checkout(stream="origin")
    expected = samples(300)
    assert (co["x"][5] == expected[5]).all()
    assert (co["x"].get_batch([9, 4, 9])[1] == expected[4]).all()
    assert (co["x"].get(3, slices=(slice(2, 5),)) == expected[3][2:5]).all()
    assert (np.array(list(co["x"].values())) == expected).all()
    assert co["x"].contains_remote_references
    co.close()
    assert keys_here(clone, "x") == []
    assert not list((Path(clone.path) / ".git" / "hangar").glob("containers/*"))


def test_streaming_within_a_small_cache_and_keeping(clone):
    co = clone.checkout(stream="origin", stream_cache_bytes=3 * 784)
    assert (np.array(list(co["x"].values())) == samples(300)).all()
    assert co._store._cached_bytes <= 3 * 784
    co.close()
    co = clone.checkout(stream="origin", stream_keep=True)
    co["x"].get_batch([1, 2])
    co.close()
    assert {1, 2} <= set(keys_here(clone, "x"))
    with pytest.raises(ValueError, match="stream"):
        clone.checkout(write=True, stream="origin")


def test_a_git_host_for_history_and_a_directory_for_data(origin, branch, tmp_path):
    bare = tmp_path / "bare.git"
    Git(tmp_path)("init", "--bare", "-q", str(bare))
    origin.remote.add("origin", str(bare), data=f"file://{tmp_path / 'data'}")
    origin.remote.push("origin", branch)
    clone = cloned(tmp_path / "clone", str(bare), data=f"file://{tmp_path / 'data'}")
    clone.remote.fetch_data("origin", branch)
    assert (np.array(list(read(clone, "x").values())) == samples(300)).all()
