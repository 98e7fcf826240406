"""The command line, as processes: every command, and the mistakes that users make."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
from click.testing import CliRunner
from repositories import USER_EMAIL, USER_NAME

from hangar_git import Repository
from hangar_git.cli.main import PROGRAM, cli

from .conftest import Shell


def test_the_main_job_at_the_command_line(tmp_path):
    path = tmp_path / "work"
    files = tmp_path / "files"
    for directory in (path, files):
        directory.mkdir()
    for name, value in (("a", 1), ("b", 2)):
        np.save(files / f"{name}.npy", np.full((2, 3), value, "u1"))
    hangar = Shell(path)
    hangar("init", "--name", USER_NAME, "--email", USER_EMAIL)
    hangar("arrayset", "create", "images", "UINT8", "2", "3")
    hangar("import", "images", str(files))
    hangar("commit", "-m", "first", "-m", "second line")
    head = subprocess.run(["git", "log", "-1", "--format=%B"], cwd=path,
                          capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert head.strip() == "first\nsecond line"
    assert "nothing staged" in hangar("status")
    np.savez(tmp_path / "more.npz", c=np.full((2, 3), 3, "u1"))
    hangar("import", "images", str(tmp_path / "more.npz"))
    status = json.loads(hangar("status", "--json"))
    assert status["arraysets"]["images"]["samples"]["added"] == ["c"]
    assert "1 added" in hangar("status")
    hangar("commit", "-m", "third")
    assert hangar("log").count(": ") == 2
    assert len(json.loads(hangar("log", "--json"))["order"]) == 2
    assert "Num Arrays: 3" in hangar("summary")
    assert json.loads(hangar("summary", "--json"))["arraysets"]["images"]["num_samples"] == 3
    assert "images" in hangar("arrayset", "list")
    out = tmp_path / "out"
    hangar("export", "images", "-o", str(out))
    assert sorted(file.name for file in out.iterdir()) == ["a.npy", "b.npy", "c.npy"]
    hangar("export", "images", "HEAD~1", "-o", str(out / "old"), "-s", "str:a")
    (one,) = (out / "old").iterdir()
    np.testing.assert_array_equal(np.load(one), np.full((2, 3), 1, "u1"))


def test_branches_and_checkouts(filled):
    filled("branch", "create", "topic")
    assert "topic" in filled("branch", "list")
    filled("checkout", "topic")
    head = subprocess.run(["git", "symbolic-ref", "--short", "HEAD"], cwd=filled.path,
                          capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert head.strip() == "topic"
    filled("arrayset", "create", "labels", "INT64", "1")
    assert "staged" in filled.fails("checkout", "master")
    filled("reset", "--staged")
    filled("checkout", "master")
    filled("branch", "delete", "topic")
    assert "topic" in filled.fails("checkout", "topic")


def test_images_are_imported_and_exported(hangar, tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(1).integers(0, 255, (5, 4, 3), np.uint8)
    image.fromarray(pixels).save(tmp_path / "x.png")
    hangar("arrayset", "create", "photos", "UINT8", "9", "9", "3", "--variable-shape")
    hangar("import", "photos", str(tmp_path / "x.png"))
    hangar("commit", "-m", "photo")
    hangar("export", "photos", "-f", "png", "-o", str(tmp_path / "out"))
    (file,) = (tmp_path / "out").rglob("*.png")
    np.testing.assert_array_equal(np.asarray(image.open(file)), pixels)


def test_everything_works_from_a_subdirectory_and_in_a_bare_clone(filled, tmp_path):
    deep = filled.path / "a" / "b"
    deep.mkdir(parents=True)
    assert "Num Arrays: 2" in filled("summary", cwd=deep)
    subprocess.run(["git", "clone", "-q", "--bare", str(filled.path), str(tmp_path / "bare")],
                   check=True)  # fmt: skip
    assert "Num Arrays: 2" in filled("summary", cwd=tmp_path / "bare")
    assert "first" in filled("log", cwd=tmp_path / "bare")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["summary", "nope"], "nope"),
        (["log", "nope"], "nope"),
        (["branch", "create", "a b"], "not valid"),
        (["branch", "delete", "nope"], "nope"),
        (["arrayset", "create", "images", "UINT8", "2"], "already exists"),
        (["arrayset", "create", "bad name", "UINT8", "2"], "not valid"),
        (["arrayset", "remove", "nope"], "nope"),
        (["import", "nope", "."], "nope"),
        (["export", "images", "-s", "nope"], "nope"),
        (["commit", "-m", "x"], "nothing"),
        (["commit", "-m", ""], "nothing|empty"),
        (["merge", "nope"], "nope"),
        (["merge", "--abort"], "no merge"),
        (["merge", "--continue"], "no merge"),
        (["resolve", "images", "a", "--ours"], "no merge"),
        (["revert", "nope"], "nope"),
        (["restore", "images", "--source", "nope"], "nope"),
        (["blame", "images", "nope"], "nope"),
        (["diff", "nope"], "nope"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(arguments, says, filled):
    import re

    assert re.search(says, filled.fails(*arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        ["nope"],
        ["arrayset", "create", "x", "UINT9", "2"],
        ["arrayset", "create", "x", "UINT8", "0"],
        ["merge"],
        ["log", "--sample", "a"],
        ["resolve", "images"],
        ["branch"],
    ],
    ids=" ".join,
)
def test_a_malformed_command_is_a_usage_error(arguments, filled):
    filled.fails(*arguments, code=2)


def test_bad_files_leave_nothing_staged(filled, tmp_path):
    bad = tmp_path / "bad"
    bad.mkdir()
    np.save(bad / "good.npy", np.zeros((2, 3), "u1"))
    for name, content in (("x.npy", b"rubbish"), ("y.png", b"rubbish")):
        (bad / name).write_bytes(content)
        assert name in filled.fails("import", "images", str(bad))
        (bad / name).unlink()
    np.save(bad / "shape.npy", np.zeros((2, 4), "u1"))
    assert "shape" in filled.fails("import", "images", str(bad))
    (bad / "shape.npy").unlink()
    np.save(bad / "a.npy", np.full((2, 3), 9, "u1"))
    assert "overwrite" in filled.fails("import", "images", str(bad))
    assert "nothing staged" in filled("status")
    filled("import", "--overwrite", "images", str(bad))
    assert "1 added, 1 changed" in filled("status")


def test_a_held_lock_and_no_repository_are_told(filled, tmp_path):
    co = Repository(filled.path).checkout(write=True)
    assert "writer" in filled.fails("arrayset", "create", "x", "UINT8", "2")
    assert "On branch" in filled("status")
    co.close()
    (tmp_path / "none").mkdir()
    assert "git hangar init" in filled.fails("status", cwd=tmp_path / "none")


def test_damaged_staging_is_set_aside_as_its_error_says(filled):
    co = Repository(filled.path).checkout(write=True)
    co["images"]["x"] = np.zeros((2, 3), "u1")
    co.close()
    journal = filled.path / ".git/hangar/staging/journal"
    data = bytearray(journal.read_bytes())
    data[-5] ^= 1
    journal.write_bytes(data)
    assert "git hangar reset --staged" in filled.fails("commit", "-m", "x")
    assert "journal.damaged" in filled("reset", "--staged")
    assert "nothing staged" in filled("status")
    assert journal.with_name("journal.damaged").read_bytes() == data


def test_merging_resolving_and_tracing(filled):
    def change(branch, *pairs):
        co = Repository(filled.path).checkout(write=True, branch=branch)
        for key, value in pairs:
            co["images"][key] = np.full((2, 3), value, "u1")
        co.commit(f"on {branch}")
        co.close()

    filled("branch", "create", "dev")
    change("dev", ("a", 50), (7, 1))
    change("master", ("a", 60), ("b", 61))
    assert "1 added, 2 mutated" in filled("diff", "--stat", "master", "dev")
    assert "PSNR" in filled("diff", "--values", "master", "dev", "--", "images")
    assert json.loads(filled("diff", "--json", "master", "dev"))["arraysets"]["images"][
        "added"
    ] == [7]
    done = filled.run("merge", "dev")
    assert done.returncode == 1
    assert "sample 'a': changed on both sides" in done.stderr
    assert "Merging" in filled("status")
    assert "1 of 1" not in filled("resolve", "images", "a", "--theirs")
    assert "Merge dev" in filled("merge", "--continue")
    co = Repository(filled.path).checkout()
    assert co["images", "a"][0, 0] == 50
    assert co["images", 7][0, 0] == 1
    co.close()
    assert filled("log", "--arrayset", "images", "--sample", "int:7").count("\n") == 1
    assert filled("blame", "images").count("\n") == 3
    np.save(filled.path.parent / "v.npy", np.full((2, 3), 99, "u1"))
    filled("branch", "create", "dev2")
    change("dev2", ("b", 1))
    change("master", ("b", 2))
    assert filled.run("merge", "dev2").returncode == 1
    filled("merge", "--abort")
    assert filled.run("merge", "dev2", "-m", "again").returncode == 1
    filled("resolve", "images", "b", "--value", str(filled.path.parent / "v.npy"))
    filled("merge", "--continue")
    co = Repository(filled.path).checkout()
    assert co["images", "b"][0, 0] == 99
    co.close()
    filled("restore", "images", "b", "--source", "dev2")
    assert "1 changed" in filled("status")
    filled("commit", "-m", "restored")
    filled("revert", "HEAD")
    co = Repository(filled.path).checkout()
    assert co["images", "b"][0, 0] == 99
    co.close()


def subcommands(command, *path):
    """The path of every command, groups too."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from subcommands(inner, *path, name)


def test_help_and_version_are_there_for_every_command(hangar):
    assert "version" in hangar("--version")
    assert "Usage: git hangar arrayset create" in hangar("arrayset", "create", "--help")
    for path in subcommands(cli):
        for option in ("-h", "--help"):
            done = CliRunner().invoke(cli, [*path, option], prog_name=PROGRAM)
            assert done.exit_code == 0
            assert done.output.startswith(f"Usage: {' '.join([PROGRAM, *path])} ")
