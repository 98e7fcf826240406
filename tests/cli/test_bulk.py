"""``git hangar import`` and ``export`` of many files, and what goes wrong with them."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import numpy as np
import pytest
from PIL import Image
from processes import wait_for

from hangar_git import Repository


@pytest.fixture
def shell(hangar):
    hangar("arrayset", "create", "images", "uint8", "4", "5", "3")
    return hangar


def picture(number: int):
    return np.full((4, 5, 3), number, np.uint8)


@pytest.fixture
def folders(tmp_path):
    """Pictures in folders of two classes, with the same file names."""
    for label, numbers in (("cat", (1, 2)), ("dog", (3, 4))):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for at, number in enumerate(numbers):
            Image.fromarray(picture(number)).save(tmp_path / "pets" / label / f"{at}.png")
    return tmp_path / "pets"


def samples(shell, name="images"):
    co = Repository(shell.path).checkout(write=True)
    found = {key: dict(one) if co[name].contains_subsamples else one
             for key, one in co[name].items()}  # fmt: skip
    co.close()
    return found


def test_class_folders_are_imported_as_images_and_labels(shell, folders):
    shell("arrayset", "create", "--kind", "str", "labels")
    shell("arrayset", "create", "numbers", "int64", "1")
    assert "4 samples" in shell("import", "images", str(folders), "--labels", "labels")
    assert samples(shell, "labels") == {
        "cat.0": "cat", "cat.1": "cat", "dog.0": "dog", "dog.1": "dog",
    }  # fmt: skip
    assert samples(shell)["dog.1"][0, 0, 0] == 4
    shell("import", "images", str(folders), "--labels", "numbers", "--overwrite")
    assert {key: array.item() for key, array in samples(shell, "numbers").items()} == {
        "cat.0": 0, "cat.1": 0, "dog.0": 1, "dog.1": 1,
    }  # fmt: skip
    co = Repository(shell.path).checkout(write=True)
    assert json.loads(co.metadata["numbers.classes"]) == ["cat", "dog"]
    co.close()


def test_missing_arraysets_are_made_if_told(hangar, folders, tmp_path):
    assert "--create" in hangar.fails("import", "new", str(folders), "-r")
    hangar("import", "new", str(folders), "--create", "--labels", "classes")
    assert "uint8 (4, 5, 3), 4 samples" in hangar("arrayset", "list")
    (tmp_path / "t.txt").write_text("a text")
    hangar("import", "notes", str(tmp_path / "t.txt"), "--create")
    assert samples(hangar, "notes") == {"t": "a text"}


def test_nested_samples_go_in_and_out_by_folder(hangar, folders, tmp_path):
    hangar("arrayset", "create", "--nested", "pets", "uint8", "4", "5", "3")
    hangar("import", "pets", str(folders))
    hangar("commit", "-m", "nested")
    out = tmp_path / "out"
    hangar("export", "pets", "-f", "png", "-o", str(out), "-s", "cat", "-s", "dog/str:1")
    assert sorted(str(one.relative_to(out)) for one in out.rglob("*.png")) == [
        "cat/0.png", "cat/1.png", "dog/1.png",
    ]  # fmt: skip
    assert json.loads(hangar("view", "pets", "dog/1", "--json"))["max"] == 4
    assert "OUTER/INNER" in hangar.fails("view", "pets", "dog")
    hangar("export", "pets", "-f", "tar", "-o", str(out))
    hangar("arrayset", "create", "--nested", "again", "uint8", "4", "5", "3")
    hangar("import", "again", str(out / "pets.tar"))
    np.testing.assert_array_equal(samples(hangar, "again")["dog"]["1"], picture(4))


def test_texts_are_imported_and_exported(hangar, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        (tmp_path / "in" / f"{name}.txt").write_text(f"Text {name} ä\n")
    hangar("arrayset", "create", "--kind", "str", "notes")
    hangar("import", "notes", str(tmp_path / "in"))
    hangar("commit", "-m", "texts")
    assert hangar("view", "notes", "a") == "Text a ä\n"
    for extension in ("txt", "csv", "parquet", "tar"):
        out = tmp_path / extension
        hangar("export", "notes", "-f", extension, "-o", str(out))
        hangar("arrayset", "create", "--kind", "str", f"from-{extension}")
        hangar("import", f"from-{extension}", str(out))
        assert samples(hangar, f"from-{extension}") == {"a": "Text a ä\n", "b": "Text b ä\n"}


@pytest.mark.parametrize("extension", ["npz", "h5", "zarr", "parquet", "arrow", "csv", "tar"])
def test_whole_arraysets_go_to_one_file_and_come_back(shell, folders, tmp_path, extension):
    shell("import", "images", str(folders), "--keys-from", "path")
    shell("commit", "-m", "x")
    before = samples(shell)
    out = tmp_path / "out"
    said = json.loads(shell("export", "images", "-f", extension, "-o", str(out), "--json"))
    assert said["exported"] == 4
    assert [one.name for one in out.iterdir()] == [f"images.{extension}"]
    assert "exists" in shell.fails("export", "images", "-f", extension, "-o", str(out))
    shell("export", "images", "-f", extension, "-o", str(out), "--overwrite")
    shell("arrayset", "create", "again", "uint8", "4", "5", "3")
    shell("import", "again", str(out / f"images.{extension}"))
    after = samples(shell, "again")
    assert before.keys() == after.keys()
    for key, array in before.items():
        np.testing.assert_array_equal(after[key], array)


def test_options_of_plugins_reach_them_and_wrong_ones_are_named(shell, tmp_path):
    Image.fromarray(np.full((4, 5), 7, np.uint8)).save(tmp_path / "gray.png")
    assert "(4, 5)" in shell.fails("import", "images", str(tmp_path / "gray.png"))
    shell("import", "images", str(tmp_path / "gray.png"), "--mode=RGB")
    assert samples(shell)["gray"].tolist() == picture(7).tolist()
    said = shell.fails("import", "images", str(tmp_path / "gray.png"), "--moode=RGB", "--overwrite")
    assert "moode" in said
    said = shell.fails("import", "images", "x.png", "--overwrit", code=2)
    assert "--overwrite" in said


def damaged(folders):
    (folders / "cat" / "bad.png").write_bytes(b"\x89PNG rubbish")
    np.save(folders / "cat" / "wrong.npy", np.zeros((2, 2), np.uint8))
    (folders / "cat" / "my file.png").write_bytes((folders / "cat" / "0.png").read_bytes())
    (folders / "cat" / "notes.doc").write_text("what is this")


def test_what_is_not_right_is_named_and_left_out_or_nothing_is_staged(shell, folders):
    damaged(folders)
    assert "nothing was staged" in shell.fails("import", "images", str(folders / "cat"))
    assert samples(shell) == {}
    done = shell.run("import", "images", str(folders / "cat"), "--keep-going", "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert said["staged"] == 2
    for name in ("bad.png", "wrong.npy", "my file.png", "notes.doc"):
        assert sum(name in line for line in said["refused"]) == 1
        assert name in done.stderr
    assert sorted(samples(shell)) == ["0", "1"]


def test_a_bad_part_of_a_file_leaves_out_the_whole_file(shell, tmp_path):
    np.savez(tmp_path / "x.npz", a=picture(1), b=picture(2)[:2], c=picture(3))
    done = shell.run("import", "images", str(tmp_path / "x.npz"), "--keep-going")
    assert done.returncode == 1
    assert samples(shell) == {}


def test_a_loop_of_links_is_named_and_nothing_is_staged_or_it_is_left_out(shell, folders):
    (folders / "cat" / "up").symlink_to(folders)
    arguments = ("import", "images", str(folders), "-r", "--keys-from", "path")
    assert "links to a directory that it lies in" in shell.fails(*arguments)
    assert samples(shell) == {}
    done = shell.run(*arguments, "--keep-going")
    assert done.returncode == 1
    assert sorted(samples(shell)) == ["cat.0", "cat.1", "dog.0", "dog.1"]


def test_names_that_no_sample_can_have_are_mapped_as_told(shell, folders):
    (folders / "cat" / "0.png").rename(folders / "cat" / "my file (1).png")
    assert "my file (1)" in shell.fails("import", "images", str(folders / "cat"))
    shell("import", "images", str(folders / "cat"), "--replace", "_")
    assert sorted(samples(shell)) == ["1", "my_file__1_"]


def test_a_file_that_changes_while_it_is_read_is_refused(shell, folders, monkeypatch):
    from click.testing import CliRunner

    from hangar_git.cli.main import cli
    from hangar_git.plugins.images import ImagePlugin

    load = ImagePlugin.load

    def changing(self, fpath, **options):
        found = load(self, fpath, **options)
        os.utime(fpath, (1, 1))
        return found

    monkeypatch.setattr(ImagePlugin, "load", changing)
    monkeypatch.chdir(shell.path)
    done = CliRunner().invoke(cli, ["import", "images", str(folders / "cat")])
    assert "changed while it was read" in str(done.exception)
    assert samples(shell) == {}


SLOW = """
import os, pathlib, time
from hangar_git.external import BasePlugin
import numpy as np

