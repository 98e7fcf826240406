"""Ray on one node reads a commit and writes one, in processes that have no clone."""

from __future__ import annotations

import os
import pickle
import warnings
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from processes import run_python
from repositories import Git

from hangar_git import errors
from hangar_git import ray as hangar_ray
from hangar_git.workers.committing import SharedCommit

from .conftest import COUNT, blob, documented, line, photo

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
    # Older versions of Ray leave a process of theirs to be collected after the last test.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
COLUMNS = ["photos", "labels", "lines", "names", "blobs"]

# Read when Ray is imported: nothing is reported, and all of it listens on loopback.
os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
    RAY_AUTH_MODE="disabled",
)


@pytest.fixture(scope="module")
def ray(environment, tmp_path_factory):
    """Two processes that know the token."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray

        ray.init(
            num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="critical",
            object_store_memory=100 << 20, runtime_env={"env_vars": environment},
            _temp_dir=str(tmp_path_factory.mktemp("ray")),
        )  # fmt: skip
        assert ray.util.get_node_ip_address() == "127.0.0.1"
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield ray
        ray.shutdown()


@pytest.fixture(autouse=True)
def _quiet(ray):
    """Ray is at hand, and its warnings are its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def rows_of(dataset):
    return sorted(dataset.take_all(), key=lambda row: row["key"])


@pytest.mark.parametrize("remote", ["origin", "files"])
def test_a_commit_is_read_by_tasks_that_have_no_clone(co, place, remote):
    dataset = hangar_ray.read(co, COLUMNS, partition_size=25, remote=remote)
    co.close()
    with place.away():
        rows = rows_of(dataset)
    assert [row["key"] for row in rows] == list(range(COUNT))
    for i, row in enumerate(rows):
        assert set(row) == {"key", *COLUMNS}
        assert np.array_equal(row["photos"], photo(i)) and row["photos"].dtype == np.uint8
        assert row["labels"] == i
        assert np.array_equal(row["lines"], line(i))
        assert row["names"] == (f"größe-{i}" if i else "")
        assert row["blobs"] == blob(i)


def test_the_number_of_rows_is_known_without_reading(co):
    dataset = hangar_ray.read(co, ["photos", "some"], partition_size=5)
    assert dataset.count() == COUNT / 3
    (batch,) = dataset.limit(3).iter_batches(batch_size=None)
    assert batch["photos"].shape == (3, 12, 10)


def test_keys_of_any_kind_are_a_column(co, writer):
    named = hangar_ray.read(co, "named")
    assert [row["key"] for row in rows_of(named)] == [f"n{i:02}" for i in range(COUNT)]
    assert [row["key"] for row in rows_of(hangar_ray.read(co, "pairs"))] == ["a/#0", "a/x"]


def test_what_ray_cannot_hold_is_refused(co, writer, place):
    writer.arraysets.init_arrayset("odd", prototype=np.zeros(2, np.complex64))
    writer["odd"][1] = np.zeros(2, np.complex64)
    writer.commit("odd")
    writer.close()
    place.repo.remote.push("origin", "main")
    with place.repo.checkout() as reader:
        with pytest.raises(ValueError, match="'odd' has dtype complex64, which Ray's tables lack"):
            hangar_ray.read(reader, "odd")
        with pytest.raises(ValueError, match="no samples that all have of arraysets 'odd'"):
            hangar_ray.read(reader, ["odd", "named"])
        reader.close()
    with pytest.raises(KeyError, match="no remote 'nope'"):
        hangar_ray.read(co, "photos", remote="nope")


def test_a_read_task_carries_the_digests_of_its_own_rows(co):
    from hangar_git.ray.datasource import CommitDatasource
    from hangar_git.views.columns import Column
    from hangar_git.workers.parts import from_remote

    source = CommitDatasource(from_remote([Column.of(co["photos"])], "origin"), 20)
    tasks = source.get_read_tasks(2)
    assert [task.metadata.num_rows for task in tasks] == [20, 20, 20]
    pickled = pickle.dumps(tasks[1].read_fn)
    for i in range(COUNT):
        assert (co["photos"]._record(i) in pickled) == (20 <= i < 40)
    assert [task.metadata.num_rows for task in source.get_read_tasks(2, 3)] == [3, 3, 3]


@pytest.fixture
def away_while_writing(place, monkeypatch):
    """The repository is away from where it was from the start of a write until all is sent."""
    with ExitStack() as stack:

        class Away(SharedCommit):
            def __init__(self, *arguments):
                super().__init__(*arguments)
                stack.enter_context(place.away())

            def commit(self, sent, *arguments, **more):
                found = list(sent)
                stack.close()
                return super().commit(found, *arguments, **more)

        monkeypatch.setattr(hangar_ray, "SharedCommit", Away)
        yield


