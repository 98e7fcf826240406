"""Random histories of several arraysets and metadata, merged, against a merge of plain dicts.

A side is a dict, arrayset name -> (which schema, merge policy, samples), and one of metadata. The
oracle is written from what a user may expect, without trees or record files.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from compat.histories import History
from hypothesis import given, settings
from hypothesis import strategies as st

from hangar_git.records.edits import ArraysetEdits, Edits, build_tree
from hangar_git.records.gitrepo import ObjectWriter
from hangar_git.records.merge import Settled, merge_snapshots
from hangar_git.records.mergecommits import merge_base_snapshot
from hangar_git.schema import Schema

NAMES = ("images", "labels")
SCHEMAS = (Schema(np.dtype("u1"), (2,)), Schema(np.dtype("<f4"), (2,)))
SAMPLES = st.dictionaries(st.integers(0, 7), st.integers(0, 2), max_size=8)
# "hint" changes a field of the schema that its samples do not depend on.
ARRAYSET = st.tuples(st.sampled_from([0, 0, 0, 1]), st.sampled_from([None, None, "ours"]), SAMPLES)
STATE = st.tuples(
    st.dictionaries(st.sampled_from(NAMES), ARRAYSET),
    st.dictionaries(st.integers(0, 3), st.sampled_from("xyz")),
)
EDIT = st.dictionaries(st.integers(0, 7), st.none() | st.integers(0, 2), max_size=4)


@st.composite
def sides(draw):
    """A base state and two states that come of edits to it."""
    base = draw(STATE)
    return base, draw(edited_states(base)), draw(edited_states(base))


@st.composite
def edited_states(draw, base):
    asets, metadata = dict(base[0]), dict(base[1])
    for name in NAMES:
        fate = draw(st.sampled_from(["keep", "edit", "edit", "edit", "hint", "new"]))
        if fate == "new":
            new = draw(st.none() | ARRAYSET)
            asets.pop(name, None)
            if new is not None:
                asets[name] = new
        elif fate != "keep" and name in asets:
            kind, hint, samples = asets[name]
            if fate == "hint":
                hint = draw(st.sampled_from([None, "ours", "theirs"]))
            asets[name] = (kind, hint, applied(samples, draw(EDIT)))
    for key, value in draw(
        st.dictionaries(st.integers(0, 3), st.none() | st.sampled_from("xyz"), max_size=2)
    ).items():
        metadata[key] = value
    return asets, {key: value for key, value in metadata.items() if value is not None}


def applied(values, edits):
    return {key: value for key, value in (values | edits).items() if value is not None}


# -- the oracle --------------------------------------------------------------------------------


def plain(base, ours, theirs):
    """The merged state, and what conflicts (and keeps our value there)."""
    conflicts = set()

    def values(place, old, our, their):
        merged = dict(our)
        for key in old.keys() | our.keys() | their.keys():
            b, o, t = old.get(key), our.get(key), their.get(key)
            if o == t or t == b:
                continue
            if o != b:
                conflicts.add((place, key))
            elif t is None:
                del merged[key]
            else:
                merged[key] = t
        return merged

    asets = {}
    for name in NAMES:
        b, o, t = (side[0].get(name) for side in (base, ours, theirs))
        if t in (b, o):
            chosen = o
        elif o == b:
            chosen = t
        elif o is None or t is None or o[0] != t[0] or (b is None and o[:2] != t[:2]):
            conflicts.add((name, None))
            chosen = o
        else:
            hint = o[1]
            if b is not None and t[1] != o[1] and t[:2] != b[:2]:
                if o[:2] == b[:2]:
                    hint = t[1]
                else:
                    conflicts.add((name, None))
            before = {key: (b[0], v) for key, v in b[2].items()} if b is not None else {}
            pair = ({key: (side[0], v) for key, v in side[2].items()} for side in (o, t))
            samples = {key: v for key, (_, v) in values(name, before, *pair).items()}
            chosen = (o[0], hint, samples)
        if chosen is not None:
            asets[name] = chosen
    return (asets, values(None, base[1], ours[1], theirs[1])), conflicts


# -- ours ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return History(tmp_path_factory.mktemp("oracle") / "repo")


def digest(kind, number):
    """Equal only for samples of one dtype, as digests are."""
    return bytes([kind, number]) * 16


def schema_of(kind, hint):
    return replace(SCHEMAS[kind], merge=hint)


def edits_to(state):
    asets = {
        name: ArraysetEdits(
            schema_of(kind, hint),
            fresh=True,
            values={k: digest(kind, v) for k, v in samples.items()},
        )
        for name, (kind, hint, samples) in state[0].items()
    }
    return Edits(asets, dict(state[1]))


def snapshot_of(history, state):
    writer = ObjectWriter(history.git)
    tree = build_tree(history.snapshots(None), edits_to(state), writer).oid
    _write(history, writer)
    return history.snapshots(None).at(tree)


def _write(history, writer):
    """Objects without fsync: thousands of trees are made."""
    assert not writer._packed
    for oid, (kind, data) in writer._loose.items():
        if oid not in history.git.pygit2.odb:
            history.git.pygit2.odb.write(kind, data)


def state_of(snapshot):
    asets = {}
    for records in snapshot.arraysets():
        kind = SCHEMAS.index(replace(records.schema, merge=None))
        samples = {key: value[1] for key, value in records.load_all().items()}
        assert all(value == digest(kind, value[1]) for value in records.load_all().values())
        asets[records.name] = (kind, records.schema.merge, samples)
    return asets, {key: snapshot.metadata(key) for key in snapshot.metadata_files}


def merged(history, base, ours, theirs, *options):
    """The merge, as a snapshot and what conflicts."""
    result = merge_snapshots(base, ours, theirs, *options)
    writer = ObjectWriter(history.git)
    tree = build_tree(ours, result.edits, writer).oid
    _write(history, writer)
    return ours.at(tree), {(one.arrayset, one.key) for one in result.conflicts}


@settings(max_examples=600)
@given(sides())
def test_merges_are_those_of_plain_dicts(shared, states):
    base, ours, theirs = (snapshot_of(shared, state) for state in states)
    expected, conflicts = plain(*states)
    result, found = merged(shared, base, ours, theirs)
    assert found == conflicts
    assert state_of(result) == expected
    assert_nothing_vanished(states, state_of(result))


def assert_nothing_vanished(states, result):
    """Every sample of either side is there, unless the other side deleted it."""
    base, ours, theirs = (
        {(name, key) for name, (_, _, samples) in asets.items() for key in samples}
        for asets, _ in states
    )
    there = {(name, key) for name, (_, _, samples) in result[0].items() for key in samples}
    assert (ours & theirs) <= there
    assert ours - base <= there
    lost = theirs - base - there
    # Of what only they added, an arrayset in conflict keeps our side, which the merge reports.
    assert lost <= {(name, key) for name, key in theirs if plain(*states)[1] & {(name, None)}}


@settings(max_examples=200)
@given(sides())
def test_sides_can_be_swapped_and_choices_settle_everything(shared, states):
    base, ours, theirs = (snapshot_of(shared, state) for state in states)
    one, conflicts = merged(shared, base, ours, theirs)
    two, swapped = merged(shared, base, theirs, ours)
    assert conflicts == swapped
    if not conflicts:
        assert one.tree == two.tree
    for side, whole in (("ours", ours), ("theirs", theirs)):
        settled, left = merged(
            shared, base, ours, theirs, lambda c, side=side: Settled(getattr(c, side), side)
        )
        assert not left
        for place, key in conflicts:
            assert value_at(state_of(settled), place, key) == value_at(state_of(whole), place, key)


def value_at(state, place, key):
    asets, metadata = state
    if place is None:
        return metadata.get(key)
    if key is None:  # of a schema that is disputed alone, samples are merged
        return asets[place][:2] if place in asets else None
    return asets[place][2].get(key) if place in asets else None


@settings(max_examples=200)
@given(sides())
def test_merging_again_and_merging_with_oneself_change_nothing(shared, states):
    base, ours, theirs = (snapshot_of(shared, state) for state in states)
    for one, two, wanted in (
        (ours, ours, ours), (ours, base, ours), (base, theirs, theirs),
    ):  # fmt: skip
        result, conflicts = merged(shared, base, one, two)
        assert not conflicts
        assert result.tree == wanted.tree


# -- criss-cross -----------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.data())
def test_criss_cross_histories_merge_as_dicts_do_recursively(shared, data):
    """Two heads merged each other, each settling conflicts as it liked, and went on."""
    root, left, right = data.draw(sides())
    first = shared.commit(edits_to(root), message=str(next(_SERIAL)))
    bases = [commit_state(shared, state, (first,)) for state in (left, right)]
    virtual, disputed = plain(root, left, right)
    crossed, _ = plain(root, right, left)
    states = [data.draw(edited_states(state)) for state in (virtual, crossed)]
    tips = [
        commit_state(shared, state, parents)
        for state, parents in zip(states, (bases, bases[::-1]), strict=True)
    ]
    base, doubt = merge_base_snapshot(shared.git, shared.snapshots, *tips)
    result, found = merged(shared, base, *(shared.snapshots(tip) for tip in tips), _leave, doubt)
    result = state_of(result)
    if disputed:
        # Where nobody knows what the base is, two values are a conflict, and one is no change.
        for place, key in disputed - found:
            if (place, None) not in found:
                values = [value_at(state, place, key) for state in states]
                assert values[0] == values[1] == value_at(result, place, key)
        return
    expected, conflicts = plain(virtual, *states)
    assert found == conflicts
    assert result == expected


_SERIAL = itertools.count()


def _leave(_):
    return None


def commit_state(history, state, parents):
    """A commit of a whole state, unlike all others."""
    before = history.snapshots(parents[0])
    edits = edits_to(state)
    for name in before.arrayset_trees.keys() - state[0].keys():
        edits.arraysets[name] = None
    for key in before.metadata_files.keys() - state[1].keys():
        edits.metadata[key] = None
    return history.commit(edits, tuple(parents), message=str(next(_SERIAL)))
