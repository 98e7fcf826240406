"""Random use of a repository, compared with plain dicts after every step."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from repositories import Git, close, make_repository

from hangar_git import Repository

ASETS = st.sampled_from(["fixed", "var"])
KEYS = st.sampled_from([0, 1, "0", "1", "a", "b.c"])
NUMBERS = st.integers(0, 5)


def sample(name: str, number: int) -> np.ndarray:
    """A sample for each number; those of "var" have several shapes."""
    if name == "fixed":
        return np.full((2, 3), number, np.float32)
    return np.full((1 + number % 2, 3), number // 2, np.float32)


class State:
    """What a commit, or the staging area, ought to hold."""

    def __init__(self, asets=(), metadata=()) -> None:
        self.asets = {name: dict(samples) for name, samples in dict(asets).items()}
        self.metadata = dict(metadata)

    def copy(self) -> State:
        return State(self.asets, self.metadata)

    def __eq__(self, other) -> bool:
        return (self.asets, self.metadata) == (other.asets, other.metadata)

    __hash__ = None


class RepositoryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.repo = make_repository(Path(self.directory.name) / "repo")
        self.co = self.repo.checkout(write=True)
        self.staged = State()
        self.committed = State()
        self.commits: dict[str, State] = {}

    def teardown(self) -> None:
        close(self.co)
        if self.commits:
            Git(Path(self.repo.path))("fsck", "--strict", "--no-dangling")
            assert Git(Path(self.repo.path))("status", "--porcelain") == ""
        self.directory.cleanup()

    # -- changes -------------------------------------------------------------------------------

    @rule(name=ASETS)
    def init_or_remove(self, name):
        if name in self.staged.asets:
            del self.co.arraysets[name]
            del self.staged.asets[name]
        else:
            self.co.arraysets.init_arrayset(
                name, shape=(2, 3), dtype=np.float32, variable_shape=name == "var"
            )
            self.staged.asets[name] = {}

    @rule(name=ASETS, key=KEYS, number=NUMBERS)
    def add(self, name, key, number):
        if name in self.staged.asets:
            self.co[name, key] = sample(name, number)
            self.staged.asets[name][key] = number

    @rule(
        name=ASETS, edits=st.lists(st.tuples(KEYS, st.none() | NUMBERS), max_size=5),
        fails=st.booleans(),
    )  # fmt: skip
    def a_block(self, name, edits, fails):
        if name not in self.staged.asets:
            return
        model = self.staged.asets[name]
        try:
            with self.co[name] as aset:
                for key, number in edits:
                    if number is not None:
                        aset[key] = sample(name, number)
                        model[key] = number
                    elif key in model:
                        del aset[key]
                        del model[key]
                if fails:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass

    @rule(name=ASETS, key=KEYS)
    def remove(self, name, key):
        samples = self.staged.asets.get(name, {})
        if key in samples:
            assert self.co[name].remove(key) == key
            del samples[key]

    @rule(key=KEYS, value=st.none() | st.sampled_from(["", "x", "\t\n"]))
    def tell(self, key, value):
        if value is not None:
            self.co.metadata[key] = value
            self.staged.metadata[key] = value
        elif key in self.staged.metadata:
            del self.co.metadata[key]
            del self.staged.metadata[key]

    # -- the life of a checkout ----------------------------------------------------------------

    @rule()
    def commit(self):
        if self.co.diff.status() == "DIRTY":
            oid = self.co.commit("a commit")
            self.committed = self.staged.copy()
            self.commits[oid] = self.committed

    @rule()
    def close_and_reopen(self):
        self.co.close()
        self.repo = Repository(self.repo.path)
        self.co = self.repo.checkout(write=True)

    @precondition(lambda self: self.staged != self.committed)
    @rule()
    def reset(self):
        self.co.reset_staging_area()
        self.co = self.repo.checkout(write=True)
        self.staged = self.committed.copy()

    @precondition(lambda self: self.commits)
    @rule(data=st.data())
    def read_an_earlier_commit(self, data):
        oid = data.draw(st.sampled_from(sorted(self.commits)))
        reader = self.repo.checkout(commit=oid)
        assert_equals(reader, self.commits[oid])
        reader.close()

    # -- what must hold ------------------------------------------------------------------------

    @invariant()
    def the_writer_shows_what_is_staged(self):
        assert_equals(self.co, self.staged)

    @invariant()
    def status_tells_whether_anything_changed(self):
        dirty = self.staged != self.committed
        assert self.co.diff.status() == ("DIRTY" if dirty else "CLEAN")


def assert_equals(checkout, state: State) -> None:
    assert checkout.arraysets.keys() == sorted(state.asets)
    for name, samples in state.asets.items():
        aset = checkout[name]
        assert len(aset) == len(samples)
        assert {type_of(key) for key in aset} == {type_of(key) for key in samples}
        for key, number in samples.items():
            np.testing.assert_array_equal(aset[key], sample(name, number), strict=True)
    assert dict(checkout.metadata.items()) == state.metadata


def type_of(key):
    return type(key), key


RepositoryMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
test_a_repository_is_like_plain_dicts = RepositoryMachine.TestCase
