"""A repository with arraysets of every kind, and a limit of time for every test."""

from __future__ import annotations

import faulthandler

import numpy as np
import pytest
from repositories import close, make_repository

COUNT = 50


@pytest.fixture(autouse=True)
def _time_limit():
    """A loader that hangs ends the run, with where it hung."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def value(number: int) -> np.ndarray:
    return np.full((4, 3), number, np.float32)


def make(path):
    """Samples 0 to 49 in each arrayset; "some" has every third, "lines" 1 to 7 numbers."""
    repo = make_repository(path)
    co = repo.checkout(write=True)
    init = co.arraysets.init_arrayset
    images = init("images", shape=(4, 3), dtype=np.float32)
    labels = init("labels", prototype=np.array(0, np.int64))
    some = init("some", shape=(2,), dtype=np.uint8)
    lines = init("lines", shape=(9,), dtype=np.int32, variable_shape=True)
    names = co.arraysets.init_arrayset("names", kind="str")
    with co:
        for i in range(COUNT):
            images[i], labels[i] = value(i), np.array(i)
            lines[i], names[i] = np.full(1 + i % 7, i, np.int32), f"größe-{i}"
            if i % 3 == 0:
                some[i] = np.array([i, 1], np.uint8)
    co.commit("fifty samples")
    co.close()
    return repo


@pytest.fixture(scope="module")
def fifty(tmp_path_factory):
    return make(tmp_path_factory.mktemp("loaders") / "repo")


@pytest.fixture
def co(fifty):
    checkout = fifty.checkout()
    yield checkout
    close(checkout)
