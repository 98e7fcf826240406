"""Datasets and loaders of PyTorch, in this process, in forked and in spawned workers."""

from __future__ import annotations

import numpy as np
import pytest
from processes import run_python

from hangar_git import make_torch_dataset, make_torch_loader

from .conftest import COUNT, value

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")
START_METHODS = [(0, None), (2, "fork"), (2, "spawn")]


def labels_of(batches):
    return [int(label) for batch in batches for label in batch["labels"]]


def test_a_sample_is_a_dict_of_tensors(co):
    data = make_torch_dataset([co["images"], co["labels"]], field_names=["x", "y"])
    assert isinstance(data, torch.utils.data.Dataset)
    assert len(data) == COUNT
    sample = data[7]
    assert list(sample) == ["x", "y"]
    assert torch.equal(sample["x"], torch.from_numpy(value(7)))
    assert sample["y"].shape == ()
    assert data[-1]["y"] == COUNT - 1
    for index in (COUNT, -COUNT - 1):
        with pytest.raises(IndexError):
            data[index]


def test_the_documented_example_runs(co):
    loader = DataLoader(make_torch_dataset(co["images"], index_range=slice(1, 41)), batch_size=16)
    batches = [batch["images"] for batch in loader]
    assert [len(batch) for batch in batches] == [16, 16, 8]
    assert torch.equal(torch.cat(batches)[:, 0, 0], torch.arange(1.0, 41.0))


@pytest.mark.parametrize(("workers", "start"), START_METHODS)
def test_workers_read_the_samples_of_both_collations(co, workers, start):
    data = make_torch_dataset([co["images"], co["labels"], co["names"]])
    for collate in (None, data.collate):
        loader = DataLoader(
            data, 8, shuffle=True, num_workers=workers, multiprocessing_context=start,
            collate_fn=collate,
        )  # fmt: skip
        batches = list(loader)
        assert sorted(labels_of(batches)) == list(range(COUNT))
        for batch in batches:
            assert torch.equal(batch["images"][:, 0, 0], batch["labels"].float())
            assert list(batch["names"]) == [f"größe-{i}" for i in batch["labels"].tolist()]


def test_a_batch_is_one_read(co, monkeypatch):
    monkeypatch.setattr("hangar_git.dataloaders.batches.KEPT_BYTES", 0)
    data = make_torch_dataset(co["images"])
    store, reads = co["images"]._store, []
    read = store.get_stacked
    monkeypatch.setattr(store, "get_stacked", lambda *args: reads.append(1) or read(*args))
    assert len(list(DataLoader(data, batch_size=25, collate_fn=data.collate))) == len(reads) == 2


def test_samples_of_varying_shape_come_as_a_list(co):
    data = make_torch_dataset(co["lines"])
    batch = next(iter(DataLoader(data, batch_size=10, collate_fn=data.collate)))
    assert [len(line) for line in batch["lines"]] == [1 + i % 7 for i in range(10)]


@pytest.mark.parametrize(("workers", "start"), START_METHODS)
def test_a_loader_gives_the_same_epochs_with_any_workers(co, workers, start):
    options = {"batch_size": 7, "shuffle": True, "seed": 2}
    alone = make_torch_loader([co["images"], co["labels"]], **options)
    loader = make_torch_loader(
        [co["images"], co["labels"]], num_workers=workers, start_method=start, **options
    )
    for _ in range(2):
        assert labels_of(loader) == labels_of(alone)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_is_resumed_after_the_batch_that_the_loop_had(co, workers):
    def loader():
        return make_torch_loader(co["labels"], batch_size=4, shuffle=True, num_workers=workers)

    whole = labels_of(loader())
    first = loader()
    loop = iter(first)
    had = [next(loop) for _ in range(5)]
    state = first.state_dict()
    loop.close()
    second = loader()
    second.load_state_dict(state)
    assert labels_of(had) + labels_of(second) == whole


def test_ranks_share_an_epoch(co):
    shares = [
        labels_of(make_torch_loader(co["labels"], batch_size=4, shuffle=True, rank=rank,
                                    world_size=3, num_workers=rank))
        for rank in range(3)
    ]  # fmt: skip
    assert sorted(label for share in shares for label in share) == list(range(COUNT))


def test_padded_and_pinned_batches_are_transformed(co):
    loader = make_torch_loader(
        [co["lines"], co["names"]], batch_size=50, collate="pad", pin_memory=True,
        transform=lambda batch: batch | {"total": batch["lines"].sum()},
    )  # fmt: skip
    (batch,) = loader
    assert batch["total"] == sum(i * (1 + i % 7) for i in range(COUNT))
    assert batch["lines_shape"].shape == (50, 1)
    assert batch["names"][3] == "größe-3"


# -- what cannot be ----------------------------------------------------------------------------


def test_a_dtype_that_torch_lacks_is_refused(repo):
    co = repo.checkout(write=True)
    pairs = np.zeros(2, [("a", "<i4"), ("b", "<f4")])
    co.arraysets.init_arrayset("pairs", prototype=pairs)[1] = pairs
    co.commit("one")
    co.close()
    with repo.checkout() as reader, pytest.raises(ValueError, match=r"'pairs'.*torch lacks"):
        make_torch_dataset(reader["pairs"])


@pytest.mark.parametrize("kind", [ValueError, RuntimeError, FileNotFoundError])
def test_an_error_in_a_worker_keeps_its_type(co, kind):
    loader = make_torch_loader(co["labels"], num_workers=1, transform=Failing(kind))
    with pytest.raises(kind, match="spoilt") as caught:
        list(loader)
    assert "died" not in str(caught.value)


class Failing:
    def __init__(self, kind):
        self.kind = kind

    def __call__(self, batch):
        raise self.kind("spoilt")


def test_a_killed_worker_is_an_error_and_no_hang(fifty):
    done = run_python(_KILLED, fifty.path, timeout=60)
    assert "a worker of the loader died" in done.stdout, done.stderr


_KILLED = """
import os, signal, sys
from hangar_git import Repository, make_torch_loader

def die_at_20(batch):
    if int(batch["labels"]) == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return batch

co = Repository(sys.argv[1]).checkout()
loader = make_torch_loader(
    co["labels"], batch_size=1, num_workers=1, start_method="fork", transform=die_at_20
)
try:
    list(loader)
except RuntimeError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_outlive_the_checkout_that_they_were_started_from(fifty, start):
    checkout = fifty.checkout()
    loader = make_torch_loader(
        checkout["labels"], batch_size=2, num_workers=1, start_method=start, prefetch=1
    )
    loop = iter(loader)
    first = next(loop)
    checkout.close()
    assert labels_of([first, *loop]) == list(range(COUNT))
    with pytest.raises(ReferenceError, match="has been closed"):
        list(make_torch_loader_again(loader))


def make_torch_loader_again(loader):
    return type(loader)(loader.dataset, num_workers=0, pin_memory=False)


@pytest.mark.parametrize(
    ("library", "call", "line"),
    [
        ("torch", "make_torch_dataset", "pip install 'hangar-git[torch]'"),
        ("tensorflow", "make_tf_dataset", "pip install 'hangar-git[tensorflow]'"),
    ],
)
def test_a_framework_that_is_not_installed_is_named_with_its_pip_line(library, call, line):
    source = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from hangar_git import *\n"
        f"try: {call}([])\n"
        "except RuntimeError as error: print(error)\n"
    )
    done = run_python(source, timeout=60)
    assert line in done.stdout, done.stderr