def test_many_tasks_write_one_commit_without_a_clone(co, place, writer, clone, away_while_writing):
    dataset = hangar_ray.read(co, COLUMNS, partition_size=20)
    co.close()
    init = writer.arraysets.init_arrayset
    init("half", shape=(12, 10), dtype=np.float32)
    init("unnamed", shape=(), dtype=np.int64, named_samples=False)

    def change(batch):
        from hangar_git.workers.parts import objects

        return {
            "key": batch["key"],
            "half": batch["photos"].astype(np.float32) / 2,
            "labels": batch["labels"] + 1,
            "lines": objects([one[::2] for one in batch["lines"]]),
            "names": objects([one.upper() for one in batch["names"]]),
            "blobs": objects([one + b"\0" for one in batch["blobs"]]),
            "unnamed": batch["labels"],
        }

    before = set((place.path / ".git/hangar/containers").iterdir())
    commit = hangar_ray.write(dataset.map_batches(change, batch_format="numpy"), writer, "by Ray")
    assert commit == place.tip() == Git(place.path)("rev-parse", "origin/main")
    assert set((place.path / ".git/hangar/containers").iterdir()) == before
    other = clone()
    with other.checkout() as there:
        assert there.commit_hash == commit
        for i in range(COUNT):
            assert np.array_equal(there["half"][i], photo(i).astype(np.float32) / 2)
            assert there["labels"][i] == i + 1
            assert np.array_equal(there["lines"][i], line(i)[::2])
            assert there["names"][i] == (f"GRÖSSE-{i}" if i else "")
            assert there["blobs"][i] == blob(i) + b"\0"
        assert sorted(int(value) for value in there["unnamed"].values()) == list(range(COUNT))
        assert not any(there.arraysets.contains_remote_references.values())
        there.close()
    assert not other.maintenance.fsck(full=True).corrupt


def test_keys_that_were_read_are_the_keys_that_are_written(co, writer, place):
    for name in ("named", "pairs"):
        dataset = hangar_ray.read(co, name)
        brighter = dataset.map_batches(
            lambda batch, name=name: {"id": batch["key"], name: batch[name] + 1},
            batch_format="numpy",
        )
        hangar_ray.write(brighter, writer, "brighter", key_column="id")
    streaming = place.repo.checkout(stream="origin")
    assert streaming["named"]["n07"].tolist() == [8, 2]
    assert streaming["pairs"]["a"][0].tolist() == [1, 2]
    assert len(streaming["named"]) == COUNT and len(streaming["pairs"]["a"]) == 2
    streaming.close()


def test_what_cannot_be_written_is_one_line_of_ours_and_nothing_is_committed(co, place, writer):
    before = place.tip()
    labels = hangar_ray.read(co, "labels", partition_size=20)

    def changed(function):
        return labels.map_batches(function, batch_format="numpy")

    for dataset, said, kind in (
        (changed(lambda b: {**b, "labels": b["labels"].astype("f4")}),
         "takes dtype int64, got float32 for sample", errors.InvalidInputError),
        (changed(lambda b: {**b, "key": b["key"] % 30}),
         "of arrayset 'labels' was written with different contents, and 29", errors.ConflictError),
        (changed(lambda b: {**b, "key": np.array(["?"] * len(b["key"]))}),
         r"sample name '\?' is not valid", errors.InvalidInputError),
        (changed(lambda b: {"labels": b["labels"]}),
         "no column 'key' of keys, only .*: name it with key_column", errors.InvalidInputError),
        (changed(lambda b: {"key": b["key"], "nope": b["labels"]}),
         "no arrayset 'nope'", errors.NotFoundError),
    ):  # fmt: skip
        with pytest.raises(kind, match=said) as caught:
            hangar_ray.write(dataset, writer, "no")
        assert "\n" not in str(caught.value)
    with pytest.raises(errors.InvalidInputError, match="no column 'photos'"):
        hangar_ray.write(labels, writer, "no", arraysets=["photos"])
    assert place.tip() == before
    assert writer.diff.status() == "CLEAN"


def test_the_documented_code_runs(co, place, writer):
    exec(documented(1), {"co": co, "writer": writer})
    streaming = place.repo.checkout(stream="origin")
    assert np.array_equal(streaming["photos"][7], photo(7) // 2)
    streaming.close()


def test_a_task_whose_worker_was_killed_runs_again(co, place, writer, tmp_path):
    labels = hangar_ray.read(co, "labels", partition_size=20)
    mark = tmp_path / "died"

    def dies_once(batch, mark=str(mark)):
        if 30 in batch["labels"] and not Path(mark).exists():
            Path(mark).touch()
            os._exit(1)
        return {**batch, "labels": batch["labels"] + 1000}

    hangar_ray.write(labels.map_batches(dies_once, batch_format="numpy"), writer, "in spite of it")
    assert mark.exists()
    streaming = place.repo.checkout(stream="origin")
    assert [int(value) for value in streaming["labels"].values()] == list(range(1000, 1060))
    streaming.close()


def test_a_task_that_is_not_run_again_is_one_error(co, place, writer):
    before = place.tip()
    labels = hangar_ray.read(co, "labels", partition_size=20)
    bad = labels.map_batches(lambda batch: os._exit(1), batch_format="numpy", max_retries=0)
    with pytest.raises(
        errors.StateError, match="nothing was committed: writing again sends"
    ) as caught:
        hangar_ray.write(bad, writer, "no", arraysets=["labels"])
    assert "\n" not in str(caught.value)
    assert place.tip() == before
    assert writer.diff.status() == "CLEAN"


def test_without_ray_the_pip_line_is_named(place):
    done = run_python(
        "import sys; sys.modules['ray'] = None\n"
        "import hangar_git\n"
        "co = hangar_git.Repository(sys.argv[1]).checkout()\n"
        "for call in (lambda: hangar_git.ray.read(co),\n"
        "             lambda: hangar_git.ray.write(None, co, 'm')):\n"
        "    try: call()\n"
        "    except RuntimeError as error: print(error)\n",
        place.path, timeout=60,
    )  # fmt: skip
    assert done.stdout.count("pip install 'hangar-git[ray]'") == 2, done.stderr