class Slow(BasePlugin):
    def __init__(self):
        super().__init__(["load"], ["slow"])

    def load(self, fpath):
        time.sleep(0.05)
        pathlib.Path(os.environ["SEEN"], fpath.name).touch()
        return np.full((4, 5, 3), len(fpath.read_text()) % 256, np.uint8), self.sample_name(fpath)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill-9"])
def test_an_interrupted_import_is_gone_on_with(shell, tmp_path, how):
    site = tmp_path / "site"
    info = site / "slow-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "slow_plugin.py").write_text(SLOW)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hangar_git.plugins]\nslow = slow_plugin:Slow\n")
    files = tmp_path / "files"
    files.mkdir()
    for number in range(400):
        (files / f"{number:03}.slow").write_text("x" * (number % 200) + "\n" * 4096)
    seen = tmp_path / "seen"
    seen.mkdir()
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    more = {"PYTHONPATH": path, "SEEN": str(seen)}
    process = subprocess.Popen(
        ["git-hangar", "import", "images", str(files)], cwd=shell.path,
        env=shell.environment | more,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell's background job ignores SIGINT, and so would this process.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip
    log = shell.path / ".git" / "hangar" / "imports"
    wait_for(lambda: len(list(seen.iterdir())) > 60 if how == signal.SIGINT else log.exists())
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "--resume" in errors
    staged = len(samples(shell))
    assert 0 < staged < 400
    again = shell.fails("import", "images", str(files), **more)
    assert "--resume" in again or "already" in again
    # A run without --resume forgets what was done, but nothing is lost: overwrite takes all.
    shell("import", "images", str(files), "--overwrite", **more)
    found = samples(shell)
    assert len(found) == 400
    assert found["007"][0, 0, 0] == (7 + 4096) % 256


def test_a_resumed_import_reads_only_what_is_left(shell, folders, monkeypatch):
    from click.testing import CliRunner

    from hangar_git.cli.main import cli
    from hangar_git.plugins.images import ImagePlugin

    load, read = ImagePlugin.load, []

    def interrupted(self, fpath, **options):
        read.append(fpath.name)
        return load(self, fpath, **options)

    monkeypatch.setattr(ImagePlugin, "load", interrupted)
    monkeypatch.setattr("hangar_git.plugins.decoding._TASK_FILES", 1)
    monkeypatch.setattr("hangar_git.cli.stagingfiles._DURABLE_EVERY_S", -1)
    take = __import__("hangar_git.cli.stagingfiles", fromlist=["FileStager"]).FileStager._take

    def stopping(self, decoded):
        if self.files == 2:
            raise KeyboardInterrupt
        return take(self, decoded)

    monkeypatch.chdir(shell.path)
    arguments = ["import", "images", str(folders), "--keys-from", "path"]
    with monkeypatch.context() as patch:
        patch.setattr("hangar_git.cli.stagingfiles.FileStager._take", stopping)
        done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 130
    assert "2 samples of 2 files" in done.output
    assert len(samples(shell)) == 2
    read.clear()
    done = CliRunner().invoke(cli, [*arguments, "--resume", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["unchanged_files"] == 2
    assert len(read) == 2
    assert len(samples(shell)) == 4
    assert not list((shell.path / ".git" / "hangar" / "imports").iterdir())


def test_an_exported_zarr_directory_is_the_view_of_the_commit(shell, folders, tmp_path):
    xarray = pytest.importorskip("xarray")
    import zarr

    shell("import", "images", str(folders), "--keys-from", "path")
    shell("arrayset", "create", "--kind", "str", "notes")
    (tmp_path / "a.txt").write_text("one ä")
    (tmp_path / "int=7.txt").write_text("")
    shell("import", "notes", str(tmp_path / "a.txt"), str(tmp_path / "int=7.txt"))
    shell("commit", "-m", "x")
    out = tmp_path / "out"
    shell("export", "images", "-f", "zarr", "-o", str(out))
    co = Repository(shell.path).checkout()
    view, written = zarr.open(co.to_zarr(), mode="r"), zarr.open(str(out / "images.zarr"), mode="r")
    assert written["images"].metadata.to_dict().keys() == view["images"].metadata.to_dict().keys()
    np.testing.assert_array_equal(written["images"][...], view["images"][...])
    assert written["key"][...].tolist() == sorted(co["images"].keys())
    with xarray.open_zarr(out / "images.zarr") as data:
        assert data["images"].sel(key="dog.1").values[0, 0, 0] == 4
    shell("export", "images", "-f", "zarr", "-o", str(tmp_path / "part"), "-s", "dog.1")
    part = zarr.open(str(tmp_path / "part" / "images.zarr"), mode="r")
    np.testing.assert_array_equal(part["images"][...], [co["images"]["dog.1"]])
    # Texts, and keys of both types, come back as they were.
    shell("export", "notes", "-f", "zarr", "-o", str(out))
    shell("arrayset", "create", "--kind", "str", "again")
    shell("import", "again", str(out / "notes.zarr"))
    assert samples(shell, "again") == {7: "", "a": "one ä"}
    assert "no option 'level'" in shell.fails(
        "export", "images", "-f", "zarr", "-o", str(out), "--overwrite", "--level=3"
    )
    co.close()
