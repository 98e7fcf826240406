"""Containers swapped, duplicated, foreign, removed under a reader; indexes stale or too new."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
from repositories import make_repository

from hangar_git import Repository
from hangar_git.errors import IntegrityError, StateError
from hangar_git.store.codec import Codec
from hangar_git.store.index import Index


@pytest.fixture
def repo(tmp_path):
    """Two containers of the same kind: samples 0 to 19, and 20 to 39."""
    return filled(tmp_path / "repo", range(20), range(20, 40))


def filled(path: Path, *parts: range) -> Repository:
    repo = make_repository(path)
    co = repo.checkout(write=True)
    aset = co.arraysets.init_arrayset("images", (16, 16), "<i4")
    for part in parts:
        aset.add_batch(part, [sample(number) for number in part])
        co.commit(str(part))
    co.close()
    return repo


def sample(number: int) -> np.ndarray:
    return np.full((16, 16), number, "<i4")


def containers(repo) -> list[Path]:
    return sorted(Path(repo.path, ".git/hangar/containers").iterdir())


def check(repo, numbers=range(40)) -> None:
    reader = Repository(repo.path).checkout()
    for number in numbers:
        np.testing.assert_array_equal(reader["images"][number], sample(number))
    reader.close()


def test_swapped_containers_are_never_read_for_each_other(repo):
    one, two = containers(repo)
    one.rename(one.with_suffix(".x"))
    two.rename(one)
    one.with_suffix(".x").rename(two)
    reader = repo.checkout()
    with pytest.raises(IntegrityError, match="damaged"):
        for number in range(40):
            np.testing.assert_array_equal(reader["images"][number], sample(number))
    reader.close()
    assert repo.maintenance.fsck().clean
    check(repo)


def test_a_duplicated_container_does_no_harm(repo):
    one, _ = containers(repo)
    shutil.copy(one, one.with_name("01-" + "0" * 16 + ".h5"))
    assert repo.maintenance.fsck(full=True).clean
    check(repo)
    repo.maintenance.repack()
    assert len(containers(repo)) == 1
    check(repo)


def test_a_container_of_another_repository_is_read_and_its_samples_are_orphans(repo, tmp_path):
    other = filled(tmp_path / "other", range(100, 120))
    (foreign,) = containers(other)
    shutil.copy(foreign, containers(repo)[0].parent)
    report = repo.maintenance.fsck(full=True)
    assert (report.clean, report.orphaned, report.missing) == (True, 20, 0)
    check(repo)
    assert repo.maintenance.gc(grace_s=0).removed == 20
    assert repo.maintenance.fsck().orphaned == 0


def test_files_of_other_names_are_left_alone(repo):
    stray = containers(repo)[0].parent / "notes.txt"
    stray.write_text("mine")
    assert repo.maintenance.fsck(full=True).clean
    repo.maintenance.repack()
    assert stray.read_text() == "mine"


def test_an_index_of_a_newer_version_is_made_anew(repo):
    path = Path(repo.path, ".git/hangar/index")
    Index(path).close()
    with lmdb.open(str(path), max_dbs=2) as environment:
        db = environment.open_db(b"containers")
        with environment.begin(write=True, db=db) as txn:
            txn.put(b"version", b"2")
    repo.checkout(write=True).close()
    check(repo)


def test_a_stale_index_is_brought_up_to_date(repo, tmp_path):
    path = Path(repo.path, ".git/hangar/index")
    Index(path).close()
    old = shutil.copytree(path, tmp_path / "old")
    co = repo.checkout(write=True)
    co["images"].add_batch(range(40, 60), [sample(number) for number in range(40, 60)])
    co.commit("more")
    co.close()
    Index(path).close()
    shutil.rmtree(path)
    shutil.copytree(old, path)
    repo.checkout(write=True).close()
    check(repo, range(60))


def test_a_container_that_goes_away_under_a_reader_is_read_on_or_one_error(repo):
    reader = repo.checkout()
    np.testing.assert_array_equal(reader["images"][0], sample(0))
    for path in containers(repo):
        path.unlink()
    found, lost = 0, 0
    for number in range(40):
        try:
            np.testing.assert_array_equal(reader["images"][number], sample(number))
            found += 1
        except FileNotFoundError:
            lost += 1
    assert (found, lost) == (20, 20)  # of the container that was open, and of the other
    reader.close()


@pytest.mark.parametrize("complib", ["blosc:lz4", "zstd"])
def test_a_codec_whose_library_is_missing_is_named_with_the_pip_line(complib, monkeypatch):
    from hangar_git.store import codec

    codec._encoder.cache_clear()
    codec._decoder.cache_clear()
    monkeypatch.setitem(sys.modules, "numcodecs", None)
    monkeypatch.setitem(sys.modules, "numcodecs.blosc", None)
    with pytest.raises(StateError, match=rf"{complib.split(':')[0]}.*pip install numcodecs"):
        Codec.parse({"complib": complib}).encoder(1)
    codec._encoder.cache_clear()
    with pytest.raises(StateError, match="pip install numcodecs"):
        Codec.parse({"complib": complib}).decoder(1)
    codec._decoder.cache_clear()


def test_the_plugin_of_hdf5_is_named_with_the_pip_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    repo = make_repository(tmp_path / "fresh")
    co = repo.checkout(write=True)
    aset = co.arraysets.init_arrayset("images", (16, 16), "<i4")
    aset[0] = sample(0)
    with pytest.raises(StateError, match="pip install hdf5plugin"):
        co.commit("cannot")
    monkeypatch.undo()
    co.commit("can")
    co.close()
    check(repo, range(1))
