"""Dask workers, in processes of their own, read and write a commit without a clone."""

from __future__ import annotations

import os
import pickle
import warnings
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from processes import run_python
from repositories import Git

from hangar_git import dask as hangar_dask
from hangar_git import errors, make_numpy_dataset
from hangar_git.workers.committing import SharedCommit

from .conftest import COUNT, blob, documented, line, photo

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
db = pytest.importorskip("dask.bag")


@pytest.fixture(scope="module")
def client(environment, tmp_path_factory):
    """Two processes, which start in a directory of their own and know the token."""
    distributed = pytest.importorskip("distributed")
    options = {
        # A task may take a worker down with it once.
        "distributed.scheduler.allowed-failures": 1,
        "distributed.admin.system-monitor.gil.enabled": False,
    }
    with dask.config.set(options), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1",
            dashboard_address=None, local_directory=str(tmp_path_factory.mktemp("space")),
            env=environment, silence_logs="CRITICAL",
        )  # fmt: skip
        with cluster, distributed.Client(cluster) as client:
            yield client


@pytest.fixture(autouse=True)
def _workers(client):
    """Every test has the cluster at hand, as Dask's default."""


def pids(client):
    return set(client.run(os.getpid).values())


@pytest.mark.parametrize("remote", ["origin", "files"])
def test_arraysets_are_computed_by_workers_that_have_no_clone(co, place, client, remote):
    found = hangar_dask.from_checkout(co, partition_size=25, remote=remote)
    assert set(found) == set(co.arraysets)
    co.close()
    assert os.getpid() not in pids(client)
    with place.away():
        # Kind by kind: Dask 2026.8 mixes up results of arrays and bags that it computes together.
        computed = {}
        for kind in (da.Array, db.Bag):
            some = {name: one for name, one in found.items() if isinstance(one, kind)}
            computed |= dask.compute(some)[0]
    assert isinstance(found["photos"], da.Array) and isinstance(found["names"], db.Bag)
    assert found["photos"].chunks == ((25, 25, 10), (12,), (10,))
    assert np.array_equal(computed["photos"], np.stack([photo(i) for i in range(COUNT)]))
    assert computed["labels"].tolist() == list(range(COUNT))
    assert computed["some"][:, 0].tolist() == list(range(0, COUNT, 3))
    assert computed["empty"].shape == (0, 3)
    assert [key for key, _ in computed["lines"]] == list(range(COUNT))
    assert all(np.array_equal(value, line(key)) for key, value in computed["lines"])
    assert dict(computed["names"]) == {i: f"größe-{i}" if i else "" for i in range(COUNT)}
    assert dict(computed["blobs"]) == {i: blob(i) for i in range(COUNT)}
    assert computed["pairs"].tolist() == [[0, 1], [2, 3]]


def test_one_name_gives_one_collection_whose_name_is_that_of_the_data(co):
    photos = hangar_dask.from_checkout(co, "photos", partition_size=7)
    assert photos.numblocks == (9, 1, 1)
    assert int(photos[8:30, 2].astype(int).sum().compute()) == sum(
        int(photo(i)[2].sum()) for i in range(8, 30)
    )
    again = hangar_dask.from_checkout(co, "photos", partition_size=7, remote="files")
    assert photos.name == again.name
    assert photos.name != hangar_dask.from_checkout(co, "photos", partition_size=8).name
    both = hangar_dask.from_checkout(co, ["photos", "labels"])
    assert list(both) == ["photos", "labels"]
    assert both["photos"].chunks[0] == both["labels"].chunks[0] == (COUNT,)


def test_a_task_carries_the_digests_of_its_own_rows(co):
    photos = hangar_dask.from_checkout(co, "photos", partition_size=20)
    (block,) = photos.blocks[1].to_delayed().ravel()
    graph = pickle.dumps(dict(dask.optimize(block)[0].dask))
    for i in range(COUNT):
        assert (co["photos"]._record(i) in graph) == (20 <= i < 40)


@pytest.mark.filterwarnings("ignore:Running on a single-machine scheduler")
def test_threads_of_this_process_serve_too(co):
    with dask.config.set(scheduler="threads", num_workers=4):
        found = hangar_dask.from_checkout(co, "photos", partition_size=4, remote="files")
        assert np.array_equal(found.compute()[17], photo(17))


def photos_of(pickled):
    return [photo for batch in pickle.loads(pickled) for photo in batch["photos"]]


