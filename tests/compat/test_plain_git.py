"""What plain Git does with record files, no driver installed: right, or a loud conflict."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import numpy as np
import pytest

from hangar_git import Repository
from hangar_git.records.edits import ArraysetEdits, Edits
from hangar_git.schema import Schema

from .histories import SCHEMA, History, change, new

OTHER_DTYPE = Schema(np.dtype("<f4"), (2, 3))
OTHER_SHAPE = Schema(np.dtype("u1"), (4, 4))


def run(path, *arguments, check=True, **options):
    return subprocess.run(
        ["git", *arguments], cwd=path, capture_output=True, text=True, check=check, **options
    )


def merge_tree(history, ours, theirs):
    return run(history.path, "merge-tree", "--write-tree", str(ours), str(theirs), check=False)


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "repo", seed=3)


@pytest.fixture
def base(history):
    return history.first(300)


def removed_and(edits: Edits) -> Edits:
    return Edits({"images": None} | edits.arraysets)


REPLACEMENTS = {
    "another arrayset is added": lambda h: removed_and(
        new("scans", {key: h.digest() for key in range(300)})
    ),
    "it is copied under a new name": lambda h: removed_and(
        new("copies", h.records(h.git.pygit2.references["refs/heads/main"].target))
    ),
    "it is made again with another dtype": lambda h: new(
        "images", {key: h.digest() for key in range(300)}, OTHER_DTYPE
    ),
    "it is made again with another shape": lambda h: new(
        "images", {key: h.digest() for key in range(300)}, OTHER_SHAPE
    ),
}


@pytest.mark.parametrize("what", REPLACEMENTS)
@pytest.mark.parametrize("edit", ["add", "change"])
def test_removing_an_arrayset_conflicts_with_a_change_in_it(what, edit, history, base):
    ours = history.commit(REPLACEMENTS[what](history), (base,))
    key = "added" if edit == "add" else 7
    theirs = history.commit(change({key: history.digest()}), (base,))
    for one, two in ((ours, theirs), (theirs, ours)):
        done = merge_tree(history, one, two)
        assert done.returncode == 1
        assert "CONFLICT" in done.stdout


def test_metadata_replaced_by_another_of_the_same_value_keeps_its_key(history, base):
    start = history.commit(Edits(metadata={"a": "same"}), (base,))
    ours = history.commit(Edits(metadata={"a": None, "b": "same"}), (start,))
    theirs = history.commit(Edits(metadata={"a": "changed"}), (start,))
    assert merge_tree(history, ours, theirs).returncode == 1


def test_dtype_changed_on_one_side_and_shape_on_the_other_conflicts(history, base):
    values = {key: history.digest() for key in range(300)}
    ours = history.commit(new("images", values, OTHER_DTYPE), (base,))
    theirs = history.commit(new("images", values, OTHER_SHAPE), (base,))
    assert merge_tree(history, ours, theirs).returncode == 1


def test_fan_outs_that_differ_conflict_in_plain_git(history, base):
    many = {f"n{i}": history.digest() for i in range(16 * 1024)}
    ours = history.commit(change(many), (base,))
    assert history.snapshots(ours).arrayset("images").schema.fanout == 256
    theirs = history.commit(change({7: history.digest()}), (base,))
    assert merge_tree(history, ours, theirs).returncode == 1


def test_rebase_cherry_pick_and_revert_keep_every_sample(history, base):
    for branch, key in (("main", "ours"), ("topic", "theirs")):
        history.commit(change({key: history.digest()}), (base,), branch=branch)
    path = history.path
    run(path, "reset", "-q", "--hard", "main")
    tips = {b: history.records(history.git.pygit2.references[f"refs/heads/{b}"].target)
            for b in ("main", "topic")}  # fmt: skip
    both = tips["main"] | tips["topic"]

    def now():
        return history.records(history.git.pygit2.head.target)

    run(path, "cherry-pick", "topic")
    assert now() == both
    run(path, "revert", "--no-edit", "HEAD")
    assert now() == tips["main"]
    run(path, "switch", "-q", "topic")
    run(path, "rebase", "-q", "main")
    assert now() == both
    assert run(path, "status", "--porcelain").stdout == ""
    run(path, "fsck", "--strict")


def test_gc_and_tags_and_bisect_leave_records_readable(history, base):
    tip = base
    for number in range(8):
        tip = history.commit(change({number: history.digest()}), (tip,), branch="main")
        run(history.path, "tag", f"v{number}", str(tip))
    bad = history.records(tip)
    run(history.path, "gc", "--quiet", "--prune=now")
    assert History(history.path).records(tip) == bad
    run(history.path, "reset", "-q", "--hard", "main")
    run(history.path, "bisect", "start", "v7", str(base))
    file = next((history.path / ".hangar/arraysets/images/records/16").glob("*")).parent
    value = bad[5].hex()
    done = run(history.path, "bisect", "run", "sh", "-c", f"! grep -qr {value} {file}")
    assert "v5" in run(history.path, "tag", "--points-at", "refs/bisect/bad").stdout, done.stdout
    run(history.path, "bisect", "reset")


def test_shallow_blobless_and_sparse_clones_read_records(history, base, tmp_path):
    tip = history.commit(change({7: history.digest()}), (base,), branch="main")
    run(history.path, "symbolic-ref", "HEAD", "refs/heads/main")
    run(history.path, "config", "uploadpack.allowFilter", "true")
    url = f"file://{history.path}"
    for name, options in (
        ("shallow", ["--depth=1"]),
        ("blobless", ["--filter=blob:none", "--no-checkout"]),
        ("treeless", ["--filter=tree:0", "--no-checkout"]),
        ("sparse", ["--sparse"]),
    ):
        run(tmp_path, "clone", "-q", *options, url, name)
        checkout = Repository(tmp_path / name).checkout()
        images = checkout["images"]
        assert len(images) == 300
        assert 7 in images
        with pytest.raises(FileNotFoundError):
            images[7]
        assert checkout.commit_hash == str(tip)
        checkout.close()


def test_commits_in_a_sparse_clone_leave_the_rest_sparse(tmp_path, git, repo):
    co = repo.checkout(write=True)
    co.arraysets.init_arrayset("images", shape=(2,), dtype=np.uint8)["a"] = np.zeros(2, "u1")
    co.commit("one")
    co.close()
    run(tmp_path, "clone", "-q", "--sparse", f"file://{repo.path}", "sparse")
    clone = Repository(tmp_path / "sparse")
    co = clone.checkout(write=True)
    co["images"]["b"] = np.ones(2, "u1")
    co.commit("two")
    co.close()
    assert run(tmp_path / "sparse", "status", "--porcelain").stdout == ""
    assert not (tmp_path / "sparse" / ".hangar" / "arraysets").exists()


def test_attributes_autocrlf_and_gitignore_of_the_user_change_nothing(repo, git):
    path = git.path
    (path / ".gitattributes").write_text("* filter=lfs eol=crlf working-tree-encoding=UTF-16\n")
    (path / ".gitignore").write_text("*.json\n")
    git("config", "core.autocrlf", "true")
    untracked = "?? .gitattributes\n?? .gitignore"
    co = repo.checkout(write=True)
    images = co.arraysets.init_arrayset("images", shape=(2,), dtype=np.uint8)
    for key in range(50):
        images[key] = np.full(2, key, "u1")
    co.metadata["m"] = "v"
    co.commit("data")
    images[3] = np.full(2, 99, "u1")
    co.commit("more")
    co.close()
    assert git("status", "--porcelain") == untracked
    git("stash", "list")
    git("checkout", "-q", "HEAD~1")
    git("checkout", "-q", "-")
    assert git("status", "--porcelain") == untracked
    for file in (path / ".hangar").rglob("*"):
        assert not file.is_file() or b"\r" not in file.read_bytes()
    reader = repo.checkout()
    assert reader["images", 3][0] == 99
    reader.close()


def test_stash_and_worktrees_leave_staged_data_alone(repo, git, tmp_path):
    co = repo.checkout(write=True)
    images = co.arraysets.init_arrayset("images", shape=(2,), dtype=np.uint8)
    images["a"] = np.zeros(2, "u1")
    co.commit("one")
    images["b"] = np.ones(2, "u1")
    co.close()
    (git.path / "code.py").write_text("1\n")
    git("add", "code.py")
    git("stash")
    git("worktree", "add", "-q", "-b", "topic", str(tmp_path / "linked"))
    linked = Repository(tmp_path / "linked")
    reader = linked.checkout(branch="topic")
    assert list(reader["images"].keys()) == ["a"]
    writer = repo.checkout(write=True)
    assert list(writer["images"].keys()) == ["a", "b"]
    with pytest.raises(PermissionError):
        linked.checkout(write=True)
    writer.commit("two")
    writer.close()
    reader.close()
    git("stash", "pop")
    assert git("status", "--porcelain") == "A  code.py"
    assert run(tmp_path / "linked", "status", "--porcelain").stdout == ""
    git("fsck", "--strict")


def test_a_conflicted_record_file_is_refused_with_its_line(repo, git):
    co = repo.checkout(write=True)
    images = co.arraysets.init_arrayset("images", shape=(2,), dtype=np.uint8)
    images["a"] = np.zeros(2, "u1")
    co.commit("one")
    co.close()
    file = next(f for f in (git.path / ".hangar").rglob("16/*") if b"\ta\t" in f.read_bytes())
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(["<<<<<<< HEAD\n", *lines]))
    git("commit", "-qam", "by hand")
    reader = repo.checkout()
    with pytest.raises(Exception, match=r"line 1: a conflict marker"):
        reader["images", "a"]
    reader.close()


def test_our_merge_takes_fan_outs_that_differ(history, base):
    from hangar_git.records.merge import merge_snapshots

    many = {f"n{i}": history.digest() for i in range(16 * 1024)}
    ours = history.commit(change(many), (base,))
    value = history.digest()
    theirs = history.commit(change({7: value}), (base,))
    for one, two in ((ours, theirs), (theirs, ours)):
        result = merge_snapshots(*(history.snapshots(c) for c in (base, one, two)))
        assert not result.conflicts
        merged = history.commit(result.edits, (one,))
        assert history.records(merged) == history.records(base) | many | {7: value}


def test_hints_in_schemas_merge_and_identities_conflict(history, base):
    from hangar_git.records.merge import merge_snapshots

    hint = replace(SCHEMA, merge="ours")
    ours = history.commit(Edits({"images": ArraysetEdits(schema=hint)}), (base,))
    theirs = history.commit(change({7: history.digest()}), (base,))
    result = merge_snapshots(*(history.snapshots(c) for c in (base, ours, theirs)))
    assert not result.conflicts
    other = history.commit(Edits({"images": ArraysetEdits(schema=replace(SCHEMA, merge="fail"))}),
                           (base,))  # fmt: skip
    result = merge_snapshots(*(history.snapshots(c) for c in (base, ours, other)))
    assert [conflict.kind for conflict in result.conflicts] == ["t3"]
