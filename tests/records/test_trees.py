"""Record trees in Git: touched where changed, read where asked, the same for the same content."""

from __future__ import annotations

import subprocess

import pytest
from compat.histories import SCHEMA, History, change, new
from hypothesis import given, settings
from hypothesis import strategies as st

from hangar_git.errors import FormatError, InvalidInputError, StateError
from hangar_git.records import refs
from hangar_git.records.diff import changed_arraysets
from hangar_git.records.edits import ArraysetEdits, Edits
from hangar_git.records.gitrepo import ObjectWriter, changed_files
from hangar_git.records.merge import Settled, merge_snapshots
from hangar_git.records.mergecommits import merge_base_snapshot


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "repo", seed=1)


@pytest.fixture
def read_blobs(monkeypatch):
    from hangar_git.records.gitrepo import GitRepository

    read = []
    former = GitRepository.read_blob

    def counted(self, oid):
        read.append(oid)
        return former(self, oid)

    monkeypatch.setattr(GitRepository, "read_blob", counted)
    return read


def test_reading_one_sample_reads_one_record_file(history, read_blobs):
    tip = history.first(5000)
    fresh = History(history.path)
    read_blobs.clear()
    records = fresh.snapshots(tip).arrayset("images")
    assert records.get(77) is not None
    assert records.get(78_000) is None
    assert len(read_blobs) <= 4  # config, schema, and the files of two keys


def test_one_change_rewrites_one_file_and_the_trees_above_it(history):
    base = history.first(5000)
    tip = history.commit(change({7: history.digest()}), (base,))
    trees = [history.git.hangar_tree(commit) for commit in (base, tip)]
    assert len(list(changed_files(history.git, *trees))) == 1


def test_diff_reads_only_files_that_differ(history, read_blobs):
    base = history.first(5000)
    tip = history.commit(change({7: history.digest(), "new": history.digest()}), (base,))
    fresh = History(history.path)
    one, two = fresh.snapshots(base), fresh.snapshots(tip)
    read_blobs.clear()
    (found,) = changed_arraysets(one, two)
    assert set(found.samples) == {7, "new"}
    assert len(read_blobs) <= 6  # two schemas, and two versions of at most two files


def digests(numbers):
    return {k: None if v is None else bytes([v]) * 32 for k, v in numbers.items()}


EDITS = st.lists(
    st.dictionaries(st.integers(0, 30), st.none() | st.integers(0, 2), max_size=6), max_size=5
)


@settings(max_examples=15)
@given(EDITS)
def test_the_same_content_has_the_same_tree_whatever_the_history(tmp_path_factory, edits):
    history = History(tmp_path_factory.mktemp("h") / "repo")
    tip = history.commit(new("images", {0: b"\0" * 32}))
    model = {0: b"\0" * 32}
    for numbers in edits:
        values = digests(numbers)
        tip = history.commit(change(values), (tip,))
        model = {k: v for k, v in (model | values).items() if v is not None}
    at_once = history.commit(new("images", model))
    assert history.git.hangar_tree(tip) == history.git.hangar_tree(at_once)
    assert history.snapshots(tip).arrayset("images").count() == len(model)


def test_the_fan_out_is_raised_straight_to_what_fits(history):
    base = history.first(10)
    many = {f"n{i}": history.digest() for i in range(16 * 1024)}
    tip = history.commit(change(many), (base,))
    assert history.snapshots(tip).arrayset("images").schema.fanout == 256
    assert history.records(tip) == history.records(base) | many
    fewer = history.commit(change(dict.fromkeys(many)), (tip,))
    assert history.snapshots(fewer).arrayset("images").schema.fanout == 256


def test_many_objects_are_one_pack_that_git_accepts(history):
    history.first(300_000)
    packs = list((history.path / ".git/objects/pack").glob("*.pack"))
    assert len(packs) == 1
    subprocess.run(["git", "fsck", "--strict", "--no-dangling"], cwd=history.path, check=True,
                   capture_output=True)  # fmt: skip


def test_a_ref_moves_only_from_where_it_was(history):
    base = history.first(3)
    one = history.commit(change({1: history.digest()}), (base,))
    two = history.commit(change({2: history.digest()}), (base,))
    refs.move_ref(history.git, "refs/heads/main", base, one, "x")
    for old in (base, None, two):
        with pytest.raises(StateError, match="moved meanwhile"):
            refs.move_ref(history.git, "refs/heads/main", old, two, "x")
    assert refs.branch_tip(history.git, "main") == one