@pytest.mark.parametrize("remote", ["origin", "files"])
def test_views_and_loaders_of_a_streaming_checkout_need_no_clone_either(place, client, remote):
    pytest.importorskip("xarray")
    expected = np.stack([photo(i) for i in range(COUNT)])
    with place.repo.checkout(stream=remote, stream_disk_bytes=1 << 20) as co:
        array = co["photos"].to_dask().rechunk((20, 12, 10))
        zarr = da.from_zarr(co.to_zarr(), component="photos")
        data = co.to_xarray()["photos"].data
        loader = pickle.dumps(make_numpy_dataset([co["photos"], co["names"]], batch_size=16))
        with place.away():
            for view in (array, zarr, data):
                assert np.array_equal(view.compute(), expected)
            assert np.array_equal(client.submit(photos_of, loader).result(60), expected)
            assert not place.path.exists()
        co.close()


def test_an_arrayset_without_its_repository_says_so(place, client):
    with place.repo.checkout(stream="origin") as streaming, place.repo.checkout() as local:
        pickled = [pickle.dumps(co["photos"]) for co in (streaming, local)]
        streaming.close()
        local.close()
    with place.away():
        for call in (lambda p: pickle.loads(p)[7], lambda p: len(pickle.loads(p))):
            for one in pickled:
                with pytest.raises(errors.FormatError, match="pickled arrayset is not there"):
                    client.submit(call, one, pure=False).result(60)


@pytest.fixture
def away_while_writing(place, monkeypatch):
    """The repository is away from where it was from the start of a write until all is sent."""
    with ExitStack() as stack:

        class Away(SharedCommit):
            def __init__(self, *arguments):
                super().__init__(*arguments)
                stack.enter_context(place.away())

            def commit(self, *arguments, **more):
                stack.close()
                return super().commit(*arguments, **more)

        monkeypatch.setattr(hangar_dask, "SharedCommit", Away)
        yield


def test_many_workers_write_one_commit_without_a_clone(
    co, place, writer, clone, away_while_writing
):
    read = hangar_dask.from_checkout(co, partition_size=10)
    co.close()
    init = writer.arraysets.init_arrayset
    init("half", shape=(12, 10), dtype=np.float32)
    init("upper", kind="str")
    init("tails", shape=(9,), dtype=np.int32, variable_shape=True)
    init("unnamed", shape=(12, 10), dtype=np.uint8, named_samples=False)
    before = set((place.path / ".git/hangar/containers").iterdir())
    commit = hangar_dask.write(
        {
            # Cut across samples too: they are put together again.
            "half": (read["photos"].astype(np.float32) / 2).rechunk((7, 5, 5)),
            "upper": read["names"].map(lambda pair: (pair[0], pair[1].upper())),
            "tails": read["lines"].map(lambda pair: (pair[0], pair[1][::2])),
            "labels": read["labels"] + 1,
            "unnamed": read["photos"][:3],
        },
        writer,
        "from many workers",
        keys=range(COUNT),
    )
    assert commit == place.tip() == Git(place.path)("rev-parse", "origin/main")
    assert set((place.path / ".git/hangar/containers").iterdir()) == before
    other = clone()
    with other.checkout() as there:
        assert there.commit_hash == commit
        for i in range(COUNT):
            assert np.array_equal(there["half"][i], photo(i).astype(np.float32) / 2)
            assert there["upper"][i] == (f"GRÖSSE-{i}" if i else "")
            assert np.array_equal(there["tails"][i], line(i)[::2])
            assert there["labels"][i] == i + 1
        assert len(there["unnamed"]) == 3
        assert not any(there.arraysets.contains_remote_references.values())
        there.close()
    assert not other.maintenance.fsck(full=True).corrupt


def test_two_workers_that_write_a_key_differently_commit_nothing(co, place, writer):
    before = place.tip()
    labels = hangar_dask.from_checkout(co, "labels", partition_size=10)
    keys = [i % 30 for i in range(COUNT)]
    with pytest.raises(errors.ConflictError, match=r"sample 0 of .*'labels' .*, and 29 more"):
        hangar_dask.write({"labels": labels}, writer, "no", keys=keys)
    assert place.tip() == before
    assert writer.diff.status() == "CLEAN"
    hangar_dask.write({"labels": labels % 30 + 100}, writer, "equal ones", keys=keys)
    assert place.tip() != before


