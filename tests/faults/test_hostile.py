"""Hostile surroundings: full disks, read-only places, newer formats, damaged files."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from processes import in_child
from repositories import Git, image, make_repository

from hangar_git import Repository, durable
from hangar_git.errors import FormatError, HangarError, IntegrityError
from hangar_git.store import containerfile


@contextlib.contextmanager
def mounted(path: Path, *options: str):
    """A tmpfs at `path`, for the length of the block."""
    path.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(path)],
                          capture_output=True, check=False)  # fmt: skip
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def filled(path: Path, n: int = 3) -> Repository:
    """A repository with samples 0 to n - 1 of "images" committed."""
    repo = make_repository(path)
    co = repo.checkout(write=True)
    aset = co.arraysets.init_arrayset("images", shape=(2, 3), dtype=np.uint8)
    for key in range(n):
        aset[key] = image(key)
    co.commit("first")
    co.close()
    return repo


def test_a_full_disk_is_one_error_and_loses_nothing(tmp_path):
    with mounted(tmp_path / "small", "-o", "size=12m") as small:
        repo = filled(small / "repo")
        tip = repo.checkout().commit_hash
        co = repo.checkout(write=True)
        big = co.arraysets.init_arrayset("big", shape=(512, 512), dtype=np.float64)
        rng = np.random.default_rng(1)
        big["kept"] = kept = rng.random((512, 512))
        ballast = small / "ballast"
        ballast.write_bytes(bytes(os.statvfs(small).f_bavail * os.statvfs(small).f_frsize - 40_000))
        with pytest.raises(OSError, match="No space left") as caught, big:
            for key in range(4):
                big[key] = rng.random((512, 512))
        assert isinstance(caught.value, HangarError)
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(OSError, match="No space left"):
            co.commit("does not fit")
        reader = repo.checkout()
        assert reader.commit_hash == tip
        np.testing.assert_array_equal(reader["images", 1], image(1))
        reader.close()
        ballast.unlink()
        for key in range(4):
            big.remove(key) if key in big and key else None
        np.testing.assert_array_equal(big["kept"], kept)
        co.commit("there is space now")
        co.close()
        reader = repo.checkout()
        np.testing.assert_array_equal(reader["big", "kept"], kept)
        reader.close()
        Git(small / "repo")("fsck", "--strict")


def test_a_read_only_place_is_read_and_not_written(tmp_path):
    in_child(lambda: filled(tmp_path / "repo") and None)  # LMDB opens a file once in a process
    place = tmp_path / "readonly"
    place.mkdir()
    for arguments in (["--bind", str(tmp_path / "repo"), str(place)],
                      ["-o", "remount,ro,bind", str(place)]):  # fmt: skip
        done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("nothing can be mounted here")
    try:
        again = Repository(place)
        reader = again.checkout()
        np.testing.assert_array_equal(reader["images", 1], image(1))
        assert len(reader["images"]) == 3
        reader.close()
        with pytest.raises(PermissionError):
            again.checkout(write=True)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_newer_local_format_is_refused(tmp_path):
    repo = filled(tmp_path / "repo")
    (Path(repo.path) / ".git/hangar/format").write_text("2\n")
    for write in (False, True):
        with pytest.raises(FormatError, match="update hangar_git"):
            repo.checkout(write=write)


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("[hangar]\n\tformatVersion = 2\n", False),
        ("[hangar]\n\tformatVersion = 1\n[extensions]\n\tfuture = read\n", False),
        ("[hangar]\n\tformatVersion = 1\n[extensions]\n\tfuture = write\n", True),
    ],
)
def test_a_newer_committed_format_is_refused(text, reads, tmp_path):
    repo = filled(tmp_path / "repo")
    (Path(repo.path) / ".hangar/config").write_text(text)
    Git(Path(repo.path))("commit", "-qam", "newer")
    if reads:
        assert len(repo.checkout()["images"]) == 3
    else:
        with pytest.raises(FormatError, match="update hangar_git"):
            repo.checkout()
    with pytest.raises(FormatError, match="update hangar_git"):
        repo.checkout(write=True)


def containers(repo):
    return sorted((Path(repo.path) / ".git/hangar/containers").iterdir())


@pytest.mark.parametrize("backend", ["00", "01", "10"])
def test_a_corrupted_sample_names_file_offset_and_digest(backend, tmp_path):
    repo = make_repository(tmp_path / "repo")
    co = repo.checkout(write=True)
    aset = co.arraysets.init_arrayset(
        "x", shape=(50, 50), dtype=np.uint16, variable_shape=backend == "00", backend_opts=backend
    )
    value = np.random.default_rng(3).integers(0, 2**16, (50, 50), np.uint16)
    aset["a"] = value
    co.commit("x")
    co.close()
    (path,) = containers(repo)
    assert path.name.startswith(f"{backend}-")
    assert path.stat().st_mode & 0o777 == 0o444
    good = path.read_bytes()
    rng = random.Random(backend)
    found = 0
    for _ in range(60):
        at = rng.randrange(len(good))
        bad = bytearray(good)
        bad[at] ^= 1 << rng.randrange(8)
        path.chmod(0o644)
        path.write_bytes(bad)
        reader = repo.checkout()
        try:
            np.testing.assert_array_equal(reader["x", "a"], value)
        except IntegrityError as error:
            found += 1
            assert path.name in str(error)
            assert error.where.startswith(str(path))
            assert error.expected in str(error)
        reader.close()
    assert found > 5


@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "garbage"])
def test_a_damaged_container_is_one_clear_error(damage, tmp_path):
    repo = filled(tmp_path / "repo")
    (path,) = containers(repo)
    data = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes({"cut": data[:90], "empty": b"", "garbage": os.urandom(500)}[damage])
    reader = repo.checkout()
    missing = f"{path.name}|not on this machine"
    with pytest.raises((IntegrityError, FileNotFoundError), match=missing):
        reader["images", 1]
    reader.close()
    co = repo.checkout(write=True)  # which does not make it worse
    co["images"]["new"] = image(9)
    co.commit("goes on")
    co.close()
    if damage != "gone":
        path.unlink()
    path.write_bytes(data)
    repo.checkout(write=True).close()  # a writer looks for containers that are not indexed
    reader = repo.checkout()
    np.testing.assert_array_equal(reader["images", 1], image(1))
    reader.close()


@pytest.mark.parametrize("damage", ["gone", "cut", "garbage"])
def test_a_damaged_index_is_rebuilt_by_the_next_writer(damage, tmp_path):
    repo = filled(tmp_path / "repo", 240)
    copy = tmp_path / "copy"
    shutil.copytree(repo.path, copy, symlinks=True)
    index = copy / ".git/hangar/index"
    if damage == "gone":
        shutil.rmtree(index)
    else:
        data = (index / "data.mdb").read_bytes()
        cut = data[: len(data) // 2] if damage == "cut" else os.urandom(len(data))
        (index / "data.mdb").write_bytes(cut)
    again = Repository(copy)
    again.checkout(write=True).close()
    reader = again.checkout()
    for key in range(240):
        np.testing.assert_array_equal(reader["images", key], image(key))
    reader.close()


def test_damaged_staging_is_refused_and_can_be_set_aside(tmp_path):
    repo = filled(tmp_path / "repo")
    co = repo.checkout(write=True)
    for key in range(10):
        co["images"][f"s{key}"] = image(key)
    co.close()
    journal = Path(repo.path) / ".git/hangar/staging/journal"
    good = journal.read_bytes()
    rng = random.Random(7)
    for _ in range(40):
        bad = bytearray(good)
        at = rng.randrange(len(bad))
        bad[at] ^= 1 << rng.randrange(8)
        for damaged in (bytes(bad), good[: rng.randrange(1, len(good))]):
            journal.write_bytes(damaged)
            with pytest.raises((IntegrityError, FormatError), match="journal"):
                repo.checkout(write=True)
            assert len(repo.checkout()["images"]) == 3
    journal.write_bytes(good + b"batch 99 a torn batch that nobody was told of")
    co = repo.checkout(write=True)
    assert len(co["images"]) == 13
    co.close()


def test_a_damaged_git_object_is_one_clear_error(tmp_path):
    repo = filled(tmp_path / "repo")
    git = Git(Path(repo.path))
    listed = git("ls-tree", "-r", "HEAD", ".hangar/arraysets/images/records")
    for oid in (row.split()[2] for row in listed.splitlines()):
        file = Path(repo.path) / ".git/objects" / oid[:2] / oid[2:]
        file.chmod(0o644)
        file.write_bytes(b"rubbish")
    reader = Repository(repo.path).checkout()
    with pytest.raises(FormatError, match="missing or damaged"):
        reader["images", 1]
    reader.close()


# -- every system call that writes ---------------------------------------------------------------

CALLS = [
    (os, "write"), (os, "fsync"), (os, "pwrite"), (os, "link"),
    (Path, "rename"), (Path, "chmod"),
]  # fmt: skip


class Failing:
    """Lets the calls through, but the k-th of all of them fails."""

    def __init__(self, k: int, code: int) -> None:
        self.left, self.code, self.hit = k, code, False

    def wrap(self, function):
        def call(*arguments, **options):
            self.left -= 1
            if self.left == 0:
                self.hit = True
                raise OSError(self.code, os.strerror(self.code))
            return function(*arguments, **options)

        return call


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_any_failing_system_call_leaves_old_or_new_and_can_be_tried_again(
    code, tmp_path, monkeypatch
):
    filled(tmp_path / "template")
    for k in range(1, 400):
        path = tmp_path / f"run{k}"
        shutil.copytree(tmp_path / "template", path, symlinks=True)
        repo = Repository(path)
        old = repo.checkout().commit_hash
        co = repo.checkout(write=True)
        failing = Failing(k, code)
        with monkeypatch.context() as patch:
            for owner, name in CALLS:
                patch.setattr(owner, name, failing.wrap(getattr(owner, name)))
            try:
                with co["images"] as images:
                    images["b"] = image(7)
                co.commit("second")
            except HangarError as error:
                assert "\n" not in str(error)
        # Again, with nothing failing: what was acknowledged is there, and the commit goes through.
        try:
            if "b" not in co["images"]:
                co["images"]["b"] = image(7)
            co.commit("second")
        except RuntimeError as error:
            assert "no changes" in str(error)
        co.close()
        reader = repo.checkout()
        assert reader.commit_hash != old
        np.testing.assert_array_equal(reader["images", "b"], image(7))
        reader.close()
        repo.checkout(write=True).close()  # finishes what could not be finished
        assert Git(path)("status", "--porcelain") == ""
        shutil.rmtree(path)
        if not failing.hit:
            break
    assert not failing.hit
    assert k > 15


def test_short_writes_are_continued(tmp_path, monkeypatch):
    former = os.write

    def short(fd, data):
        return former(fd, memoryview(data)[: max(1, len(data) // 2)])

    monkeypatch.setattr(durable.os, "write", short)
    assert containerfile.write_all is durable.write_all
    repo = filled(tmp_path / "repo", 50)
    reader = repo.checkout()
    for key in range(50):
        np.testing.assert_array_equal(reader["images", key], image(key))
    reader.close()
