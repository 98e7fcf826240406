"""What all commands share: start-up, help, manual pages, completion, quiet, typos, show, view."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from hangar_git import Repository
from hangar_git.cli.completion import SCRIPTS
from hangar_git.cli.main import ENTRIES, cli
from hangar_git.cli.manual import pages

ROOT = Path(__file__).parents[2]
HEAVY = {
    "h5py", "hdf5plugin", "zarr", "numcodecs", "grpc", "google.protobuf", "PIL", "pyarrow", "tqdm",
    "nibabel", "pydicom", "soundfile", "obstore", "asyncio", "torch", "tensorflow", "pandas",
    "numpy", "lmdb", "hangar_git.api", "hangar_git.store", "hangar_git.records.merge",
    "hangar_git.plugins",
}  # fmt: skip
REFERENCE = {
    "arrayset create": ["--variable-shape", "--named", "name", "dtype", "shape"],
    "arrayset remove": ["name"],
    "branch create": ["name", "startpoint"],
    "branch delete": ["-f", "--force", "name"],
    "branch list": [],
    "checkout": ["branchname"],
    "clone": ["--name", "--email", "--overwrite", "remote"],
    "commit": ["-m", "--message"],
    "export": ["-o", "--out", "-s", "--sample", "-f", "--format", "--plugin", "arrayset",
               "startpoint"],
    "fetch": ["remote", "branch"],
    "fetch-data": ["-d", "--aset", "-n", "--nbytes", "-a", "--all-history", "remote", "startpoint"],
    "import": ["--branch", "--plugin", "--overwrite", "arrayset", "paths"],
    "init": ["--name", "--email", "--overwrite"],
    "log": ["startpoint"],
    "push": ["remote", "branch"],
    "remote add": ["name", "address"],
    "remote list": [],
    "remote remove": ["name"],
    "server": ["--overwrite", "--ip", "--port", "--timeout"],
    "status": [],
    "summary": ["startpoint"],
    "view": ["-f", "--format", "--plugin", "arrayset", "sample", "startpoint"],
}  # fmt: skip


def command(path: str):
    found = cli
    for name in path.split():
        found = found.get_command(cli.make_context("git hangar", [], resilient_parsing=True), name)
    return found


@pytest.mark.parametrize("path", REFERENCE)
def test_commands_of_hangar_0_4_take_its_arguments_and_options(path):
    taken = {name for one in command(path).params for name in (*one.opts, one.name)}
    assert set(REFERENCE[path]) <= taken


def test_status_starts_without_heavy_imports(filled):
    code = (
        "import sys; from hangar_git.cli.main import main; main(['status']);"
        "print(len(sys.modules)); print('\\n'.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=filled.path, capture_output=True,
                          text=True, check=True)  # fmt: skip
    lines = done.stdout.splitlines()
    assert "nothing staged" in done.stdout
    assert not HEAVY & set(lines)
    ours = [line for line in lines if line.startswith("hangar_git.")]
    assert len(ours) < 40


def test_reading_and_committing_import_nothing_of_the_network(filled):
    code = (
        "import sys; from hangar_git import Repository; repo = Repository('.');"
        "co = repo.checkout(write=True); co['images']['c'] = co['images']['a']; co.commit('more');"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=filled.path, capture_output=True,
                          text=True, check=True)  # fmt: skip
    assert not {"grpc", "obstore", "asyncio", "google.protobuf"} & set(done.stdout.split())


def test_help_lists_commands_with_the_help_that_they_have():
    shown = CliRunner().invoke(cli, ["-h"]).output
    for name, entry in ENTRIES.items():
        assert command(name).get_short_help_str(100) == entry.help
        assert f"\n  {name} " in shown
    assert "\n  hook " not in shown


def test_manual_pages_and_completion_scripts_are_those_of_the_commands():
    """`make man` writes the pages."""
    stored = {path.name: path.read_text() for path in (ROOT / "docs" / "man").iterdir()}
    made = pages()
    assert stored.keys() == made.keys()
    for name, text in made.items():
        assert stored[name].splitlines() == text.splitlines(), name
    for name, shell in (
        ("git-hangar", "bash"),
        ("_git-hangar", "zsh"),
        ("git-hangar.fish", "fish"),
    ):
        assert (ROOT / "docs" / "completion" / name).read_text() == SCRIPTS[shell]


def test_manual_pages_are_valid_roff(tmp_path):
    import shutil

    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    for path in (ROOT / "docs" / "man").iterdir():
        done = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-z", str(path)],
                              capture_output=True, text=True, check=True)  # fmt: skip
        assert done.stderr == "", path.name


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [(["statsu"], "status"), (["exprot"], "export"), (["status", "--jsn"], "--json"),
     (["arrayset", "creat"], "create")],
)  # fmt: skip
def test_a_typo_is_told_what_was_meant(arguments, meant, filled):
    said = filled.fails(*arguments, code=2)
    assert meant in said.partition("Did you mean")[2]


def test_names_that_are_almost_right_are_told(filled):
    filled("branch", "create", "topic")
    for wrong, meant in (
        (["export", "imges"], "images"), (["checkout", "topik"], "topic"),
        (["summary", "topci"], "topic"), (["diff", "imags"], "images"),
        (["blame", "image"], "images"), (["branch", "delete", "topi"], "topic"),
        (["view", "Images", "a"], "images"),
    ):  # fmt: skip
        assert f"did you mean '{meant}'?" in filled.fails(*wrong)
    assert "did you mean" not in filled.fails("export", "something")


def test_whatever_reports_does_so_in_json(filled):
    """What needs a remote is in tests/remotes."""
    first = filled("log").split()[1]

    def told(*arguments: str, code: int = 0):
        done = filled.run(*arguments, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    main = told("status")["branch"]
    assert told("branch", "list") == {"writer": main, "branches": [main]}
    filled("branch", "create", "topic")
    for value, branch in ((7, "topic"), (8, main)):
        filled("checkout", branch)
        co = Repository(filled.path).checkout(write=True)
        co["images"]["a"] = np.full((2, 3), value, np.uint8)
        co.close()
        kinds = {"added": [], "mutated": ["a"], "deleted": []}
        assert told("status")["arraysets"]["images"]["samples"] == kinds
        made = told("commit", "-m", branch)
        assert made["arraysets"]["images"]["samples"] == kinds
        assert (made["branch"], made["message"]) == (branch, branch)
    conflict = told("merge", "topic", code=1)["conflicts"][0]
    assert (conflict["arrayset"], conflict["key"], conflict["type"]) == ("images", "a", "t3")
    assert told("resolve", "images", "a", "--theirs") == {"left": 0, "conflicts": 1}
    merged = told("merge", "--continue")
    assert merged["commit"] == told("show")["commit"]
    assert told("restore", "images", "a", "--source", first)["samples"] == ["a"]
    assert told("reset", "--staged")["dropped"]["arraysets"]["images"]["samples"]["mutated"] == [
        "a"
    ]
    assert told("reset", "--staged")["dropped"]["arraysets"] == {}
    assert told("revert", "HEAD^2")["branch"] == main
    assert told("blame", "images", "b") == [{"sample": "b", "commit": first}]
    for command in ("du", "fsck", "gc", "repack", "plugins", "summary", "log", "diff"):
        assert isinstance(told(command), dict), command
    assert told("remote", "list") == []
    assert told("arrayset", "list")[0]["num_samples"] == 2
    users = filled.path / "users.json"
    filled("users", "add", "ann", "--file", str(users), "--token", "laptop", "--right", "read")
    assert told("users", "list", "--file", str(users)) == [
        {"name": "ann", "password": False, "tokens": ["laptop"], "rights": ["read:*"]}
    ]


def test_the_exit_code_of_diff_tells_on_demand_whether_anything_differs(filled):
    assert filled.run("diff", "HEAD", "--exit-code").returncode == 0
    co = Repository(filled.path).checkout(write=True)
    co.metadata["m"] = "v"
    co.close()
    assert filled.run("diff").returncode == 0
    done = filled.run("diff", "--exit-code")
    assert (done.returncode, done.stdout) == (1, "+ metadata 'm': 'v'\n")


def test_colors_are_those_that_git_would_use(filled):
    plain, colored = filled("log"), filled("log", "--color")
    assert colored.startswith("* \x1b[33m")
    assert click.unstyle(colored) == plain
    assert filled("log", "--color=always", "--no-color") == plain
    assert "\x1b" in filled("diff", "--color", "HEAD") or filled("diff", "HEAD") == ""
    for setting, command in (
        ("color.ui", "log"),
        ("color.diff", "show"),
        ("color.branch", "branch"),
    ):
        subprocess.run(["git", "config", setting, "always"], cwd=filled.path, check=True)
        arguments = [command, "list"] if command == "branch" else [command]
        assert "\x1b[" in filled(*arguments)
        assert "\x1b[" not in filled(*arguments, "--color=never")
        assert "\x1b[" not in filled(*arguments, NO_COLOR="1")
        assert "\x1b[" in filled(*arguments, "--color=always", NO_COLOR="1")
    assert "\x1b" not in filled("status", "--json", "--color")
    assert "sometimes" in filled.fails("status", "--color=sometimes", code=2)


def complete(shell, *words: str) -> list[str]:
    done = subprocess.run(
        ["git-hangar"], cwd=shell.path, capture_output=True, text=True, check=False,
        env=shell.environment | {"_GIT_HANGAR_COMPLETE": "bash_complete",
                                 "COMP_WORDS": " ".join(["git-hangar", *words]),
                                 "COMP_CWORD": str(len(words))},
    )  # fmt: skip
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_commands_options_revisions_arraysets_and_samples_are_completed(filled):
    filled("branch", "create", "topic")
    assert complete(filled, "sta") == ["status"]
    assert "--overwrite" in complete(filled, "import", "--over")
    assert complete(filled, "checkout", "to") == ["topic"]
    assert complete(filled, "export", "ima") == ["images"]
    assert complete(filled, "view", "images", "a") == ["a"]
    assert complete(filled, "summary", "HE") == ["HEAD"]
    assert complete(filled, "export", "images", "-f", "np") == ["npy", "npz"]
    assert complete(filled, "diff", "im") == ["images"]
    filled("remote", "add", "origin", "localhost:1")
    assert complete(filled, "push", "or") == ["origin"]
    assert complete(filled, "remote", "check", "or") == ["origin"]
    assert complete(filled, "branch", "delete", "to") == ["topic"]
    assert complete(filled, "arrayset", "remove", "im") == ["images"]
    assert not any(complete(filled, "arrayset", "create", "im"))


def test_bash_completes_by_the_script(filled):
    script = (
        'eval "$(git hangar completion bash)"; COMP_WORDS=(git hangar view images "");'
        "COMP_CWORD=4;"
        '_git_hangar; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], cwd=filled.path, env=filled.environment,
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.split() == ["a", "b"]


def test_quiet_commands_print_errors_only(filled, tmp_path):
    np.save(tmp_path / "c.npy", np.zeros((2, 3), np.uint8))
    assert filled("import", "-q", "images", str(tmp_path / "c.npy")) == ""
    assert "already" in filled.fails("import", "--quiet", "images", str(tmp_path / "c.npy"))
    assert filled("commit", "-q", "-m", "x") == ""
    assert filled("branch", "create", "topic", "--quiet") == ""


def test_show_summarizes_a_commit(filled):
    co = Repository(filled.path).checkout(write=True)
    co["images", "c"] = np.zeros((2, 3), np.uint8)
    co["images", "a"] = np.zeros((2, 3), np.uint8)
    del co["images"]["b"]
    co.metadata["m"] = "v"
    co.commit("second")
    co.close()
    said = filled("show")
    assert "images: 1 added, 1 deleted, 1 mutated" in said
    assert "images: uint8 (2, 3), 2 samples" in said
    assert "metadata m: added" in said
    document = json.loads(filled("show", "HEAD~1", "--json"))
    assert document["message"] == "first\nsecond line"
    assert document["changes"]["arraysets"]["images"]["added"] == ["a", "b"]
    assert "nope" in filled.fails("show", "nope")


def test_view_prints_statistics_where_there_are_no_colors(filled):
    said = filled("view", "images", "a")
    assert "\x1b" not in said
    assert "2 x 3" in said
    assert json.loads(filled("view", "images", "b", "--json"))["mean"] == 2
    assert filled("view", "images", "a", "--plugin", "numpy") == "[[1 1 1]\n [1 1 1]]\n"
    for wrong in (["images", "nope"], ["images", "a", "--plugin", "nope"], ["images", "a/b"]):
        filled.fails("view", *wrong)


def on_terminal(shell, *arguments: str) -> str:
    main, side = pty.openpty()
    process = subprocess.Popen(
        ["git-hangar", *arguments], cwd=shell.path, stdout=side, stdin=subprocess.DEVNULL,
        env=shell.environment | {"TERM": "xterm-256color", "GIT_PAGER": "sed s/^/paged:/"},
    )  # fmt: skip
    os.close(side)
    read = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:
            break
        if not part:
            break
        read += part
    os.close(main)
    assert process.wait(timeout=30) == 0
    return read.decode()


def test_a_terminal_gets_a_picture_a_pager_and_colors(filled):
    assert "\N{UPPER HALF BLOCK}" in on_terminal(filled, "view", "images", "a")
    shown = on_terminal(filled, "show")
    assert shown.startswith("paged:\x1b[33mcommit")
    assert not on_terminal(filled, "--no-pager", "show").startswith("paged:")


def test_half_blocks_fit_and_keep_colors():
    from hangar_git.plugins.terminal import half_blocks, picture_of, statistics

    picture = np.zeros((100, 400, 3), np.uint8)
    picture[:50] = [255, 0, 0]
    lines = half_blocks(picture, 80, 24).split("\n")
    assert len(lines) == 10
    assert lines[0].count("\N{UPPER HALF BLOCK}") == 80
    assert "38;2;255;0;0" in lines[0]
    assert "38;2;0;0;0" in lines[-1]
    assert picture_of(np.zeros((3, 4, 5))) is None
    assert picture_of(np.array([[np.nan, 1.0], [2.0, np.inf]])).max() == 255
    assert statistics(np.array([1.0, np.nan]))["not_finite"] == 1


def test_plugins_are_listed(filled):
    assert "images" in filled("plugins")
    assert json.loads(filled("plugins", "--json"))["broken"] == {}


def test_kinds_and_nesting_are_created(hangar):
    hangar("arrayset", "create", "notes", "--kind", "str")
    hangar("arrayset", "create", "scans", "INT16", "2", "2", "--nested", "--variable-shape")
    hangar("arrayset", "create", "values", "FLOAT64", "--scalar")
    said = json.loads(hangar("arrayset", "list", "--json"))
    assert [(one["name"], one["kind"], one["nested"], one["shape"]) for one in said] == [
        ("notes", "str", False, None), ("scans", "array", True, [2, 2]),
        ("values", "array", False, []),
    ]  # fmt: skip
    assert json.loads(hangar("branch", "list", "--json"))["writer"] == "master"
    for wrong in (["x"], ["x", "UINT8"], ["x", "UINT8", "2", "--kind", "str"]):
        hangar.fails("arrayset", "create", *wrong, code=2)


def test_the_report_of_the_data_check_counts_and_draws(filled, tmp_path):
    co = Repository(filled.path).checkout(write=True)
    co["images", "c"] = np.full((2, 3), 9, np.uint8)
    co["images", "a"] = np.full((2, 3), 255, np.uint8)
    co.commit("second")
    co.close()
    script = ROOT / ".github" / "actions" / "data-check" / "report.py"
    subprocess.run([sys.executable, str(script), "HEAD~1", "HEAD", "--out", str(tmp_path / "r")],
                   cwd=filled.path, env=filled.environment, check=True)  # fmt: skip
    assert "| `images` | 1 | 0 | 1 |" in (tmp_path / "r" / "report.md").read_text()
    from PIL import Image

    with Image.open(tmp_path / "r" / "images.png") as drawn:
        assert drawn.size == (192, 192)