def test_a_sample_of_the_wrong_kind_is_one_line_that_names_it(co, place, writer):
    before = place.tip()
    labels = hangar_dask.from_checkout(co, "labels", partition_size=10)
    for wrong, said in (
        (labels.astype(np.float32), "arrayset 'labels' takes dtype int64, got float32 for sample"),
        (labels[:30], "arrayset 'labels': 60 keys and 30 samples were given"),
        (np.arange(3), "'labels' is written from a dask array of samples, or a bag of pairs"),
        (db.from_sequence([1, 2]), "it takes pairs of key and sample, got a int"),
        (db.from_sequence([("?", np.array(1))]), "sample name '\\?' is not valid"),
    ):
        with pytest.raises(errors.InvalidInputError, match=said) as caught:
            hangar_dask.write({"labels": wrong}, writer, "no", keys=range(COUNT))
        assert "\n" not in str(caught.value)
    with pytest.raises(errors.InvalidInputError, match="keys are required"):
        hangar_dask.write({"labels": labels}, writer, "no")
    with pytest.raises(errors.InvalidInputError, match="give a dict of arrayset name"):
        hangar_dask.write(labels, writer, "no")
    assert place.tip() == before
    assert writer.diff.status() == "CLEAN"


def refuse(block):
    raise errors.IntegrityError("spoilt", where="there")


def test_errors_of_workers_are_those_of_this_package(co, writer):
    labels = hangar_dask.from_checkout(co, "labels")
    bad = labels.map_blocks(refuse, dtype=labels.dtype, meta=np.empty(0, np.int64))
    with pytest.raises(errors.IntegrityError, match="spoilt") as caught:
        hangar_dask.write({"labels": bad}, writer, "no", keys=range(COUNT))
    assert caught.value.where == "there"


def test_lengths_that_are_not_known_yet_are_found_out(co, writer, place):
    labels = hangar_dask.from_checkout(co, "labels", partition_size=10)
    few = labels[labels % 10 == 0]
    hangar_dask.write({"labels": few + 100}, writer, "six", keys=range(6))
    streaming = place.repo.checkout(stream="origin")
    assert [int(streaming["labels"][i]) for i in range(7)] == [100, 110, 120, 130, 140, 150, 6]
    streaming.close()


def test_the_documented_code_runs(place, client):
    before = place.tip()
    Git(place.path)("tag", "v1.2")
    code = documented(0).replace('distributed.Client("tcp://scheduler:8786")', "given")
    names = {"repo": place.repo, "given": client}
    try:
        exec(code, names)
        assert names["writer"].commit_hash == place.tip() != before
        streaming = place.repo.checkout(stream="origin")
        assert np.array_equal(streaming["small"][7], photo(7)[::2, ::2])
        streaming.close()
    finally:
        names["co"].close()
        names["writer"].close()
        Git(place.path)("tag", "--delete", "v1.2")


def dies_once(block, mark):
    """As it came; but the first process that sees key 30 dies, when it has sent others."""
    if (block == 30).any() and not Path(mark).exists():
        Path(mark).touch()
        os._exit(1)
    return block + 1000


def dies_always(block):
    if block.size and (block == 30).any():
        os._exit(1)
    return block


def test_a_task_whose_worker_was_killed_runs_again(co, place, writer, tmp_path):
    labels = hangar_dask.from_checkout(co, "labels", partition_size=10)
    mark = str(tmp_path / "died")
    changed = labels.map_blocks(dies_once, mark, dtype=labels.dtype, meta=np.empty(0, np.int64))
    hangar_dask.write({"labels": changed}, writer, "in spite of it", keys=range(COUNT))
    assert Path(mark).exists()
    streaming = place.repo.checkout(stream="origin")
    assert [int(value) for value in streaming["labels"].values()] == list(range(1000, 1060))
    streaming.close()


def test_a_task_that_kills_every_worker_is_one_error_and_nothing_is_committed(co, place, writer):
    before = place.tip()
    labels = hangar_dask.from_checkout(co, "labels", partition_size=10)
    bad = labels.map_blocks(dies_always, dtype=labels.dtype, meta=np.empty(0, np.int64))
    with pytest.raises(errors.StateError, match="nothing was committed: writing again sends only"):
        hangar_dask.write({"labels": bad}, writer, "no", keys=range(COUNT))
    assert place.tip() == before
    assert writer.diff.status() == "CLEAN"


def test_without_dask_the_pip_line_is_named(place):
    done = run_python(
        "import sys; sys.modules['dask'] = None\n"
        "import hangar_git\n"
        "co = hangar_git.Repository(sys.argv[1]).checkout()\n"
        "for call in (lambda: hangar_git.dask.from_checkout(co),\n"
        "             lambda: hangar_git.dask.write({}, co, 'm')):\n"
        "    try: call()\n"
        "    except RuntimeError as error: print(error)\n",
        place.path, timeout=60,
    )  # fmt: skip
    assert done.stdout.count("pip install 'hangar-git[dask]'") == 2, done.stderr
