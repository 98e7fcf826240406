"""The commands that have to do with remotes, as processes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from cli.conftest import Shell

from .remoteplaces import read, samples


def test_the_commands_from_remote_add_to_fetch_data(origin, branch, server, tmp_path):
    hangar = Shell(Path(origin.path))
    assert hangar("remote", "list") == ""
    hangar("remote", "add", "origin", server.bare)
    listed = json.loads(hangar("remote", "list", "--json"))
    assert listed == [{"name": "origin", "address": server.bare, "data": f"hangar://{server.bare}"}]
    assert "300 samples" in hangar("push", "origin", branch)
    assert "0 samples" in hangar("push", "origin", branch)
    place = tmp_path / "clone"
    place.mkdir()
    clone = Shell(place)
    clone("clone", server.bare, "--name", "Ada", "--email", "ada@example.org")
    said = clone("fetch-data", "origin", branch, "-n", "10kB", "--dry-run")
    assert said.startswith("12 samples (9.41 kB as arrays) would come from origin; 0 are here\n")
    assert "288 samples (225.79 kB) left out: beyond the size that was given" in said
    done = json.loads(clone("fetch-data", "origin", branch, "-s", "int:3", "--json"))
    assert (done["samples"], done["size_bytes"]) == (1, 784)
    assert clone("fetch", "origin", branch) == f"Fetched branch Name: origin/{branch}\n"
    clone("pull", "origin", branch)
    assert "no remote 'nope'" in clone.fails("fetch-data", "nope", branch)
    assert "is no branch" in clone.fails("fetch-data", "origin", "nope")
    assert "nothing to confirm" in clone("remote", "trust", "origin")
    assert "299 came from origin" in clone("fsck", "--fetch", "origin")
    assert "Removed remote" in hangar("remote", "remove", "origin")


def test_plain_git_clones_from_the_server_and_data_can_be_fetched(pushed, branch, server, tmp_path):
    from repositories import Git

    from hangar_git import Repository

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    Git(tmp_path)("clone", "-q", f"hangar://{server.bare}", "plain", PATH=path)
    repo = Repository(tmp_path / "plain")
    repo.remote.fetch_data("origin", branch)
    assert (read(repo, "x")[7] == samples(300)[7]).all()
