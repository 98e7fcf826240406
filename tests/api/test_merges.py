"""Diff and merge through the API: what differs, what conflicts, and how conflicts are settled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from repositories import Git, image, make_repository

from hangar_git import Repository
from hangar_git.api.diff import MetadataRecordKey, RawDataRecordKey
from hangar_git.digest import array_digest

KINDS = ("t1", "t21", "t22", "t3")


class Sides:
    """A repository with branches "ours" and "theirs", both at a commit of samples and metadata."""

    def __init__(self, path) -> None:
        self.repo = make_repository(path)
        self.git = Git(path)
        co = self.repo.checkout(write=True)
        images = co.arraysets.init_arrayset("images", shape=(2, 3), dtype=np.uint8)
        for number, key in enumerate(["a", "b", "c", 1]):
            images[key] = image(number)
            co.metadata[f"m{key}"] = f"base {key}"
        self.base = co.commit("base")
        co.close()
        for name in ("ours", "theirs"):
            self.repo.create_branch(name)

    def on(self, branch, function) -> str:
        """Commit what `function` does to a writer checkout of `branch`."""
        co = self.repo.checkout(write=True, branch=branch)
        try:
            function(co)
            return co.commit(f"on {branch}")
        finally:
            co.close()

    def both(self, ours, theirs) -> None:
        self.on("ours", ours)
        self.on("theirs", theirs)

    def merge(self, **options) -> str:
        return self.repo.merge("merged", "ours", "theirs", **options)

    def conflicts(self):
        return self.repo.diff("ours", "theirs").conflict

    def samples(self, branch="ours", name="images") -> dict:
        co = self.repo.checkout(branch=branch)
        try:
            return {key: int(array[0, 0]) for key, array in co[name].items()}
        finally:
            co.close()

    def metadata(self, branch="ours") -> dict:
        co = self.repo.checkout(branch=branch)
        try:
            return dict(co.metadata.items())
        finally:
            co.close()

    def tree(self, branch) -> str:
        return self.git("rev-parse", f"{branch}:.hangar")


@pytest.fixture
def sides(tmp_path):
    return Sides(tmp_path / "repo")


def setting(key, number, name="images"):
    """A function that sets one sample."""

    def function(co):
        co[name, key] = image(number)

    return function


def removing(key):
    def function(co):
        del co["images"][key]

    return function


def saying(key, value):
    """A function that sets, or with None removes, a piece of metadata."""

    def function(co):
        if value is None:
            del co.metadata[key]
        else:
            co.metadata[key] = value

    return function


def digest(number) -> str:
    return array_digest(image(number)).hex()


# -- what is staged, and what differs ------------------------------------------------------------


def test_status_is_dirty_only_while_something_would_change(sides):
    co = sides.repo.checkout(write=True)
    assert co.diff.status() == "CLEAN"
    co["images", "a"] = image(9)
    assert co.diff.status() == "DIRTY"
    co["images", "a"] = image(0)
    assert co.diff.status() == "CLEAN"
    co.metadata["ma"] = "other"
    assert co.diff.status() == "DIRTY"
    co.metadata["ma"] = "base a"
    assert co.diff.status() == "CLEAN"
    co.arraysets.init_arrayset("empty", shape=(1,), dtype=np.uint8)
    assert co.diff.status() == "DIRTY"
    del co.arraysets["empty"]
    assert co.diff.status() == "CLEAN"
    with pytest.raises(RuntimeError):
        co.commit("nothing")
    co.close()


def test_staged_changes_are_named_tuples_of_what_came_went_and_changed(sides):
    co = sides.repo.checkout(write=True)
    co["images", "new"] = image(10)
    co["images", "a"] = image(11)
    del co["images"]["b"]
    co.metadata["mnew"] = "x"
    co.metadata["ma"] = "y"
    del co.metadata["mb"]
    co.arraysets.init_arrayset("labels", shape=(), dtype="<i8")
    diff, conflict = co.diff.staged()
    co.close()
    assert diff._fields == ("added", "deleted", "mutated")
    assert diff.added._fields == ("schema", "samples", "metadata")
    new, a, b = (RawDataRecordKey("images", key) for key in ("new", "a", "b"))
    assert {k: v.data_hash for k, v in diff.added.samples.items()} == {new: digest(10)}
    assert {k: v.data_hash for k, v in diff.mutated.samples.items()} == {a: digest(11)}
    assert {k: v.data_hash for k, v in diff.deleted.samples.items()} == {b: digest(1)}
    assert set(diff.added.metadata) == {MetadataRecordKey("mnew")}
    assert set(diff.mutated.metadata) == {MetadataRecordKey("ma")}
    assert set(diff.deleted.metadata) == {MetadataRecordKey("mb")}
    assert set(diff.added.schema) == {"labels"}
    assert diff.added.schema["labels"]._fields == (
        "schema_hash", "schema_dtype", "schema_is_var", "schema_max_shape", "schema_is_named",
        "schema_default_backend",
    )  # fmt: skip
    assert diff.deleted.schema == diff.mutated.schema == {}
    assert conflict.conflict is False
    assert [getattr(conflict, kind) for kind in KINDS] == [({}, {}, {})] * 4


def test_branches_and_commits_are_compared_alike_by_readers_and_writers(sides):
    tip = sides.on("theirs", setting("new", 10))
    reader = sides.repo.checkout(branch="ours")
    writer = sides.repo.checkout(write=True, branch="ours")
    found = reader.diff.branch("theirs")
    assert set(found.diff.added.samples) == {("images", "new")}
    assert (
        reader.diff.commit(tip) == writer.diff.branch("theirs") == writer.diff.commit(tip) == found
    )
    assert not found.conflict.conflict
    writer.close()
    reader.close()
    back = sides.repo.diff("theirs", "ours").diff
    assert set(back.deleted.samples) == {("images", "new")}


def test_a_diff_of_diverged_branches_tells_what_theirs_changed(sides):
    sides.both(setting("x", 20), setting("y", 21))
    found = sides.repo.diff("ours", "theirs")
    assert set(found.diff.added.samples) == {("images", "y")}
    assert not found.diff.deleted.samples
    assert not found.conflict.conflict


# -- merges without conflicts --------------------------------------------------------------------


def test_a_fast_forward_makes_no_commit(sides):
    tip = sides.on("theirs", setting("new", 10))
    assert sides.merge() == tip
    assert sides.git("rev-parse", "ours") == tip
    assert sides.merge() == tip


def test_merging_what_is_merged_already_changes_nothing(sides):
    tip = sides.on("ours", setting("new", 10))
    assert sides.merge() == tip


def test_a_three_way_merge_takes_the_changes_of_both_sides(sides):
    def ours(co):
        co["images", "x"] = image(20)
        co["images", "a"] = image(21)
        del co["images"]["c"]
        co.metadata["mx"] = "ours"
        co.arraysets.init_arrayset("labels", shape=(2, 3), dtype=np.uint8)["l"] = image(50)

    def theirs(co):
        co["images", "y"] = image(22)
        co["images", "b"] = image(23)
        co.metadata["my"] = "theirs"
        del co.metadata["mc"]
        co.arraysets.init_arrayset("masks", shape=(2, 3), dtype=np.uint8)["m"] = image(60)

    sides.both(ours, theirs)
    tips = [sides.git("rev-parse", name) for name in ("ours", "theirs")]
    merged = sides.merge()
    assert sides.samples() == {1: 3, "a": 21, "b": 23, "x": 20, "y": 22}
    assert (sides.samples(name="labels"), sides.samples(name="masks")) == ({"l": 50}, {"m": 60})
    assert set(sides.metadata()) == {"ma", "mb", "m1", "mx", "my"}
    assert sides.git("log", "-1", "--format=%P %s", merged) == " ".join([*tips, "merged"])
    sides.git("fsck", "--strict")


def test_the_same_change_on_both_sides_is_no_conflict(sides):
    def same(co):
        co["images", "a"] = image(30)
        co["images", "new"] = image(31)
        del co["images"]["b"]
        co.metadata["ma"] = "same"
        del co.metadata["mb"]

    def more(co):
        same(co)
        co["images", "more"] = image(32)

    sides.both(same, more)
    sides.merge()
    assert sides.samples() == {1: 3, "a": 30, "c": 2, "more": 32, "new": 31}


def test_a_writer_checkout_shows_what_it_merged(sides):
    sides.both(setting("x", 20), setting("y", 21))
    co = sides.repo.checkout(write=True, branch="ours")
    images = co["images"]
    tip = co.merge("merged", "theirs")
    assert co.commit_hash == tip
    assert images["y"][0, 0] == 21
    assert len(images) == 6
    assert co.diff.status() == "CLEAN"
    co["images", "z"] = image(22)
    co.commit("after")
    co.close()
    assert sides.samples()["z"] == 22


def test_staged_changes_are_in_the_way_of_a_merge(sides):
    sides.on("theirs", setting("y", 21))
    co = sides.repo.checkout(write=True, branch="ours")
    co["images", "x"] = image(20)
    with pytest.raises(RuntimeError, match="staged"):
        co.merge("merged", "theirs")
    assert co["images", "x"][0, 0] == 20
    co.close()


def test_a_branch_that_does_not_exist_is_refused(sides):
    for names in (("ours", "nope"), ("nope", "theirs")):
        with pytest.raises(ValueError):
            sides.repo.merge("x", *names)


def test_merging_needs_no_arrays(sides, tmp_path):
    sides.both(setting("x", 20), setting("y", 21))
    sides.git("clone", "-q", "--bare", ".", str(tmp_path / "bare"))
    bare = Repository(tmp_path / "bare")
    bare.merge("merged", "ours", "theirs")
    sides.merge()
    assert Git(tmp_path / "bare")("rev-parse", "ours:.hangar") == sides.tree("ours")


# -- conflicts -----------------------------------------------------------------------------------

SAMPLES = {
    "t1": ("x", setting("x", 20), setting("x", 21)),
    "t21": ("a", removing("a"), setting("a", 21)),
    "t22": ("a", setting("a", 20), removing("a")),
    "t3": ("a", setting("a", 20), setting("a", 21)),
}
METADATA = {
    "t1": ("mx", saying("mx", "1"), saying("mx", "2")),
    "t21": ("ma", saying("ma", None), saying("ma", "2")),
    "t22": ("ma", saying("ma", "1"), saying("ma", None)),
    "t3": ("ma", saying("ma", "1"), saying("ma", "2")),
}


def _schema_kind(kind):
    def init(dtype):
        return lambda co: co.arraysets.init_arrayset("x", shape=(2,), dtype=dtype)

    def remake(dtype):
        def function(co):
            del co.arraysets["images"]
            co.arraysets.init_arrayset("images", shape=(2,), dtype=dtype)

        return function

    def drop(co):
        del co.arraysets["images"]

    return {
        "t1": ("x", init("u1"), init("f4")),
        "t21": ("images", drop, remake("f4")),
        "t22": ("images", setting("a", 20), drop),
        "t3": ("images", remake("f4"), remake("f8")),
    }[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["samples", "metadata", "schema"])
def test_each_type_of_conflict_is_listed_and_refuses_the_merge(what, kind, sides):
    table = {"samples": SAMPLES, "metadata": METADATA}.get(what)
    key, ours, theirs = table[kind] if table else _schema_kind(kind)
    record = {
        "samples": RawDataRecordKey("images", key), "metadata": MetadataRecordKey(key),
        "schema": key,
    }[what]  # fmt: skip
    sides.both(ours, theirs)
    before = [sides.git("rev-parse", name) for name in ("ours", "theirs")]
    found = sides.conflicts()
    assert found.conflict is True
    listed = {
        (one, part, name)
        for one in KINDS
        for part in ("samples", "metadata", "schema")
        for name in getattr(getattr(found, one), part)
    }
    assert listed == {(kind, what, record)}
    with pytest.raises(ValueError, match=str(key)) as caught:
        sides.merge()
    (conflict,) = caught.value.conflicts
    assert conflict.kind == kind
    assert [sides.git("rev-parse", name) for name in ("ours", "theirs")] == before
    assert sides.git("status", "--porcelain") == ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["samples", "metadata", "schema"])
@pytest.mark.parametrize("policy", ["ours", "theirs", "base"])
def test_a_policy_settles_each_type_of_conflict(policy, what, kind, sides):
    table = {"samples": SAMPLES, "metadata": METADATA}.get(what)
    _, ours, theirs = table[kind] if table else _schema_kind(kind)
    sides.both(ours, theirs)
    wanted = sides.tree({"base": sides.base}.get(policy, policy))
    sides.merge(resolve=policy)
    assert sides.tree("ours") == wanted


def test_a_callable_settles_each_conflict_in_its_own_way(sides):
    def ours(co):
        for key in ("a", "b", "c", 1):
            co["images", key] = image(20)
        co.metadata["ma"] = "ours"
        co["images", "kept"] = image(1)

    def theirs(co):
        for key in ("a", "b", "c", 1):
            co["images", key] = image(30)
        co.metadata["ma"] = "theirs"

    asked = []

    def choose(conflict):
        asked.append((conflict.arrayset, conflict.key, conflict.kind))
        if conflict.arrayset is None:
            return "both"
        return {"a": "ours", "b": "theirs", "c": image(99), 1: "delete"}[conflict.key]

    sides.both(ours, theirs)
    sides.merge(resolve=choose)
    assert sorted(asked, key=str) == sorted(
        [("images", key, "t3") for key in ("a", "b", "c", 1)] + [(None, "ma", "t3")], key=str
    )
    assert sides.samples() == {"a": 20, "b": 30, "c": 99, "kept": 1}
    assert sides.metadata()["ma"] == "both"


def test_what_a_callable_leaves_is_still_a_conflict(sides):
    def change(number):
        def function(co):
            co["images", "a"] = image(number)
            co.metadata["ma"] = str(number)

        return function

    sides.both(change(20), change(21))
    with pytest.raises(ValueError) as caught:
        sides.merge(resolve=lambda conflict: "ours" if conflict.arrayset else None)
    assert [conflict.key for conflict in caught.value.conflicts] == ["ma"]


def test_choices_that_cannot_be_are_refused_and_change_nothing(sides):
    sides.both(setting("a", 20), setting("a", 21))
    before = sides.git("rev-parse", "ours")
    for choice in ("loudest", lambda c: "loudest", lambda c: np.zeros(3), lambda c: 7):
        with pytest.raises(ValueError):
            sides.merge(resolve=choice)
    assert sides.git("rev-parse", "ours") == before
    sides.merge(resolve="ours")


def test_an_array_settles_a_conflict_of_samples_of_varying_shape(sides):
    def init(number):
        def function(co):
            aset = co.arraysets.init_arrayset(
                "v", shape=(9, 9), dtype=np.uint8, variable_shape=True
            )
            aset["a"] = image(number)

        return function

    sides.both(init(1), init(2))
    taken = np.arange(8, dtype=np.uint8).reshape(4, 2)
    sides.merge(resolve=lambda conflict: taken)
    co = sides.repo.checkout(branch="ours")
    np.testing.assert_array_equal(co["v", "a"], taken, strict=True)
    co.close()


def test_the_newest_change_of_the_sample_wins_not_the_newest_tip(sides, monkeypatch):
    def at(seconds, branch, function):
        for who in ("AUTHOR", "COMMITTER"):
            monkeypatch.setenv(f"GIT_{who}_DATE", f"{seconds} +0000")
        tip = sides.on(branch, function)
        stamped = sides.git(
            "commit-tree", f"{tip}^{{tree}}", "-p", f"{tip}^", "-m", "dated",
            GIT_COMMITTER_DATE=f"{seconds} +0000", GIT_AUTHOR_DATE=f"{seconds} +0000",
        )  # fmt: skip
        sides.git("update-ref", f"refs/heads/{branch}", stamped)

    at(2_000_000_000, "ours", setting("a", 20))
    at(2_000_000_100, "theirs", setting("a", 21))
    at(2_000_000_200, "ours", setting("unrelated", 1))
    sides.merge(resolve="newest")
    assert sides.samples()["a"] == 21
    assert sides.samples()["unrelated"] == 1


# -- policies that are committed -----------------------------------------------------------------


def committed_policy(sides, policy):
    """Commit a merge policy for "images" to both branches."""

    def function(co):
        area = co._session.area
        area.change_schema("images", replace(co["images"]._schema, merge=policy))

    tip = sides.on("ours", function)
    sides.git("update-ref", "refs/heads/theirs", tip)


@pytest.mark.parametrize(("policy", "taken"), [("ours", 20), ("theirs", 21)])
def test_a_committed_policy_settles_samples_and_nothing_else(policy, taken, sides):
    committed_policy(sides, policy)
    sides.both(setting("a", 20), setting("a", 21))
    assert not sides.repo.diff("theirs", "ours").diff.mutated.schema
    sides.merge()
    assert sides.samples()["a"] == taken
    sides.git("update-ref", "refs/heads/theirs", sides.git("rev-parse", "ours"))
    sides.both(saying("ma", "1"), saying("ma", "2"))
    with pytest.raises(ValueError, match="ma"):
        sides.merge()


def test_a_committed_policy_goes_before_the_one_that_is_given_unless_it_fails(sides):
    committed_policy(sides, "theirs")
    sides.both(setting("a", 20), setting("a", 21))
    sides.merge(resolve="ours")
    assert sides.samples()["a"] == 21
    sides.git("update-ref", "refs/heads/theirs", sides.git("rev-parse", "ours"))
    committed_policy(sides, "fail")
    sides.both(setting("a", 30), setting("a", 31))
    with pytest.raises(ValueError):
        sides.merge()
    sides.merge(resolve="ours")
    assert sides.samples()["a"] == 30


# -- criss-cross ---------------------------------------------------------------------------------


def test_criss_cross_merges_are_clean_where_the_bases_agree(sides):
    sides.both(setting("x", 20), setting("y", 21))
    ours, theirs = (sides.git("rev-parse", name) for name in ("ours", "theirs"))
    sides.repo.merge("m1", "ours", theirs)
    sides.repo.merge("m2", "theirs", ours)
    assert len(sides.git("merge-base", "--all", "ours", "theirs").split()) == 2
    sides.both(setting("x", 30), setting("y", 31))
    sides.merge()
    assert sides.samples() == {1: 3, "a": 0, "b": 1, "c": 2, "x": 30, "y": 31}


def test_criss_cross_merges_settled_differently_conflict_again(sides):
    sides.both(setting("a", 20), setting("a", 21))
    ours, theirs = (sides.git("rev-parse", name) for name in ("ours", "theirs"))
    sides.repo.merge("m1", "ours", theirs, resolve="ours")
    sides.repo.merge("m2", "theirs", ours, resolve="ours")
    assert (sides.samples("ours")["a"], sides.samples("theirs")["a"]) == (20, 21)
    assert set(sides.conflicts().t3.samples) == {("images", "a")}
    with pytest.raises(ValueError):
        sides.merge()
    sides.merge(resolve="theirs")
    assert sides.samples()["a"] == 21


def test_criss_cross_metadata_settled_differently_conflicts_from_both_sides(sides):
    sides.both(saying("ma", "1"), saying("ma", "2"))
    ours, theirs = (sides.git("rev-parse", name) for name in ("ours", "theirs"))
    sides.repo.merge("m1", "ours", theirs, resolve="ours")
    sides.repo.merge("m2", "theirs", ours, resolve="ours")
    for names in (("ours", "theirs"), ("theirs", "ours")):
        assert set(sides.repo.diff(*names).conflict.t3.metadata) == {("ma",)}
        with pytest.raises(ValueError, match="ma"):
            sides.repo.merge("x", *names)


def test_criss_cross_merges_settled_alike_are_settled(sides):
    sides.both(setting("a", 20), setting("a", 21))
    ours, theirs = (sides.git("rev-parse", name) for name in ("ours", "theirs"))
    sides.repo.merge("m1", "ours", theirs, resolve="ours")
    sides.repo.merge("m2", "theirs", ours, resolve="theirs")
    sides.both(setting("x", 1), setting("y", 2))
    assert not sides.conflicts().conflict
    sides.merge()
    assert sides.samples()["a"] == 20


# -- the user's code ------------------------------------------------------------------------------


def test_code_is_merged_with_the_data_and_its_conflicts_refuse_both(sides):
    def code(branch, name, text):
        sides.git("switch", "-q", branch)
        (sides.git.path / name).write_text(text)
        sides.git("add", name)
        sides.git("commit", "-qm", name)

    sides.both(setting("x", 20), setting("y", 21))
    code("ours", "one.py", "1\n")
    code("theirs", "two.py", "2\n")
    sides.git("switch", "-q", "ours")
    sides.merge()
    assert (sides.git.path / "two.py").read_text() == "2\n"
    assert sides.git("status", "--porcelain") == ""
    code("ours", "both.py", "ours\n")
    code("theirs", "both.py", "theirs\n")
    sides.git("switch", "-q", "ours")
    before = sides.git("rev-parse", "HEAD")
    with pytest.raises(ValueError, match=r"both\.py"):
        sides.merge(resolve="ours")
    assert sides.git("rev-parse", "HEAD") == before
    assert sides.git("status", "--porcelain") == ""