def test_names_that_would_be_case_twins_are_refused(history):
    base = history.first(3)
    with pytest.raises(InvalidInputError, match="case only"):
        history.commit(new("Images", {}), (base,))
    with pytest.raises(InvalidInputError, match="case only"):
        history.commit(Edits(metadata={"a": "1", "A": "2"}), (base,))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("config", "[hangar]\n\tformatVersion = 2\n"),
        ("config", "nonsense"),
        ("arraysets/images/schema.json", "{}\n"),
        ("arraysets/images/surprise", "x"),
        ("arraysets/images/records/surprise", "x"),
        ("arraysets/images/records/16/a", "x\n"),
        ("arraysets/images/records/16/a", None),
        ("arraysets/bad name/schema.json", "x"),
        ("metadata/surprise", "x"),
        ("metadata/m.json", "[1,2]\n"),
        ("metadata/m.json", '["other","v"]\n'),
    ],
)
def test_malformed_trees_are_refused_by_name(path, text, history):
    base = history.commit(
        Edits({"images": ArraysetEdits(SCHEMA, fresh=True, values={1: b"\1" * 32})}, {"m": "v"})
    )
    writer = ObjectWriter(history.git)
    change_: dict = writer.blob(text.encode()) if text is not None else None  # type: ignore[assignment]
    for part in reversed(path.split("/")):
        change_ = {part: change_}
    from hangar_git.records.gitrepo import edit_tree

    tree = edit_tree(history.git, writer, history.git.hangar_tree(base), change_)
    writer.flush()

    def read_everything():
        snapshot = history.snapshots(base).at(tree)
        for records in snapshot.arraysets():
            records.load_all()
        for key in snapshot.metadata_files:
            snapshot.metadata(key)

    with pytest.raises(FormatError):
        read_everything()


# -- merges against plain dicts ------------------------------------------------------------------

SIDE = st.dictionaries(st.integers(0, 12), st.none() | st.integers(0, 2), max_size=8)


def plain_merge(base, ours, theirs):
    """The merged dict, and the keys in conflict (which keep our value)."""
    merged, conflicts = dict(ours), set()
    for key in base.keys() | theirs.keys():
        b, o, t = base.get(key), ours.get(key), theirs.get(key)
        if t in (b, o):
            continue
        if o != b:
            conflicts.add(key)
        elif t is None:
            merged.pop(key, None)
        else:
            merged[key] = t
    return merged, conflicts


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    history = History(tmp_path_factory.mktemp("oracle") / "repo")
    root = history.commit(new("images", {k: bytes([9]) * 32 for k in range(6)}))
    return history, root


def applied(records, values):
    return {k: v for k, v in (records | values).items() if v is not None}


@settings(max_examples=1500)
@given(SIDE, SIDE)
def test_merges_are_those_of_plain_dicts_and_lose_nothing(shared, one, two):
    history, root = shared
    one, two = digests(one), digests(two)
    from hangar_git.records.edits import build_tree

    base = history.snapshots(root)
    sides = []
    for values in (one, two):
        writer = ObjectWriter(history.git)
        tree = build_tree(base, change(values), writer).oid
        _write(history, writer)
        sides.append(base.at(tree))
    before = dict(base.arrayset("images").load_all())
    ours, theirs = applied(before, one), applied(before, two)
    expected, conflicts = plain_merge(before, ours, theirs)
    result = merge_snapshots(base, *sides)
    assert {conflict.key for conflict in result.conflicts} == conflicts
    edits = result.edits.arraysets.get("images")
    graft = "images" in result.edits.grafts
    merged = theirs if graft else applied(ours, edits.values if edits else {})
    assert merged == expected
    for key in before.keys() | ours.keys() | theirs.keys():
        if key not in merged:
            assert key not in ours or key not in theirs
    settled = merge_snapshots(base, *sides, lambda c: Settled(c.theirs))
    assert not settled.conflicts
    swapped = merge_snapshots(base, *reversed(sides))
    assert {conflict.key for conflict in swapped.conflicts} == conflicts


def _write(history, writer):
    """Objects without fsync: thousands of trees are made."""
    for oid, (kind, data) in writer._loose.items():
        if oid not in history.git.pygit2.odb:
            history.git.pygit2.odb.write(kind, data)


@settings(max_examples=40)
@given(SIDE, SIDE, SIDE, SIDE)
def test_criss_cross_histories_merge_recursively_or_conflict(shared, a, b, c, d):
    history, root = shared
    a, b, c, d = (
        {k: None if v is None else bytes([v]) * 32 for k, v in side.items()}
        for side in (a, b, c, d)
    )
    start = history.records(root)
    left, right = (history.commit(change(values), (root,)) for values in (a, b))
    base_records, disputed = plain_merge(start, applied(start, a), applied(start, b))
    # Each side merged the other, settling conflicts its own way, and went on.
    tips, records = [], []
    for own, first, second, more in ((a, left, right, c), (b, right, left, d)):
        kept = applied(base_records, {k: own.get(k, start.get(k)) for k in disputed})
        final = applied(kept, more)
        edits = {k: final.get(k) for k in history.records(first).keys() | final.keys()}
        tips.append(history.commit(change(edits), (first, second)))
        records.append(final)
    base, doubt = merge_base_snapshot(history.git, history.snapshots, *tips)
    result = merge_snapshots(base, *(history.snapshots(t) for t in tips), disputed=doubt)
    expected, conflicts = plain_merge(base_records, *records)
    found = {conflict.key for conflict in result.conflicts}
    assert conflicts - disputed <= found
    edits = result.edits.arraysets.get("images")
    merged = (
        records[1] if "images" in result.edits.grafts
        else applied(records[0], edits.values if edits else {})
    )  # fmt: skip
    for key in base_records.keys() | records[0].keys() | records[1].keys():
        if key in disputed:
            assert key in found or records[0].get(key) == records[1].get(key)
        elif key not in found:
            assert merged.get(key) == expected.get(key)
