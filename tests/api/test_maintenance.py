"""fsck, gc, repack and du: what they find, keep, and leave alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from repositories import Git, make_repository

from hangar_git import Repository
from hangar_git.cli.main import cli
from hangar_git.errors import StateError, WriterLockError
from hangar_git.failpoints import FAILPOINTS


@pytest.fixture
def repo(tmp_path):
    """300 images, 40 texts, 20 volumes in backend 20, 30 crops of many shapes; two commits."""
    repo = make_repository(tmp_path / "repo")
    co = repo.checkout(write=True)
    co.arraysets.init_arrayset("images", prototype=picture(0)).add_batch(
        range(300), [picture(i) for i in range(300)]
    )
    co.arraysets.init_arrayset("notes", kind="str").update(
        {f"n{i}": f"text {i}" * i for i in range(40)}
    )
    co.arraysets.init_arrayset("volumes", (9, 9), "<f8", backend_opts="20").add_batch(
        range(20), [np.full((9, 9), float(i)) for i in range(20)]
    )
    co.arraysets.init_arrayset("crops", (90, 90), "u1", variable_shape=True).add_batch(
        range(30), [np.full((i + 1, 3 * i + 1), i, "u1") for i in range(30)]
    )
    co.commit("first")
    co["images"][0] = picture(1000)
    co.commit("second")
    co.close()
    return repo


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 30, (20, 20)).astype("u1")


def containers(repo) -> list[Path]:
    return sorted(Path(repo.path, ".git/hangar/containers").iterdir())


def forget_everything(repo) -> None:
    """As if Git itself had been told to forget: no reflogs, no index."""
    git = Git(Path(repo.path))
    git("reflog", "expire", "--expire=now", "--all")
    Path(repo.path, ".git/ORIG_HEAD").unlink(missing_ok=True)


def check_all(repo, first=None) -> None:
    reader = Repository(repo.path).checkout(commit=first or "")
    for key, array in reader["images"].items():
        number = 1000 if key == 0 and not first else key
        np.testing.assert_array_equal(array, picture(number))
    assert dict(reader["notes"].items()) == {f"n{i}": f"text {i}" * i for i in range(40)}
    assert [a[0, 0] for a in reader["volumes"].values()] == list(range(20))
    assert [a.shape for a in reader["crops"].values()] == [(i + 1, 3 * i + 1) for i in range(30)]
    reader.close()


# -- fsck --------------------------------------------------------------------------------------


def test_a_sound_repository_is_clean(repo):
    report = repo.maintenance.fsck(full=True)
    assert report.clean
    assert (report.samples, report.missing, report.corrupt, report.orphaned) == (391, 0, 0, 0)
    assert report.problems == []
    assert report.containers == len(containers(repo))


@pytest.mark.parametrize("backend", ["00", "01", "20"])
def test_a_damaged_sample_is_found_by_full_alone_and_the_others_are_saved(backend, repo):
    path = next(path for path in containers(repo) if path.name.startswith(backend))
    data = bytearray(path.read_bytes())
    from hangar_git.store.checking import scanned

    group = max(scanned(path).groups, key=lambda group: len(group.digests))
    start, length = int(group.offsets[-1]), int(group.lengths[-1])
    data[start : start + length] = bytes(byte ^ 0xFF for byte in data[start : start + length])
    path.chmod(0o644)
    path.write_bytes(data)
    assert repo.maintenance.fsck().clean
    dry = repo.maintenance.fsck(full=True, repair=False)
    assert not dry.clean
    assert dry.corrupt >= 1
    assert dry.missing == dry.corrupt
    report = repo.maintenance.fsck(full=True)
    assert report.corrupt == dry.corrupt
    assert report.clean  # what is lost is missing from now on
    assert report.missing == report.corrupt
    assert Path(repo.path, ".git/hangar/damaged", path.name).read_bytes() == data
    assert not path.exists()
    after = repo.maintenance.fsck(full=True)
    assert (after.corrupt, after.missing, after.samples) == (0, dry.corrupt, 391 - dry.corrupt)
    lost = [p.where for p in after.problems]
    assert len(lost) == dry.corrupt
    reader = repo.checkout()
    with pytest.raises(FileNotFoundError):
        name, _, key = lost[0].partition("/")
        reader[name][int(key[1:]) if key.startswith("#") else key]
    reader.close()


def test_an_index_that_is_wrong_is_made_anew(repo):
    import lmdb

    from hangar_git.store.index import Index

    index = Path(repo.path, ".git/hangar/index")
    Index(index).close()
    with lmdb.open(str(index), max_dbs=2) as environment:
        db = environment.open_db(b"locators")
        with environment.begin(write=True, db=db) as txn:
            keys = [bytes(key) for key, _ in txn.cursor()]
            txn.delete(keys[0])
            txn.put(keys[1], bytes(txn.get(keys[2])))
            txn.put(bytes(32), bytes(txn.get(keys[3])))
    dry = repo.maintenance.fsck(repair=False)
    assert sorted(p.what for p in dry.problems if p.kind == "index") == [
        "is in no container; so are 0 others",
        "is not in the index; so are 0 others",
        "is not where the index says; so are 0 others",
    ]
    assert not dry.clean
    assert repo.maintenance.fsck().clean
    assert repo.maintenance.fsck().problems == []
    check_all(repo)
    shutil.rmtree(index)
    assert repo.maintenance.fsck(rebuild_index=True, full=True).problems == []
    check_all(repo)


def test_a_container_with_a_damaged_table_is_told_and_its_samples_are_missing(repo):
    path = next(path for path in containers(repo) if path.name.startswith("20"))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-30])
    report = repo.maintenance.fsck()
    assert not report.clean
    assert report.missing == 20
    assert {p.kind for p in report.problems} == {"container", "index", "missing"}
    assert any(path.name in p.what for p in report.problems)


def test_records_that_do_not_fit_are_told_with_file_and_key(repo):
    git = Git(Path(repo.path))
    folder = Path(repo.path, ".hangar/arraysets/images/records/16")
    files = sorted(folder.iterdir())
    lines = files[0].read_text().splitlines(keepends=True)
    record = next(line for line in lines if "@" not in line)
    files[0].write_text("".join(line for line in lines if line != record))
    files[1].write_text(files[1].read_text() + record)
    git("commit", "-qam", "by hand")
    report = repo.maintenance.fsck()
    assert not report.clean
    (problem,) = [p for p in report.problems if p.kind == "records"]
    assert "belongs in another record file" in problem.what


def test_fsck_says_what_is_missing_and_by_what_name(repo):
    for path in containers(repo):
        if path.name.startswith("00"):
            path.unlink()
    report = repo.maintenance.fsck()
    assert report.clean  # data that is elsewhere is no fault
    assert report.missing > 30
    assert {p.where.partition("/")[0] for p in report.problems} <= {"notes", "crops"}


def test_staged_samples_are_neither_missing_nor_orphaned(repo):
    co = repo.checkout(write=True)
    co["images"]["staged"] = picture(2000)
    co.close()
    report = repo.maintenance.fsck(full=True)
    assert (report.missing, report.orphaned, report.clean) == (0, 0, True)
    assert repo.maintenance.gc(grace_s=0).removed == 0
    co = repo.checkout(write=True)
    np.testing.assert_array_equal(co["images"]["staged"], picture(2000))
    co.close()


# -- gc ----------------------------------------------------------------------------------------


def drop_last_commit(repo) -> None:
    git = Git(Path(repo.path))
    git("reset", "-q", "--hard", "HEAD~1")
    forget_everything(repo)


def test_gc_removes_what_nothing_leads_to(repo):
    first = Git(Path(repo.path))("rev-parse", "HEAD~1").strip()
    before = sum(path.stat().st_size for path in containers(repo))
    assert repo.maintenance.gc(grace_s=0).removed == 0
    drop_last_commit(repo)
    dry = repo.maintenance.gc(grace_s=0, dry_run=True)
    assert (dry.removed, dry.dry_run) == (1, True)
    assert repo.maintenance.gc().spared == 1  # it is too young
    report = repo.maintenance.gc(grace_s=0)
    assert (report.removed, report.kept) == (1, 390)
    assert report.freed_bytes > 0
    assert sum(path.stat().st_size for path in containers(repo)) < before
    check_all(repo, first)
    assert repo.maintenance.fsck(full=True).problems == []


@pytest.mark.parametrize("root", ["tag", "stash", "reflog", "worktree", "staged", "merge", "index"])
def test_gc_keeps_what_any_root_leads_to(root, repo, tmp_path):
    git = Git(Path(repo.path))
    tip = git("rev-parse", "HEAD").strip()
    if root == "tag":
        git("tag", "-a", "-m", "kept", "v1", tip)
    elif root == "worktree":
        git("worktree", "add", "-q", "--detach", str(tmp_path / "other"), tip)
    elif root == "stash":
        Path(repo.path, ".hangar/arraysets/images/x").write_text("x")
        git("add", "-A", "-f")
        git("stash", "-q")
    elif root == "index":
        git("checkout", "-q", "--detach", tip)
    git("reset", "-q", "--soft" if root == "index" else "--hard", "HEAD~1")
    if root == "merge":
        Path(repo.path, ".git/MERGE_HEAD").write_text(tip + "\n")
    if root == "staged":
        co = repo.checkout(write=True)
        co["images"]["again"] = picture(1000)  # in a container already
        co.close()
    if root not in ("reflog", "stash"):
        forget_everything(repo)
    if root == "index":
        git("branch", "-q", "-f", "main", "HEAD")
    assert repo.maintenance.gc(grace_s=0).removed == 0
    assert repo.maintenance.fsck(full=True).missing == 0


def test_gc_removes_a_container_of_which_nothing_is_named(repo):
    co = repo.checkout(write=True)
    co.arraysets.init_arrayset("passing", (64, 64), "<f8").add_batch(
        range(50), np.random.default_rng(1).random((50, 64, 64))
    )
    co.close()
    repo.checkout(write=True).reset_staging_area()
    count = len(containers(repo))
    report = repo.maintenance.gc(grace_s=0)
    assert report.removed == 50
    assert report.freed_bytes > 50 * 64 * 64 * 7
    assert len(containers(repo)) == count - 1


def test_gc_gives_up_when_a_ref_moves_meanwhile(repo, monkeypatch):
    from hangar_git.api import gc

    drop_last_commit(repo)
    scan = gc.scan_all

    def moving(directory):
        Git(Path(repo.path))("branch", "-f", "new", "HEAD")
        return scan(directory)

    monkeypatch.setattr(gc, "scan_all", moving)
    before = containers(repo)
    with pytest.raises(StateError, match="moved meanwhile"):
        repo.maintenance.gc(grace_s=0)
    assert containers(repo) == before


def test_only_one_of_these_runs_at_a_time_and_no_writer(repo):
    co = repo.checkout(write=True)
    for command in ("fsck", "gc", "repack"):
        with pytest.raises(WriterLockError):
            getattr(repo.maintenance, command)()
    co.close()
    assert repo.maintenance.du().containers == len(containers(repo))


def test_two_processes_running_gc_do_no_harm(repo):
    drop_last_commit(repo)
    command = [sys.executable, "-m", "hangar_git.cli.main", "gc", "--grace", "now"]
    runs = [
        subprocess.Popen(command, cwd=repo.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    codes = []
    for run in runs:
        _, said = run.communicate()
        codes.append(run.returncode)
        assert run.returncode == 0 or b"error: " in said
    assert 0 in codes
    assert repo.maintenance.fsck(full=True).problems == []


# -- repack ------------------------------------------------------------------------------------


def test_repack_merges_small_containers(repo):
    co = repo.checkout(write=True)
    for i in range(5):
        co["images"].add_batch(
            range(5000 + 10 * i, 5010 + 10 * i), [picture(9000 + 10 * i + j) for j in range(10)]
        )
        co.commit(f"{i}")
    co.close()
    before = len(containers(repo))
    done = repo.maintenance.repack()
    assert done.containers_before >= 6
    assert len(containers(repo)) == before - done.containers_before + done.containers_after
    assert done.containers_after < done.containers_before
    assert repo.maintenance.fsck(full=True).problems == []
    assert repo.maintenance.repack().containers_before == 0


@pytest.mark.parametrize(
    ("backend", "codec"),
    [(None, {"complib": "zstd"}), ("00", None), ("00", {"complib": "gzip", "shuffle": "byte"}),
     (None, {"complib": "none"}), ("00", {"complib": "lzf"})],
)  # fmt: skip
def test_repack_changes_backend_and_codec(backend, codec, repo):
    repo.maintenance.repack(backend=backend, codec=codec)
    assert repo.maintenance.fsck(full=True).problems == []
    check_all(repo)
    if backend:
        assert {path.name[:2] for path in containers(repo)} == {backend}


def test_repack_refuses_what_some_samples_cannot_have(repo):
    before = containers(repo)
    for arguments in (
        {"backend": "99"}, {"backend": "10", "codec": {"complib": "zstd"}},
        {"codec": {"complib": "lzma"}}, {"codec": {"complib": "lzf"}, "backend": "20"},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"."):
            repo.maintenance.repack(**arguments)
    assert containers(repo) == before
    old = repo.maintenance.repack(codec={"complib": "zstd"}, older_than_s=3600)
    assert old.containers_before == 0


def test_readers_go_on_while_repack_runs(repo):
    readers = [repo.checkout() for _ in range(2)]
    stop, errors, reads = threading.Event(), [], [0]

    def read(reader):
        rng = np.random.default_rng(1)
        while not stop.is_set():
            try:
                key = int(rng.integers(1, 300))
                np.testing.assert_array_equal(reader["images"][key], picture(key))
                reader["notes"][f"n{key % 40}"]
                reader["crops"].get_batch([key % 30, (key + 1) % 30])
                reads[0] += 1
            except BaseException as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=read, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    for complib in ("zstd", "none", "blosc:lz4", "gzip"):
        repo.maintenance.repack(codec={"complib": complib})
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert reads[0] > 20
    for reader in readers:
        reader.close()


@pytest.mark.parametrize(
    "failpoint", [n for n in FAILPOINTS if n.startswith(("upkeep.", "store."))]
)
@pytest.mark.parametrize("command", [["repack", "--codec", "zstd"], ["gc", "--grace", "now"]])
def test_a_kill_in_the_midst_loses_nothing(failpoint, command, repo):
    co = repo.checkout(write=True)
    co["images"].add_batch(range(3000, 3060), [picture(i) for i in range(3000, 3060)])
    for key in range(3030, 3060):
        del co["images"][key]
    co.commit("some of what was staged")
    co.close()
    kills = 0
    for passage in range(1, 4):
        done = subprocess.run(
            [sys.executable, "-m", "hangar_git.cli.main", *command], cwd=repo.path,
            env={**os.environ, "HANGAR_FAILPOINT": f"{failpoint}:{passage}"},
            capture_output=True, check=False,
        )  # fmt: skip
        kills += done.returncode == -signal.SIGKILL
        check_all(repo)
        report = repo.maintenance.fsck(full=True)
        assert (report.clean, report.missing, report.corrupt) == (True, 0, 0)
    assert kills or failpoint in ("store.index-written", "store.synced")


# -- du, and the command line ------------------------------------------------------------------


def test_du_adds_up(repo):
    co = repo.checkout(write=True)
    same = co.arraysets.init_arrayset("copy", prototype=picture(0))
    same.add_batch(range(100), [picture(i) for i in range(100)])
    co.commit("shared")
    co.close()
    usage = repo.maintenance.du()
    rows = {row.name: row for row in usage.arraysets}
    assert rows["images"].samples == 301
    assert rows["images"].size_bytes == 301 * 400
    assert rows["copy"].shared_bytes == rows["copy"].stored_bytes > 0
    assert rows["images"].shared_bytes == rows["copy"].stored_bytes
    assert rows["volumes"].ratio > 1
    assert usage.containers_bytes == sum(path.stat().st_size for path in containers(repo))
    assert usage.unreachable_samples == 0
    drop_last_commit(repo)
    drop_last_commit(repo)
    assert repo.maintenance.du().unreachable_samples == 1


def run(repo, *arguments, code=0):
    here = Path.cwd()
    os.chdir(repo.path)
    try:
        result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    finally:
        os.chdir(here)
    if result.exception is not None:
        raise result.exception
    assert (result.return_value or 0) == code, result.output
    return result.output


def test_the_commands_print_tables_and_json(repo):
    assert run(repo, "fsck", "--full").splitlines()[-1] == "clean"
    assert json.loads(run(repo, "fsck", "--json"))["samples"] == 391
    assert "0 samples removed, 391 kept" in run(repo, "gc", "--grace", "now")
    assert json.loads(run(repo, "gc", "-n", "--json"))["dry_run"] is True
    assert "became" in run(repo, "repack", "--codec", "blosc:zstd:3:bit")
    assert run(repo, "repack") == "nothing to repack\n"
    assert json.loads(run(repo, "repack", "--json"))["containers_before"] == 0
    table = run(repo, "du").splitlines()
    assert table[0].split() == [
        "arrayset",
        "samples",
        "missing",
        "as",
        "arrays",
        "stored",
        "ratio",
        "shared",
    ]
    assert json.loads(run(repo, "du", "--json"))["arraysets"][1]["name"] == "images"
    path = containers(repo)[0]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:100])
    assert "NOT clean" in run(repo, "fsck", "--dry-run", code=1)
    for wrong in (
        ["gc", "--grace", "soon"],
        ["repack", "--codec", "zstd:x"],
        ["repack", "--backend", "77"],
    ):
        with pytest.raises(ValueError, match=r"."):
            run(repo, *wrong)
