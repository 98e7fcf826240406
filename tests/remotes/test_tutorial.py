"""Part 3 of Hangar 0.4's tutorial, as it stands but for the import and the data's size."""

from __future__ import annotations

import numpy as np
import pytest

from hangar_git import Repository

from .remoteplaces import Server


def test_part_3_working_with_remote_servers(tmp_path, capsys):
    for name in ("intro", "dota-clone"):
        (tmp_path / name).mkdir()
    with Server("--default", tmp_path / "served") as server:
        _tutorial(tmp_path, f"localhost:{server.port}", capsys)


def _tutorial(tmp_path, address, capsys):
    rng = np.random.default_rng(1)
    testData = rng.integers(0, 3, (200, 117), np.uint8)
    trainData = rng.integers(0, 3, (500, 117)).astype(np.uint16)
    repo = Repository(tmp_path / "intro", exists=False)
    repo.init(user_name="Rick Izzo", user_email="rick@tensorwerk.com", remove_old=True)
    co = repo.checkout(write=True)
    master = co.branch_name
    co.arraysets.init_arrayset(name="test", prototype=testData[0], named_samples=False)
    with co.arraysets["test"] as ds:
        for gameData in testData:
            ds.add(gameData)
    co.commit("initial commit on master with test data")
    repo.create_branch("add-train")
    co.close()
    co = repo.checkout(write=True, branch="add-train")
    co.arraysets.init_arrayset(name="train", prototype=trainData[0], named_samples=False)
    with co.arraysets["train"] as dt:
        for gameData in trainData:
            dt.add(gameData)
    train_commit = co.commit("added training data on another branch")
    co.close()
    co = repo.checkout(write=True, branch=master)
    co.metadata["earaea"] = "eara"
    co.commit("more changes here")
    co.close()

    info = repo.remote.add("origin", address)
    assert (info.name, info.address) == ("origin", address)
    assert repo.remote.list_all() == [info]
    assert repo.remote.push("origin", master) == master
    assert repo.remote.push("origin", "add-train") == "add-train"

    cloneRepo = Repository(tmp_path / "dota-clone", exists=False)
    cloned = cloneRepo.clone("rick izzo", "rick@tensorwerk.com", address, remove_old=True)
    assert cloned == master
    assert cloneRepo.list_branches() == [master, f"origin/{master}"]
    assert cloneRepo.remote.fetch("origin", "add-train") == "origin/add-train"
    assert cloneRepo.list_branches() == [master, "origin/add-train", f"origin/{master}"]
    cloneRepo.create_branch("add-train", train_commit)

    co = cloneRepo.checkout(branch=master)
    assert "- test / True" in repr(co.arraysets)
    assert "Partial Remote Data Refs : True" in repr(co.arraysets["test"])
    testKey = next(co.arraysets["test"].keys())
    with pytest.raises(FileNotFoundError):
        co.arraysets["test"][testKey]
    co.close()

    head = cloneRepo.log(return_contents=True)["head"]
    assert cloneRepo.remote.fetch_data("origin", branch=master) == [head]
    co = cloneRepo.checkout(branch=master)
    assert "- test / False" in repr(co.arraysets)
    assert co["test", testKey].shape == (117,)
    co.close()

    co = cloneRepo.checkout(branch="add-train")
    assert {"- test / False", "- train / True"} <= {
        line.strip() for line in repr(co.arraysets).splitlines()
    }
    trainKey = next(co.arraysets["train"].keys())
    with pytest.raises(FileNotFoundError):
        co.arraysets["train"][trainKey]
    co.close()

    merged = cloneRepo.merge("merge commit here", master, "add-train")
    cloneRepo.summary()
    printed = capsys.readouterr().out
    assert "Num Arrays: 200" in printed
    assert "Num Arrays: 500" in printed
    assert cloneRepo.remote.push("origin", master) == master
    assert repo.log(return_contents=True)["head"] == head
    assert repo.remote.fetch("origin", master) == f"origin/{master}"
    assert repo.merge("ff-merge", master, f"origin/{master}") == merged
    assert repo.log(return_contents=True)["head"] == merged
