"""Parts of a commit: small, without secrets, and read without the clone."""

from __future__ import annotations

import os
import pickle
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from processes import run_python
from repositories import Git
from transfer.s3server import BUCKET

from hangar_git import errors
from hangar_git.remotes.access import RemoteAccess
from hangar_git.views.columns import Column
from hangar_git.workers.parts import (
    PART_BYTES,
    chosen_arraysets,
    from_remote,
    read_items,
    row_bytes,
    row_ranges,
)

from .conftest import COUNT, blob, line, photo


def parts_of(co, name, remote="origin", size=20, **more):
    (column,) = from_remote([Column.of(co[name])], remote, **more)
    return [column.take(rows) for rows in row_ranges(len(column), row_bytes(column), size)]


@pytest.mark.parametrize("remote", ["origin", "files"])
def test_a_part_is_read_by_a_process_that_has_no_clone(co, place, tmp_path, remote):
    names = ["photos", "labels", "lines", "names", "blobs", "named", "pairs"]
    parts = tmp_path / "parts"
    parts.write_bytes(pickle.dumps({name: parts_of(co, name, remote)[0] for name in names}))
    expected = {name: parts_of(co, name, remote)[0].keys for name in names}
    co.close()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with place.away():
        done = run_python(
            """
            import pickle, sys
            from hangar_git.workers.parts import read_items
            parts = pickle.load(open(sys.argv[1], "rb"))
            found = {name: list(read_items(part)) for name, part in parts.items()}
            pickle.dump(found, open(sys.argv[2], "wb"))
            """.replace("\n            ", "\n"),
            parts, tmp_path / "found", cwd=elsewhere, timeout=100,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not list(elsewhere.iterdir())
    found = pickle.loads((tmp_path / "found").read_bytes())
    for name in names:
        assert [key for key, _ in found[name]] == list(expected[name]), name
    assert all(np.array_equal(value, photo(key)) for key, value in found["photos"])
    assert all(value == key for key, value in found["labels"])
    assert all(np.array_equal(value, line(key)) for key, value in found["lines"])
    assert found["names"][:2] == [(0, ""), (1, "größe-1")]
    assert all(value == blob(key) for key, value in found["blobs"])
    assert found["named"][3][0] == "n03" and found["named"][3][1].tolist() == [3, 1]
    assert {key: value.tolist() for key, value in found["pairs"]} == {
        ("a", 0): [0, 1], ("a", "x"): [2, 3]
    }  # fmt: skip


def test_a_part_holds_the_digests_of_its_own_rows_alone(co):
    parts = parts_of(co, "photos")
    for part in parts:
        pickled = pickle.dumps(part)
        for other in parts:
            for value in other.records(range(len(other))):
                assert (value in pickled) == (other is part)
    assert len(pickle.dumps(parts[0])) < 3000


def test_nothing_secret_travels_unless_it_is_passed(co, tokens):
    token = os.environ["HANGAR_TOKEN"].encode()
    assert token not in pickle.dumps(parts_of(co, "photos"))
    passed = parts_of(co, "photos", worker_token=tokens["reader"])
    assert tokens["reader"].encode() in pickle.dumps(passed)
    assert tokens["reader"] not in repr(passed[0].aset._store.stream)


def in_thread(function):
    """What a thread of its own gets, which has opened nothing yet."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(60)


def test_a_worker_without_a_token_or_with_a_wrong_one_is_told_which_variable(co, monkeypatch):
    part = parts_of(co, "photos")[0]
    for wrong in ("", "hgr_wrong"):
        monkeypatch.setenv("HANGAR_TOKEN", wrong)
        with pytest.raises(errors.RemoteAuthenticationError) as caught:
            in_thread(lambda: part.read([0]))
        assert "set HANGAR_TOKEN in the environment of the workers" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_token_that_was_passed_is_used_instead_of_the_environment(co, tokens, monkeypatch):
    part = parts_of(co, "photos", worker_token=tokens["reader"])[0]
    monkeypatch.delenv("HANGAR_TOKEN")
    assert np.array_equal(in_thread(lambda: part.read([4]))[0], photo(4))
    with pytest.raises(errors.RemoteAuthenticationError, match="wrong"):
        parts_of(co, "photos", worker_token="hgr_wrong")


def test_to_an_address_that_is_not_confirmed_no_token_is_sent(place):
    assert not in_thread(lambda: RemoteAccess(place.url).missing([]))
    with pytest.raises(errors.RemoteAuthenticationError, match="asks for credentials"):
        in_thread(lambda: RemoteAccess(place.url, anonymous=True).missing([]))


def test_who_may_only_read_does_not_write(place, tokens):
    from hangar_git.transfer.credentials import Credentials

    access = RemoteAccess(place.url, push=True, credentials=Credentials(tokens["reader"]))
    with pytest.raises(errors.RemotePermissionError, match="reader has no right to write"):
        in_thread(lambda: access.missing([bytes(32)]))


def test_connections_are_kept(co, place, monkeypatch):
    part = parts_of(co, "photos")[0]
    opened = []
    monkeypatch.setattr(
        RemoteAccess, "__call__",
        lambda self, real=RemoteAccess.__call__: opened.append(self) or real(self),
    )  # fmt: skip

    def read_twice():
        pickle.loads(pickle.dumps(part)).read([1])
        pickle.loads(pickle.dumps(part)).read([2])

    for _ in range(2):
        in_thread(read_twice)
    assert len(opened) == 1
    access = RemoteAccess(place.url, push=True)
    in_thread(lambda: access.missing([]) + pickle.loads(pickle.dumps(access)).missing([]))
    assert len(opened) == 2


def test_a_remote_that_is_away_is_one_error_and_no_wait():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    access = RemoteAccess(f"hangar://127.0.0.1:{port}/x")
    with pytest.raises(errors.RemoteConnectionError, match="connection refused"):
        in_thread(lambda: list(access.export([bytes(32)])))
    with pytest.raises(errors.RemoteNotFoundError, match="does not exist; make it, or mount it"):
        in_thread(lambda: RemoteAccess("file:///nowhere/at/all").missing([bytes(32)]))


def test_workers_read_from_a_bucket(place, s3, monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3.port}",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    git = Git(place.path)
    git("init", "--quiet", "--bare", str(place.root / "third.git"))
    place.repo.remote.add("third", str(place.root / "third.git"), data=f"s3://{BUCKET}/prefix")
    try:
        place.repo.remote.push("third", "main")
        with place.repo.checkout() as co:
            part = parts_of(co, "photos", "third")[1]
            co.close()
        with place.away():
            found = in_thread(lambda: dict(read_items(pickle.loads(pickle.dumps(part)))))
        assert list(found) == list(range(20, 40))
        assert all(np.array_equal(value, photo(key)) for key, value in found.items())
    finally:
        place.repo.remote.remove("third")


# -- what the driver says ----------------------------------------------------------------------


def test_data_that_is_on_the_drivers_machine_alone_is_named_with_what_to_do(place):
    co = place.repo.checkout(write=True)
    co["photos"][1000] = photo(1000)
    co.commit("not pushed")
    co.close()
    with place.repo.checkout() as reader:
        with pytest.raises(errors.DataNotLocalError) as caught:
            parts_of(reader, "photos")
        reader.close()
    assert "data of 1 samples of arrayset 'photos' is not at remote 'origin'" in str(caught.value)
    assert "such as of sample 1000; send it first: git hangar push origin" in str(caught.value)


def test_remotes_that_workers_cannot_reach_are_refused(co, place):
    with pytest.raises(KeyError, match="no remote 'nope'"):
        parts_of(co, "photos", "nope")
    place.repo.remote.add("beside", str(place.root / "bare.git"))
    try:
        with pytest.raises(RuntimeError, match=r"git config remote\.beside\.hangarUrl ADDRESS"):
            parts_of(co, "photos", "beside")
    finally:
        place.repo.remote.remove("beside")


def test_arraysets_are_chosen_by_name(co, writer):
    assert [aset.name for aset in chosen_arraysets(co, "photos")] == ["photos"]
    assert [aset.name for aset in chosen_arraysets(co, ["some", "lines"])] == ["some", "lines"]
    assert len(chosen_arraysets(co, None)) == len(co.arraysets)
    with pytest.raises(KeyError, match="no arrayset 'nope'"):
        chosen_arraysets(co, "nope")
    with pytest.raises(KeyError, match="no arrayset is chosen"):
        chosen_arraysets(co, [])
    for wrong in (writer, "repo", co["photos"]):
        with pytest.raises(ValueError, match=r"give what repo\.checkout\(\) gives"):
            chosen_arraysets(wrong, None)


def test_parts_are_as_large_as_a_bulk_read_should_be(co):
    assert [len(rows) for rows in row_ranges(50, 1, 20)] == [20, 20, 10]
    assert [len(rows) for rows in row_ranges(0, 1, None)] == [0]
    assert len(row_ranges(10, PART_BYTES * 2, None)) == 10
    assert len(row_ranges(1_000_000, 784, None)) == 26
    for wrong in (0, -1, 1.5, "9"):
        with pytest.raises(ValueError, match="partition_size is a number of samples"):
            row_ranges(50, 1, wrong)
    assert row_bytes(Column.of(co["photos"])) == 120
    assert row_bytes(Column.of(co["lines"])) == np.mean([4 * (1 + i % 7) for i in range(COUNT)])
    assert row_bytes(Column.of(co["blobs"])) == np.mean([len(blob(i)) for i in range(COUNT)])


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidInputError("what"),
        errors.NotFoundError("what"),
        errors.DataNotLocalError("what"),
        errors.ConflictError("what", [("a", 1)]),
        errors.IntegrityError("what", expected="a", where="there"),
        errors.RemoteConnectionError("what", retryable=False),
        errors.RemoteAuthenticationError("what"),
        errors.StorageError("what"),
        errors.StateError("what"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_come_back_from_workers_as_they_were(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == "what"
    assert copy.retryable == error.retryable
    for name in ("conflicts", "expected", "where"):
        assert getattr(copy, name, None) == getattr(error, name, None)
