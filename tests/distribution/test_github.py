"""The workflow of this project, and its action for pull requests: run as they are written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from repositories import Git, make_repository

from hangar_git import Repository

ROOT = Path(__file__).parents[2]
ACTION = ROOT / ".github" / "actions" / "data-check"
GH = """\
#!/bin/sh
# Stands in for gh: keeps comments in files, one of them written by another workflow.
case "$*" in
    *--paginate*) [ -f "$GH_COMMENTS/ours" ] && echo 7; exit 0 ;;
    *"-X PATCH repos/me/data/issues/comments/7"*) name=ours ;;
    *repos/me/data/issues/3/comments*) name=ours; [ -f "$GH_COMMENTS/ours" ] && exit 9 ;;
    *) exit 8 ;;
esac
for last; do :; done
cp "${last#body=@}" "$GH_COMMENTS/$name"
"""


def steps() -> dict[str, dict]:
    """The steps of the action that are shell, by name."""
    document = yaml.safe_load((ACTION / "action.yml").read_text())
    assert document["runs"]["using"] == "composite"
    return {one["name"]: one for one in document["runs"]["steps"] if "run" in one}


@pytest.fixture
def pull_request(tmp_path):
    """A clone without data of a repository with branches main and topic, as a runner has it."""
    origin = tmp_path / "origin.git"
    Git(tmp_path)("init", "-q", "--bare", "-b", "main", str(origin))
    work = make_repository(tmp_path / "work")
    git = Git(tmp_path / "work")
    git("remote", "add", "origin", str(origin))
    git("symbolic-ref", "HEAD", "refs/heads/main")
    co = work.checkout(write=True)
    images = co.arraysets.init_arrayset("images", shape=(8, 8), dtype=np.uint8)
    scans = co.arraysets.init_arrayset("scans", shape=(8, 8), dtype=np.uint8,
                                       contains_subsamples=True)  # fmt: skip
    images.update({n: np.full((8, 8), 20 * n, np.uint8) for n in range(6)})
    scans.update({("ann", "ct"): np.full((8, 8), 9, np.uint8)})
    base = co.commit("base")
    work.create_branch("topic")
    co.close()
    co = work.checkout(write=True, branch="topic")
    co["images"]["new"] = np.full((8, 8), 250, np.uint8)
    co["images"][1] = np.full((8, 8), 200, np.uint8)
    del co["images"][2]
    co["scans"].update({("ann", "mr"): np.full((8, 8), 90, np.uint8)})
    co.metadata["note"] = "x"
    head = co.commit("topic")
    co.close()
    for branch in ("main", "topic"):
        work.remote.push("origin", branch)
    Git(tmp_path)("clone", "-q", "--depth", "1", f"file://{origin}", "runner")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gh").write_text(GH)
    (tmp_path / "bin" / "gh").chmod(0o755)
    (tmp_path / "comments").mkdir()
    return Runner(tmp_path, base, head)


class Runner:
    """Runs steps of the action as GitHub does."""

    def __init__(self, place: Path, base: str, head: str) -> None:
        self.place, self.path, self.head = place, place / "runner", head
        self.summary = place / "summary.md"
        self.values = {
            "github.event.pull_request.base.sha": base,
            "github.event.pull_request.head.sha": head,
            "github.event.pull_request.number": "3",
            "github.action_path": str(ACTION),
            "github.server_url": "https://git.example",
            "github.repository": "me/data",
            "github.run_id": "5",
            "inputs.remote": "origin",
            "inputs.samples": "16",
            "inputs.pictures-branch": "",
            "inputs.token": "secret",
        }

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        step = steps()[name]
        path = os.pathsep.join([str(self.place / "bin"), str(Path(sys.executable).parent),
                                os.environ["PATH"]])  # fmt: skip
        environment = os.environ | {
            "PATH": path, "GITHUB_STEP_SUMMARY": str(self.summary),
            "RUNNER_TEMP": str(self.place), "GH_COMMENTS": str(self.place / "comments"),
        }  # fmt: skip
        for key, text in step.get("env", {}).items():
            environment[key] = re.sub(r"\$\{\{ *(.*?) *\}\}", lambda m: self.values[m[1]], text)
        script = self.place / "step.sh"
        script.write_text(step["run"])
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
            cwd=self.path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip


def test_a_pull_request_is_told_of_with_pictures(pull_request):
    run = pull_request
    run.values["inputs.pictures-branch"] = "pictures"
    for name in ("Compare", "Summary", "Pictures", "Comment", "Comment", "Pictures"):
        done = run.run(name)
        assert done.returncode == 0, (name, done.stderr)
    said = run.summary.read_text()
    assert "| `images` | 1 | 1 | 1 |" in said
    assert "| `scans` | 1 | 0 | 0 |" in said
    assert "Changed metadata: `note`" in said
    assert "All arrays are at origin." in said
    url = f"https://git.example/me/data/raw/pictures/{run.head}/images.png"
    comment = (run.place / "comments" / "ours").read_text()
    assert comment.startswith("<!-- hangar data check -->\n### Changed data")
    assert f"![images]({url})" in comment
    assert "[This run](https://git.example/me/data/actions/runs/5)" in comment
    listed = Git(run.place / "origin.git")("ls-tree", "-r", "--name-only", "pictures").split()
    assert listed == [f"{run.head}/images.png", f"{run.head}/scans.png"]
    from PIL import Image

    with Image.open(run.path / "data-report" / "images.png") as drawn:
        # Added, deleted, changed: before above, after below.
        assert drawn.size == (3 * 96, 2 * 96)
        tops = [drawn.getpixel((96 * n + 48, 48))[0] for n in range(3)]
        below = [drawn.getpixel((96 * n + 48, 144))[0] for n in range(3)]
    assert (tops, below) == ([255, 40, 20], [250, 255, 200])
    # What is not drawn was not fetched.
    co = Repository(run.path).checkout(commit=run.head)
    assert sorted(map(str, co["images"].keys(local=True))) == ["1", "new"]
    co.close()


def test_a_pull_request_whose_arrays_are_not_at_the_remote_fails(pull_request):
    run = pull_request
    work = Repository(run.place / "work")
    co = work.checkout(write=True, branch="topic")
    co["images"]["lost"] = np.full((8, 8), 77, np.uint8)
    run.values["github.event.pull_request.head.sha"] = co.commit("without its data")
    co.close()
    Git(run.place / "work")("push", "-q", "--no-verify", "origin", "topic")
    assert run.run("Compare").returncode == 1
    assert run.run("Summary").returncode == 0
    assert "**origin lacks 1 arrays**, such as `images/lost`" in run.summary.read_text()
    assert run.run("Comment").returncode == 0


def test_a_pull_request_without_data_is_told_of_as_such(pull_request):
    run = pull_request
    run.values["github.event.pull_request.head.sha"] = run.values[
        "github.event.pull_request.base.sha"
    ]
    assert run.run("Compare").returncode == 0
    assert "No tensor data changed." in (run.path / "data-report" / "report.md").read_text()
    run.values["github.event.pull_request.head.sha"] = "0" * 40
    (run.path / "data-report" / "report.md").unlink()
    assert run.run("Compare").returncode != 0
    # There is nothing to tell, and no further error.
    assert run.run("Summary").returncode == run.run("Comment").returncode == 0


def test_inputs_and_steps_of_the_action_fit_one_another():
    document = yaml.safe_load((ACTION / "action.yml").read_text())
    text = (ACTION / "action.yml").read_text()
    named = set(re.findall(r"inputs\.([a-z-]+)", text))
    assert named == set(document["inputs"])
    for step in document["runs"]["steps"]:
        assert "uses" in step or step["shell"] == "bash"
        assert "${{" not in step.get("run", ""), "what others write must not become shell"


def test_the_workflow_runs_what_is_there():
    document = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert document["permissions"] == {"contents": "read"}
    makefile = (ROOT / "Makefile").read_text()
    for job in document["jobs"].values():
        for step in job["steps"]:
            command = step.get("run", "").split()
            if command[:1] == ["make"]:
                assert all(f"\n{target}:" in makefile for target in command[1:])
            elif command and command[0].startswith(".ci/"):
                assert os.access(ROOT / command[0], os.X_OK)
    assert json.dumps(document["jobs"])
