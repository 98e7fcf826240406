"""The tutorials of Hangar 0.4, as they stand but for the data: they run after changing the import.

Source: the reference's "Hangar Tutorial", parts 1 and 2, from ``repo = Repository(...)`` on.
"""

from __future__ import annotations

import numpy as np
import pytest

from hangar_git import Repository


@pytest.fixture
def trimgs():
    return np.random.default_rng(0).integers(0, 256, (64, 784), dtype=np.uint8)


@pytest.fixture
def trlabels():
    return np.arange(64) % 10


def test_part_1_creating_a_repository_and_working_with_data(
    tmp_path, trimgs, trlabels, capsys, monkeypatch
):
    # Git takes these before what init was told.
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL"):
        monkeypatch.delenv(name)
    repo = Repository(path=str(tmp_path), exists=False)
    where = repo.init(user_name="Rick Izzo", user_email="rick@example.org", remove_old=True)
    assert where == str(tmp_path / ".hangar")

    co = repo.checkout(write=True)
    assert repr(co).splitlines()[0] == "Hangar WriterCheckout"
    train_aset = co.arraysets.init_arrayset(name="mnist_training_images", prototype=trimgs[0])
    assert [line.split(":", 1)[0].rstrip() for line in repr(train_aset).splitlines()] == [
        "Hangar ArraysetDataWriter", "    Arrayset Name", "    Schema Hash",
        "    Variable Shape", "    (max) Shape", "    Datatype", "    Named Samples",
        "    Access Mode", "    Number of Samples", "    Partial Remote Data Refs",
    ]  # fmt: skip
    assert co.arraysets.get("mnist_training_images") is train_aset is co["mnist_training_images"]

    train_aset["0"] = trimgs[0]
    train_aset.add(data=trimgs[1], name="1")
    train_aset[51] = trimgs[51]
    co["mnist_training_images", 60] = trimgs[60]
    assert "hi" not in train_aset
    assert "0" in train_aset
    assert 60 in train_aset
    assert np.allclose(train_aset["0"], co["mnist_training_images", "0"])
    assert set(train_aset) == {"0", "1", 51, 60}
    assert len(dict(train_aset.items())) == len(list(train_aset.values())) == 4

    co.reset_staging_area()
    co.close()

    co = repo.checkout(write=True)
    sample_trimg, sample_trlabel = trimgs[0], np.array([trlabels[0]])
    aset_trimgs = co.arraysets.init_arrayset(name="train_images", prototype=sample_trimg)
    aset_trlabels = co.arraysets.init_arrayset(name="train_labels", prototype=sample_trlabel)
    with aset_trimgs, aset_trlabels:
        for idx, img in enumerate(trimgs):
            aset_trimgs.add(data=img, name=str(idx))
            aset_trlabels.add(data=np.array([trlabels[idx]]), name=str(idx))
    co.reset_staging_area()
    co.close()

    co = repo.checkout(write=True)
    co.arraysets.init_arrayset(name="train_images", prototype=sample_trimg)
    co.arraysets.init_arrayset(name="train_labels", prototype=sample_trlabel)
    with co:
        for idx, img in enumerate(trimgs):
            co[["train_images", "train_labels"], idx] = [img, np.array([trlabels[idx]])]
    digest = co.commit("hello world, this is my first hangar commit")
    co.close()
    assert repo.force_release_writer_lock() is True

    assert capsys.readouterr().out == ""
    repo.summary()
    told = capsys.readouterr().out
    for line in (f"|  Commit: {digest}", "|  By: Rick Izzo", "|  Number of Named Arraysets: 2",
                 "|    Num Arrays: 64", "|    - schema_max_shape: (784,)"):  # fmt: skip
        assert line in told
    repo.log()
    (branch,) = repo.list_branches()
    assert capsys.readouterr().out == (
        f"* {digest} ({branch}) : hello world, this is my first hangar commit\n"
    )


def test_part_2_checkouts_branching_and_merging(tmp_path, global_config, capsys):
    global_config("init.defaultBranch", "master")
    repo = Repository(path=str(tmp_path), exists=False)
    repo.init(user_name="Test User", user_email="test@example.org")
    assert repo.log() is None
    assert repo.list_branches() == ["master"]
    co = repo.checkout(write=True)
    assert len(co.metadata) == len(co.arraysets) == 0
    dummy = np.arange(10, dtype=np.uint16)
    aset = co.arraysets.init_arrayset(name="dummy_arrayset", prototype=dummy)
    aset["0"] = dummy
    first = co.commit("first commit with a single sample added to a dummy arrayset")
    co.close()

    branch_1 = repo.create_branch(name="testbranch")
    assert branch_1.name == "testbranch"
    assert repo.list_branches() == ["master", "testbranch"]
    repo.create_branch(name="new", base_commit=first)
    repo.log()
    assert capsys.readouterr().out.startswith(f"* {first} (master) (new) (testbranch) : first")

    co = repo.checkout(write=True, branch="new")
    arr = np.arange(10, dtype=np.uint16)
    arr += 1
    co["dummy_arrayset", "1"] = arr
    assert len(co.arraysets["dummy_arrayset"]) == 2
    on_new = co.commit("commit on `new` branch adding a sample to dummy_arrayset")
    co.close()

    co = repo.checkout(write=True, branch="master")
    assert co.merge(message="not used for FF merge", dev_branch="new") == on_new
    assert (co.branch_name, co.commit_hash) == ("master", on_new)
    assert len(co.arraysets["dummy_arrayset"]) == 2
    co.close()

    co = repo.checkout(write=True, branch="testbranch")
    co["dummy_arrayset", "0"] = co["dummy_arrayset", "0"] + 50
    co.commit("mutated sample `0` of `dummy_arrayset` to new value")
    co.metadata["hello"] = "world"
    tip = co.commit("added hellow world metadata")
    co.close()
    repo.log("master")
    assert tip not in capsys.readouterr().out

    co = repo.checkout(write=True, branch="master")
    merged = co.merge(message="merge of testbranch into master", dev_branch="testbranch")
    np.testing.assert_array_equal(
        co["dummy_arrayset", ["0", "1"]], [np.arange(50, 60), np.arange(1, 11)]
    )
    assert co.metadata["hello"] == "world"
    co.close()
    repo.log()
    graph = capsys.readouterr().out.splitlines()
    assert graph[0].split()[:3] == ["*", merged, "(master)"]
    assert graph[0].endswith(" : merge of testbranch into master")
    assert graph[1].strip() == "|\\"

    co = repo.checkout(write=True, branch="new")
    co.metadata["hello"] = "foo conflict... BOO!"
    co.commit("commit on new branch so we can demonstrate a conflict")
    with pytest.raises(ValueError, match="hello"):
        co.merge(message="this merge should not happen", dev_branch="testbranch")
    _, conflicts_found = co.diff.branch("testbranch")
    assert conflicts_found.conflict is True
    assert len(conflicts_found.t1.metadata) == 1
    del co.metadata["hello"]
    co.metadata["resolved"] = "conflict by removing hello key"
    co.commit("commit which removes conflicting metadata key")
    co.merge(message="this merge succeeds", dev_branch="testbranch")
    assert co.metadata["hello"] == "world"
    co.close()
