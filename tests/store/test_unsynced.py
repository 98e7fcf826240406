"""Containers of staged samples, which only a commit puts on stable storage."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from repositories import make_repository

from hangar_git import Repository
from hangar_git.remotes.localstore import LocalSamples

SHAPE = (1 << 20,)


@pytest.fixture
def staged(tmp_path):
    """The directory of a repository's store, with samples 0 to 3 staged, two in a container."""
    make_repository(tmp_path)
    co = Repository(tmp_path).checkout(write=True)
    images = co.arraysets.init_arrayset("images", shape=SHAPE, dtype=np.uint8)
    images.add_batch([0, 1], [value(0), value(1)])
    images.add_batch([2, 3], [value(2), value(3)])
    co.close()
    return tmp_path / ".git" / "hangar"


def value(key):
    return np.random.default_rng(key).integers(0, 256, SHAPE, np.uint8)


def listed(root):
    return (root / "unsynced").read_text().splitlines()[1:]


def lose_power(root, damaged=()):
    lines = (root / "unsynced").read_text().splitlines()
    (root / "unsynced").write_text("\n".join(["another boot", *lines[1:], ""]))
    for name in damaged:
        path = root / "containers" / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(data)


def test_staged_containers_are_listed_until_a_commit_has_synced_them(staged):
    assert len(listed(staged)) == 2
    assert {path.name for path in (staged / "containers").iterdir()} == set(listed(staged))
    co = Repository(staged.parents[1]).checkout(write=True)
    co.commit("four samples")
    co.close()
    assert not (staged / "unsynced").exists()


def test_what_survived_a_loss_of_power_is_verified_and_stays_staged(staged, caplog):
    lose_power(staged)
    co = Repository(staged.parents[1]).checkout(write=True)
    assert not (staged / "unsynced").exists()
    for key in range(4):
        np.testing.assert_array_equal(co["images"][key], value(key))
    co.close()
    assert not caplog.records


@pytest.mark.parametrize("how", ["changed", "gone", "cut-off"])
def test_what_a_loss_of_power_took_is_staged_no_longer_and_the_rest_is(staged, how, caplog):
    bad = listed(staged)[0]
    lose_power(staged, [bad])
    if how == "gone":
        (staged / "containers" / bad).unlink()
    if how == "cut-off":
        (staged / "containers" / bad).write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        co = Repository(staged.parents[1]).checkout(write=True)
    assert "2 staged samples were lost" in caplog.text
    assert sorted(co["images"].keys()) == [2, 3]
    # The same samples are stored anew, not taken for stored.
    co["images"].add_batch([0, 1], [value(0), value(1)])
    co.commit("again")
    co.close()
    co = Repository(staged.parents[1]).checkout()
    for key in range(4):
        np.testing.assert_array_equal(co["images"][key], value(key))
    co.close()


def test_edits_of_samples_that_never_were_here_survive_a_loss_of_power(staged):
    repo = Repository(staged.parents[1])
    co = repo.checkout(write=True)
    elsewhere = b"\7" * 32
    co._session.area.set_record("images", 99, elsewhere)
    co.close()
    lose_power(staged, [listed(staged)[0]])
    co = repo.checkout(write=True)
    assert sorted(co["images"].keys()) == [2, 3, 99]
    co.close()


def test_a_list_cut_off_in_a_name_is_that_of_the_whole_lines(staged):
    with (staged / "unsynced").open("a") as file:
        file.write("01-cut")
    lose_power(staged)
    (staged / "unsynced").write_text((staged / "unsynced").read_text().rstrip("\n"))
    Repository(staged.parents[1]).checkout(write=True).close()
    assert not (staged / "unsynced").exists()


def test_whoever_is_told_that_a_sample_is_here_can_rely_on_it(staged):
    co = Repository(staged.parents[1]).checkout(write=True)
    records = co._session.area.edits.arraysets["images"].values.values()
    digests = [record[:32] for record in records]
    co.close()
    lose_power(staged)
    assert LocalSamples(staged).missing(digests) == digests
    Repository(staged.parents[1]).checkout(write=True).close()
    assert LocalSamples(staged).missing(digests) == []


def test_a_transfer_syncs_what_it_says_is_here(staged):
    LocalSamples(staged).missing([b"\0" * 32])
    assert not (staged / "unsynced").exists()


def test_without_a_boot_id_staged_containers_are_synced_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("hangar_git.store.unsynced._BOOT_ID", tmp_path / "none")
    make_repository(tmp_path / "repo")
    co = Repository(tmp_path / "repo").checkout(write=True)
    images = co.arraysets.init_arrayset("images", shape=SHAPE, dtype=np.uint8)
    images.add_batch([0, 1], [value(0), value(1)])
    co.close()
    assert not (tmp_path / "repo" / ".git" / "hangar" / "unsynced").exists()


def test_taking_the_lock_by_force_keeps_what_is_staged_in_the_journal(tmp_path):
    make_repository(tmp_path)
    repo = Repository(tmp_path)
    co = repo.checkout(write=True)
    co.arraysets.init_arrayset("small", shape=(3,), dtype=np.uint8)["a"] = np.arange(3, dtype="u1")
    repo.force_release_writer_lock()
    for _ in range(2):
        again = Repository(tmp_path).checkout(write=True)
        assert again["small"]["a"].tolist() == [0, 1, 2]
        again.close()
