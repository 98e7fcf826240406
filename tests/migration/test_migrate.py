"""``git hangar migrate``: histories of DVC, Git LFS and directories of versions."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from repositories import Git, make_repository

from hangar_git import Repository
from hangar_git.cli.main import main
from hangar_git.errors import FormatError
from hangar_git.migration.lfs import pointer_oid
from hangar_git.migration.sources import Content, with_groups
from hangar_git.migration.versions import natural

from .places import DvcFolder, LfsFolder, npy

KINDS = {"dvc": DvcFolder, "lfs": LfsFolder}


class Target:
    """A repository that is migrated to."""

    def __init__(self, path: Path, capsys, monkeypatch) -> None:
        make_repository(path)
        self.path = path
        self.git = Git(path)
        self._capsys = capsys
        monkeypatch.chdir(path)

    def migrate(self, *arguments: object, code: int = 0) -> str:
        """What ``git hangar migrate`` prints; of one that fails, its one line of error."""
        self._capsys.readouterr()
        assert main(["migrate", *map(str, arguments), "--no-progress"]) == code
        said = self._capsys.readouterr()
        if code == 1 and not said.out:
            assert len(said.err.splitlines()) == 1, said.err
        return said.out if code == 0 else said.err

    def samples(self, revision: str, arrayset: str = "images") -> dict:
        co = Repository(self.path).checkout(commit=revision)
        try:
            if arrayset not in co.arraysets:
                return {}
            return {key: int(data.flat[0]) for key, data in co[arrayset].items()}
        finally:
            co.close()

    def log(self, revision: str = "HEAD") -> list[str]:
        return self.git("log", "--reverse", "--topo-order", "--format=%H", revision).split()

    def check(self) -> None:
        assert main(["fsck"]) == 0
        self.git("fsck", "--strict")


@pytest.fixture
def target(tmp_path, capsys, monkeypatch):
    return Target(tmp_path / "target", capsys, monkeypatch)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def source(kind, tmp_path):
    """A folder with three commits of data, one of them on a side branch, and one of code alone."""
    place = KINDS[kind](tmp_path / "source")
    place.commit({"a.npy": npy(1), "b.npy": npy(2), "sub/a.npy": npy(3)}, "first\n\nbody", "1")
    place.commit(None, "code alone", "2")
    place.git("switch", "-q", "-c", "side")
    place.commit({"a.npy": npy(1), "b.npy": npy(2), "sub/a.npy": npy(3), "c.npy": npy(4)}, "side")
    place.git("switch", "-q", "main")
    place.commit({"a.npy": npy(1), "b.npy": npy(20), "sub/a.npy": npy(3)}, "changed", "3")
    place.git("merge", "-q", "-s", "ours", "--no-commit", "side", check=False)
    place.commit({"a.npy": npy(1), "b.npy": npy(20), "c.npy": npy(4)}, "merged")
    return place


AT_FIRST = {"a": 1, "b": 2, "sub.a": 3}
IN_THE_END = {"a": 1, "b": 20, "c": 4}


def test_a_history_is_taken_over_with_its_code_and_merges(source, kind, target):
    before = source.state()
    said = target.migrate(kind, source.data, "images")
    assert "4 commits" in said
    assert "3 samples" in said
    assert source.state() == before
    theirs, ours = source.git("log", "--graph", "--format=%B%an%ae%ad%cn%ce%cd%P").split("\n"), []
    ours = target.git("log", "--graph", "--format=%B%an%ae%ad%cn%ce%cd%P").split("\n")
    # All but the oids of the parents.
    assert [line.rstrip("0123456789abcdef ") for line in ours] == [
        line.rstrip("0123456789abcdef ") for line in theirs
    ]
    first, code, *_, last = target.log()
    assert target.samples(first) == target.samples(code) == AT_FIRST
    assert target.samples(f"{last}^1") == {"a": 1, "b": 20, "sub.a": 3}
    assert target.samples(f"{last}^2") == {**AT_FIRST, "c": 4}
    assert target.samples(last) == IN_THE_END
    assert target.git("show", f"{code}:train.py") == "2"
    assert (target.path / "train.py").read_text() == "3"
    assert target.git("status", "--porcelain") == ""
    target.check()
    assert "Nothing is left" in target.migrate(kind, source.data, "images")


def test_what_did_not_change_keeps_its_record(source, kind, target):
    target.migrate(kind, source.data, "images")
    first, *_, last = target.log()
    changed = target.git("diff", "--name-only", first, last, "--", ".hangar").split()
    assert len(changed) <= 3
    assert main(["diff", first, last, "--json"]) == 0


def test_data_alone_goes_on_top_of_a_branch(source, kind, target):
    (target.path / "mine.txt").write_text("mine")
    target.git("add", "mine.txt")
    target.git("commit", "-q", "-m", "mine")
    head = target.git("rev-parse", "HEAD")
    said = target.migrate(kind, source.data, "images", "--json")
    found = json.loads(said)
    assert found["branch"] == "migrate-images"
    assert not found["code"]
    assert target.git("rev-parse", "HEAD") == head
    shown = target.git("log", "--reverse", "--format=%s|%an|%ad|%cn", "--date=iso",
                       "HEAD..migrate-images").splitlines()  # fmt: skip
    assert shown == [
        f"{subject}|Grace Hopper|2021-03-04 05:06:07 +0230|Ada Lovelace"
        for subject in ("first", "changed", "merged")
    ]
    assert target.git("ls-tree", "--name-only", "migrate-images").split() == [".hangar", "mine.txt"]
    assert target.samples("migrate-images~2") == AT_FIRST
    assert target.samples("migrate-images") == IN_THE_END
    target.check()
    # New commits of the source go on top, also of what the user committed meanwhile.
    target.git("switch", "-q", "migrate-images")
    (target.path / "more.txt").write_text("more")
    target.git("add", "more.txt")
    target.git("commit", "-q", "-m", "mine again")
    source.commit({"a.npy": npy(100)}, "later")
    found = json.loads(target.migrate(kind, source.data, "images", "--json"))
    assert [one["title"].split(" ", 1)[1] for one in found["commits"]] == ["later"]
    assert found["commits"][0]["removed"] == 2
    assert target.samples("migrate-images") == {"a": 100}
    assert target.git("log", "-1", "--format=%s", "migrate-images^") == "mine again"
    assert target.git("status", "--porcelain") == ""


def test_a_repository_is_migrated_in_place(source, kind, target, monkeypatch):
    monkeypatch.chdir(source.path)
    inside = Target.__new__(Target)
    inside.__dict__.update(target.__dict__, path=source.path, git=source.git)
    tip = source.git("rev-parse", "main")
    assert main(["init"]) == 0
    inside.migrate(kind, "data", "images")
    assert source.git("rev-parse", "main") == tip
    assert source.git("rev-parse", "HEAD") == tip
    assert inside.samples("migrate-images") == IN_THE_END
    names = set(source.git("ls-tree", "-r", "--name-only", "main").split())
    after = source.git("ls-tree", "-r", "--name-only", "migrate-images").split()
    assert names <= set(after)
    # A second folder joins the first one's commits.
    inside.migrate(kind, "data", "more", "--revision", "migrate-images", "--branch", "both",
                   "--code")  # fmt: skip
    assert inside.samples("both~1", "more") == inside.samples("both~1", "images")
    assert inside.samples("both", "more") == IN_THE_END
    assert main(["checkout", "both"]) == 0
    inside.check()


def test_the_last_commit_alone_is_migrated_on_demand(source, kind, target):
    said = json.loads(target.migrate(kind, source.data, "images", "--no-history", "--json"))
    assert len(said["commits"]) == 1
    assert target.log() == [said["commit"]]
    assert target.samples("HEAD") == IN_THE_END


def test_a_dry_run_changes_nothing(source, kind, target):
    said = target.migrate(kind, source.data, "images", "--dry-run")
    assert "first  +3 ~0 -0 files" in said
    assert "4 commits with their code would go on branch" in said
    assert target.git("for-each-ref") == ""
    assert not (target.path / ".git" / "hangar" / "migrations").exists()


def test_commits_whose_objects_are_missing_are_named_and_left_out_on_demand(source, kind, target):
    source.object(npy(20)).unlink()
    said = target.migrate(kind, source.data, "images", code=1)
    assert "b.npy" in said
    assert "changed" in said
    assert "fetch --all" in said
    assert target.git("for-each-ref") == ""
    assert "left out: the objects of b.npy" in target.migrate(
        kind, source.data, "images", "--skip-missing", "--dry-run"
    )
    found = json.loads(target.migrate(kind, source.data, "images", "--skip-missing", "--json"))
    assert [one["title"].split(" ", 1)[1] for one in found["skipped"]] == ["changed", "merged"]
    # The code of these commits is there, with the data of those before.
    assert target.samples("HEAD") == AT_FIRST
    assert target.git("show", "HEAD:train.py") == "3"


def test_a_damaged_object_is_refused_and_what_came_before_it_is_kept(source, kind, target):
    damaged = source.object(npy(20))
    good = damaged.read_bytes()
    damaged.write_bytes(npy(21))
    said = target.migrate(kind, source.data, "images", code=1)
    assert "damaged" in said
    assert "changed" in said
    assert damaged.name[:8] in said
    assert target.git("for-each-ref", "refs/heads") == ""
    damaged.write_bytes(good)
    target.migrate(kind, source.data, "images")
    assert target.samples("HEAD") == IN_THE_END
    assert target.samples(target.log()[0]) == AT_FIRST
    assert target.git("for-each-ref", "refs/hangar") == ""


@pytest.mark.parametrize(
    "point", ["store.container-renamed:1", "commit.object-written:9", "commit.update-recorded:1",
              "commit.ref-moved:1"],
)  # fmt: skip
def test_a_killed_migration_leaves_the_old_state_or_the_new_and_goes_on(point, tmp_path, target):
    source = LfsFolder(tmp_path / "source")
    for number in range(4):
        source.commit({f"{n}.npy": npy(10 * number + n) for n in range(3)}, f"step {number}")
    done = subprocess.run(
        [sys.executable, "-m", "hangar_git.cli.main", "migrate", "lfs", str(source.data), "images"],
        env=os.environ | {"HANGAR_FAILPOINT": point}, check=False, capture_output=True,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    # Before the ref has moved nothing is to be seen, and afterwards all.
    tips = target.git("for-each-ref", "refs/heads").splitlines()
    assert len(tips) == (point == "commit.ref-moved:1")
    target.migrate("lfs", source.data, "images")
    assert [target.samples(one) for one in target.log()] == [
        {str(n): 10 * number + n for n in range(3)} for number in range(4)
    ]
    assert target.git("status", "--porcelain") == ""
    target.check()


def test_an_interrupted_migration_goes_on_where_it_was(tmp_path, target, monkeypatch):
    from hangar_git.migration import samples

    source = DvcFolder(tmp_path / "source")
    for number in range(4):
        source.commit({"a.npy": npy(number), "b.npy": npy(7)}, f"step {number}")
    edits, calls = samples.SampleReader.edits, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return edits(self, *arguments)

    monkeypatch.setattr(samples.SampleReader, "edits", interrupted)
    said = target.migrate("dvc", source.data, "images", code=130)
    assert "2 commits of 4 are done" in said
    assert target.git("for-each-ref", "refs/heads") == ""
    # Neither Git's gc nor ours takes away what is there so far.
    target.git("gc", "-q", "--prune=now")
    assert main(["gc", "--grace", "now"]) == 0
    target.migrate("dvc", source.data, "images")
    assert len(calls) == 5
    assert [target.samples(one)["a"] for one in target.log()] == [0, 1, 2, 3]
    target.check()


def test_files_that_are_not_right_are_named_with_their_commit(tmp_path, target):
    source = LfsFolder(tmp_path / "source")
    source.commit({"a.npy": npy(1)}, "good")
    source.commit({"a.npy": npy(1), "b.npy": npy(1, (9, 9)), "c.npy": b"no array"}, "bad")
    said = target.migrate("lfs", source.data, "images", code=1)
    assert "bad" in said
    assert "b.npy" in said
    assert "/tmp" not in said
    assert "--keep-going" in said
    found = target.migrate("lfs", source.data, "images", "--keep-going", code=1)
    assert "'b.npy'" in found
    assert "left out: c.npy" in found
    assert target.samples("HEAD") == {"a": 1}


def test_shapes_that_vary_make_the_arrayset_grow(tmp_path, target):
    source = DvcFolder(tmp_path / "source", layout="")  # as before DVC 3
    source.commit({"a.npy": npy(1)}, "small")
    source.commit({"a.npy": npy(1), "b.npy": npy(2, (9, 1))}, "large")
    target.migrate("dvc", source.path / "data.dvc", "images", "--variable-shape")
    co = Repository(target.path).checkout()
    assert co["images"].shape == (9, 3)
    assert co["images"]["b"].shape == (9, 1)
    co.close()


def test_files_of_many_samples_are_compared_sample_by_sample(tmp_path, target):
    def npz(**values: int) -> bytes:
        from io import BytesIO

        file = BytesIO()
        np.savez(file, **{name: np.full(3, value, "i4") for name, value in values.items()})
        return file.getvalue()

    source = LfsFolder(tmp_path / "source")
    source.commit({"all.npz": npz(a=1, b=2, c=3)}, "one")
    source.commit({"all.npz": npz(a=1, b=20, d=4)}, "two")
    found = json.loads(target.migrate("lfs", source.data, "images", "--json"))
    counts = [(one["added"], one["changed"], one["removed"]) for one in found["commits"]]
    assert counts == [(3, 0, 0), (1, 1, 1)]
    assert target.samples("HEAD") == {"a": 1, "b": 20, "d": 4}


def test_folders_are_outer_names_or_texts_or_groups(tmp_path, target):
    import zarr

    source = LfsFolder(tmp_path / "source")
    zarr.save_array(str(tmp_path / "z.zarr"), np.arange(6, dtype="i4").reshape(2, 3))
    group = {
        f"z.zarr/{path.relative_to(tmp_path / 'z.zarr').as_posix()}": path.read_bytes()
        for path in (tmp_path / "z.zarr").rglob("*") if path.is_file()
    }  # fmt: skip
    source.commit({"x/a.npy": npy(1), "y/a.npy": npy(2), "note.txt": b"hi", **group}, "all")
    target.migrate("lfs", source.data, "nested", "--nested", "--pattern", "*/?.npy")
    co = Repository(target.path).checkout(commit="HEAD")
    assert sorted(co["nested"].keys()) == ["x", "y"]
    co.close()
    target.migrate("lfs", source.data, "notes", "--pattern", "*.txt", "--branch", "n")
    target.migrate("lfs", source.data, "raw", "--kind", "bytes", "--pattern", "*.txt", "--branch",
                   "r")  # fmt: skip
    target.migrate("lfs", source.data, "rows", "--pattern", "*.zarr", "--branch", "z")
    for branch, name, wanted in (("n", "notes", "hi"), ("r", "raw", b"hi")):
        co = Repository(target.path).checkout(commit=branch)
        assert co[name]["note"] == wanted
        co.close()
    assert target.samples("z", "rows") == {"z": 0}


def test_what_dvc_could_not_read_either_is_named_with_its_commit(tmp_path, target):
    source = DvcFolder(tmp_path / "source")
    source.commit({"a.npy": npy(1)}, "good")
    (source.path / "data.dvc").write_text("<<<<<<< ours\nouts: [\n")
    source.commit(None, "conflict")
    said = target.migrate("dvc", source.data, "images", code=1)
    assert "conflict" in said
    assert "data.dvc" in said
    (source.path / "data.dvc").write_text("outs:\n- md5: ../../etc/passwd\n  path: data\n")
    source.git("commit", "-q", "--amend", "-a", "-m", "no digest")
    assert "no MD5 digest" in target.migrate("dvc", source.data, "images", code=1)
    manifest = json.dumps([{"md5": source.put(npy(1)), "relpath": "../../x.npy"}]).encode()
    (source.path / "data.dvc").write_text(
        f"outs:\n- md5: {source.put(manifest, '.dir')}\n  path: data\n"
    )
    source.git("commit", "-q", "--amend", "-a", "-m", "outside")
    assert "outside of its directory" in target.migrate("dvc", source.data, "images", code=1)


def test_paths_that_lead_out_of_a_group_are_refused():
    with pytest.raises(FormatError, match="no path"):
        with_groups({"z.zarr/../../x": Content("git:1")})


def test_two_samples_of_one_name_are_refused(tmp_path, target):
    source = LfsFolder(tmp_path / "source")
    source.commit({"x/a.npy": npy(1)}, "one")
    source.commit({"x/a.npy": npy(1), "y/a.npy": npy(2)}, "two")
    said = target.migrate("lfs", source.data, "images", "--keys-from", "stem", code=1)
    assert "y/a.npy" in said
    assert "--keys-from" in said


def test_outs_of_a_pipeline_and_single_files_are_found(tmp_path, target):
    source = DvcFolder(tmp_path / "source")
    whole, one = source.manifest({"a.npy": npy(1), "in/b.npy": npy(2)}), source.put(npy(3))
    (source.path / "stage").mkdir()
    (source.path / "stage" / "dvc.yaml").write_text(
        "stages:\n  make:\n    foreach: [1]\n    do:\n      cmd: x\n    wdir: ..\n"
    )
    (source.path / "stage" / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  make@1:\n    cmd: x\n    outs:\n"
        f"    - path: data\n      md5: {whole}\n"
    )
    (source.path / "data").mkdir()
    (source.path / ".gitignore").unlink()
    (source.path / "data" / "more.npy.dvc").write_text(
        f"outs:\n- md5: {one}\n  path: more.npy\n- path: s3://bucket/x\n  etag: abc\n"
    )
    source.commit(None, "outs")
    target.migrate("dvc", source.data, "images")
    assert target.samples("HEAD") == {"a": 1, "in.b": 2, "more": 3}
    target.migrate("dvc", source.data / "in", "part", "--branch", "part", "--no-code")
    assert target.samples("part", "part") == {"b": 2}
    target.migrate("dvc", source.data / "more.npy.dvc", "one", "--branch", "one", "--no-code")
    assert target.samples("one", "one") == {"more": 3}


def test_a_cache_elsewhere_is_found_or_named(tmp_path, target):
    source = DvcFolder(tmp_path / "source")
    source.commit({"a.npy": npy(1)}, "one")
    elsewhere = tmp_path / "shared cache"
    (source.path / ".dvc" / "cache").rename(elsewhere)
    assert "--skip-missing" in target.migrate("dvc", source.data, "images", code=1)
    (source.path / ".dvc" / "config.local").write_text("[cache]\n    dir = ../../shared cache\n")
    target.migrate("dvc", source.data, "images")
    (source.path / ".dvc" / "config.local").unlink()
    target.migrate("dvc", source.data, "again", "--branch", "again", "--objects", elsewhere)
    assert target.samples("again", "again") == {"a": 1}
    bare = tmp_path / "bare.git"
    Git(tmp_path)("clone", "-q", "--bare", str(source.path), str(bare))
    target.migrate("dvc", bare / "data", "bare", "--branch", "bare", "--objects", elsewhere)
    assert target.samples("bare", "bare") == {"a": 1}


def test_texts_hashed_by_old_dvc_are_not_taken_for_damaged(tmp_path, target):
    source = DvcFolder(tmp_path / "source", layout="")
    digest = hashlib.md5(b"a\nb\n").hexdigest()
    place = source.cache / digest[:2] / digest[2:]
    place.parent.mkdir(parents=True)
    place.write_bytes(b"a\r\nb\r\n")
    (source.path / "note.txt.dvc").write_text(f"outs:\n- md5: {digest}\n  path: note.txt\n")
    source.commit(None, "text")
    target.migrate("dvc", source.path / "note.txt", "notes")
    co = Repository(target.path).checkout()
    assert co["notes"]["note"] == "a\r\nb\r\n"
    co.close()


def test_versions_are_commits_in_the_order_of_their_numbers(tmp_path, target):
    top = tmp_path / "versions"
    for number in (1, 2, 10):
        (top / f"v{number}" / "sub").mkdir(parents=True)
        np.save(top / f"v{number}" / "same.npy", np.full((2, 3), 7, "u1"))
        np.save(top / f"v{number}" / "sub" / "x.npy", np.full((2, 3), number, "u1"))
        for path in (top / f"v{number}").rglob("*.npy"):
            os.utime(path, (1_600_000_000 + number, 1_600_000_000 + number))
    (top / ".hidden").mkdir()
    assert "3 commits" in target.migrate("versions", top, "images")
    shown = target.git("log", "--reverse", "--format=%s %at").splitlines()
    assert shown == [f"v{number} {1_600_000_000 + number}" for number in (1, 2, 10)]
    assert [target.samples(one) for one in target.log()] == [
        {"same": 7, "sub.x": number} for number in (1, 2, 10)
    ]
    shutil.copytree(top / "v10", top / "v11")
    np.save(top / "v11" / "new.npy", np.full((2, 3), 5, "u1"))
    found = json.loads(target.migrate("versions", top, "images", "--json"))
    assert [(one["title"], one["added"], one["changed"]) for one in found["commits"]] == [
        ("v11", 1, 0)
    ]
    target.check()


def test_mistakes_are_one_line(source, kind, target, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "not in a Git repository" in target.migrate(kind, tmp_path / "nope", "x", code=1)
    assert "no directories" in target.migrate("versions", tmp_path / "empty", "x", code=1)
    assert "not a directory" in target.migrate("versions", tmp_path / "nope", "x", code=1)
    assert "'other'" in target.migrate(kind, source.path / "other", "x", code=1)
    assert "nope" in target.migrate(kind, source.data, "x", "--revision", "nope", code=1)
    assert "no files that fit" in target.migrate(kind, source.data, "x", "--pattern", "?", code=1)
    assert "a b" in target.migrate(kind, source.data, "a b", code=1)
    assert "no directory" in target.migrate(kind, source.data, "x", "--objects", "nope", code=1)
    target.migrate(kind, source.data, "images")
    head = target.git("branch", "--show-current")
    again = target.migrate(kind, source.data, "other", "--branch", head, "--code", code=1)
    assert "is there already" in again
    again = target.migrate(kind, source.data, "images", "--branch", head, "--no-code", code=1)
    assert "arrayset 'images'" in again
    co = Repository(target.path).checkout(write=True)
    co["images"]["z"] = np.zeros((2, 3), "u1")
    co.close()
    assert "staged" in target.migrate(kind, source.data, "o", "--no-code", "--branch", head, code=1)


def test_pointers_and_names_of_versions():
    oid = "ab" * 32
    good = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12345\n"
    assert pointer_oid(good.encode()) == oid
    extended = good.replace("oid", f"ext-0-foo sha256:{oid}\noid", 1)
    assert pointer_oid(extended.encode()) == oid
    for wrong in (b"", good.encode() + b"x", good.replace("sha256", "md5").encode()):
        assert pointer_oid(wrong) is None
    assert sorted(["v10", "v2", "2021-10", "2021-9"], key=natural) == [
        "2021-9", "2021-10", "v2", "v10",
    ]  # fmt: skip
