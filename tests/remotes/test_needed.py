"""What commits bring in, against a count by hand; also of merges, tags and arriving objects."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hangar_git import Repository
from hangar_git.records.counts import RecordCounts
from hangar_git.records.gitrepo import GitRepository, Oid
from hangar_git.records.snapshot import Snapshot
from hangar_git.remotes.needed import needed_by_file, needed_digests
from remotes.clones import Clone, sample


@pytest.fixture
def clone(tmp_path):
    return Clone.made(tmp_path / "clone", "nowhere")


def named(clone: Clone, commit: str) -> set[bytes]:
    """Digests of all records of one commit."""
    git = GitRepository(clone.path)
    counts = RecordCounts(clone.path / ".git/hangar/counts")
    snapshot = Snapshot(git, git.hangar_tree(Oid(hex=commit)), counts)
    return {bytes(v)[:32] for aset in snapshot.arraysets() for v in aset.load_all().values()}


def commits(clone: Clone, *revisions: str) -> list[str]:
    return clone.git("rev-list", *revisions).split()


def test_only_new_samples_of_changed_record_files_are_needed(clone):
    before = clone.commit(range(200))
    clone.commit([3, 500])
    clone.git("tag", "-a", "-m", "x", "v1")
    assert set(clone.needed("HEAD", before).values()) == {("a", "#500")}  # 3 is as it was
    assert clone.needed("v1", before) == clone.needed("HEAD", before)
    assert len(clone.needed("HEAD")) == 201
    assert clone.needed("HEAD", "HEAD") == {}


def test_a_known_commit_that_is_not_here_is_passed_over(clone):
    clone.commit(range(3))
    git = GitRepository(clone.path)
    strange = Oid(hex="1" * 40)
    assert len(needed_digests(git, [Oid(hex=clone.tip())], [strange])) == 3


def test_a_sample_that_was_removed_again_is_needed_by_history(clone):
    before = clone.tip()
    clone.commit([1, 2])
    co = Repository(clone.path).checkout(write=True)
    co["a"].remove(1)
    co.commit("without it")
    co.close()
    assert {key for _, key in clone.needed("HEAD", before).values()} == {"#1", "#2"}


def test_replaced_commits_and_graphs_do_not_hide_what_is_sent(clone):
    before = clone.commit([1])
    clone.commit([2])
    clone.git("replace", clone.tip(), before)
    assert {key for _, key in clone.needed(clone.tip("refs/heads/main"), before).values()} == {"#2"}


@pytest.mark.parametrize("seed", range(6))
def test_random_histories_with_merges_miss_nothing_and_ask_for_little_more(clone, seed):
    rng = random.Random(seed)
    clone.commit(range(40))
    branches = ["main"]
    for step in range(14):
        clone.git("checkout", "-q", rng.choice(branches))
        choice = rng.random()
        if choice < 0.25:
            branches.append(f"b{step}")
            clone.git("checkout", "-q", "-b", branches[-1])
        if choice < 0.7:
            clone.commit(
                [1000 + step, *(rng.randrange(60 + 20 * step) for _ in range(rng.randrange(5)))]
            )
        else:
            clone.git("merge", "-q", "-m", "m", rng.choice(branches))
    every = commits(clone, "--all")
    for _ in range(8):
        new, known = rng.choice(every), rng.choice(every)
        held = set().union(*(named(clone, c) for c in commits(clone, known)))
        wanted = set().union(*(named(clone, c) for c in commits(clone, new)))
        found = set(clone.needed(new, known))
        assert wanted - held <= found <= wanted
        coming = set().union(set(), *(named(clone, c) for c in commits(clone, new, f"^{known}")))
        assert found <= coming


def test_files_come_one_by_one_with_few_records_each(clone):
    clone.commit(range(3000))
    git = GitRepository(clone.path)
    files = list(needed_by_file(git, [Oid(hex=clone.tip())], []))
    assert len(files) == 16
    assert sum(len(keys) for _, keys in files) == 3000


def test_samples_of_any_other_kind_of_record_are_found(clone):
    before = clone.tip()
    co = Repository(clone.path).checkout(write=True)
    co.arraysets.init_arrayset("notes", kind="str")["x"] = "text"
    crops = co.arraysets.init_arrayset("crops", shape=(9, 9), dtype="u1", variable_shape=True)
    crops["c"] = np.ones((2, 3), "u1")
    nested = co.arraysets.init_arrayset("n", shape=(16,), dtype="u1", contains_subsamples=True)
    nested["outer"] = {"inner": sample(1)}
    co.commit("kinds")
    co.close()
    names = {("notes", "x"), ("crops", "c"), ("n", "outer/inner")}
    assert set(clone.needed("HEAD", before).values()) == names
