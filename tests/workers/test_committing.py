"""One commit of what many workers sent: records alone, and only of data that the remote holds."""

from __future__ import annotations

import numpy as np
import pytest
from repositories import Git

from hangar_git import errors
from hangar_git.workers.committing import SharedCommit
from hangar_git.workers.uploading import Sent

from .conftest import photo


def photos(*numbers):
    return np.stack([photo(number) for number in numbers])


def containers(place):
    return sorted(path.name for path in (place.path / ".git/hangar/containers").iterdir())


def test_records_of_many_workers_become_one_commit_of_data_that_is_not_here(place, writer, clone):
    before = containers(place)
    shared = SharedCommit(writer, ["photos"], "origin")
    sent = [
        shared.uploader.send("photos", range(at, at + 5), photos(*range(at, at + 5)))
        for at in (100, 105, 110)
    ]
    writer.metadata["by"] = "workers"
    commit = shared.commit(sent, "fifteen\n\nphotos")
    assert place.tip() == commit == Git(place.path)("rev-parse", "origin/main")
    assert containers(place) == before
    with pytest.raises(FileNotFoundError, match="git hangar fetch-data origin"):
        place.repo.checkout()["photos"][107]
    streaming = place.repo.checkout(stream="origin")
    assert np.array_equal(streaming["photos"][107], photo(107))
    streaming.close()
    other = clone()
    with other.checkout() as co:
        assert co.commit_hash == commit
        assert co.metadata["by"] == "workers"
        assert len(co["photos"]) == 75
        assert all(np.array_equal(co["photos"][i], photo(i)) for i in range(100, 115))
        co.close()
    report = other.maintenance.fsck(full=True)
    assert not report.problems and not report.missing


def test_the_same_content_twice_is_no_conflict_and_another_one_is(place, writer):
    before = place.tip()
    shared = SharedCommit(writer, ["photos", "labels"], "origin")
    one = shared.uploader.send("photos", [7, 8], photos(1007, 1008))
    again = shared.uploader.send("photos", [8], photos(1008))
    other = shared.uploader.send("photos", [8], photos(2008))
    number = shared.uploader.send("labels", [8], np.array([9]))
    with pytest.raises(errors.ConflictError) as caught:
        shared.commit([one, number, other], "no")
    assert str(caught.value) == (
        "sample 8 of arrayset 'photos' was written with different contents; nothing was committed"
    )
    assert caught.value.conflicts == [("photos", 8)]
    assert writer.diff.status() == "CLEAN"
    assert place.tip() == before
    shared.commit([one, again, number], "yes")
    assert writer["labels"]._record(8) == number.values[0]


def test_integers_and_texts_are_different_keys(writer):
    shared = SharedCommit(writer, ["photos"], "origin")
    sent = [shared.uploader.send("photos", [key], photos(at)) for at, key in ((1, 1), (2, "1"))]
    shared.commit(sent, "both", push=False)
    assert sum(key in (1, "1") for key in writer["photos"]) == 2


def test_a_digest_that_the_remote_lacks_is_not_committed(place, writer):
    before = place.tip()
    writer.metadata["staged"] = "before"
    shared = SharedCommit(writer, ["photos"], "files")
    good = shared.uploader.send("photos", [501], photos(501))
    for sent in (
        [good, Sent("photos", [500], [bytes(32)])],
        # What is at another remote does not count, nor what is here alone.
        [SharedCommit(writer, ["photos"], "origin").uploader.send("photos", [502], photos(502))],
    ):
        with pytest.raises(errors.DataNotLocalError, match=r"'files' .* lacks 1 .*'photos'"):
            shared.commit(sent, "no")
    assert place.tip() == before
    assert 501 not in writer["photos"] and 500 not in writer["photos"]
    assert writer.metadata["staged"] == "before"


def test_a_branch_that_the_remote_refuses_leaves_the_commit_here(place, writer, clone):
    other = clone()
    co = other.checkout(write=True)
    co.metadata["meanwhile"] = "theirs"
    co.commit("theirs")
    co.close()
    other.remote.push("origin", "main")
    shared = SharedCommit(writer, ["photos"], "origin")
    sent = shared.uploader.send("photos", [300], photos(300))
    with pytest.raises(errors.RemoteError):
        shared.commit([sent], "ours")
    assert Git(place.path)("log", "-1", "--format=%s") == "ours"
    writer.close()
    place.repo.remote.fetch("origin", "main")
    place.repo.merge("both", "main", "origin/main")
    place.repo.remote.push("origin", "main")


def test_without_a_push_the_remote_has_the_data_and_not_the_commit(place, writer):
    shared = SharedCommit(writer, ["photos"], "origin")
    sent = shared.uploader.send("photos", [301], photos(301))
    commit = shared.commit([sent], "later", push=False)
    git = Git(place.path)
    assert place.tip() == commit != git("rev-parse", "origin/main")
    writer.close()
    place.repo.remote.push("origin", "main")
    assert git("rev-parse", "origin/main") == commit


def test_what_cannot_be_written_to_is_said_before_any_work(place, co, writer, monkeypatch):
    with pytest.raises(ValueError, match=r"repo\.checkout\(write=True\)"):
        SharedCommit(co, ["photos"], "origin")
    with pytest.raises(KeyError, match="no arrayset 'nope'"):
        SharedCommit(writer, ["nope"], "origin")
    with pytest.raises(ValueError, match="no arrayset to write to"):
        SharedCommit(writer, [], "origin")
    with pytest.raises(KeyError, match="no remote 'nope'"):
        SharedCommit(writer, ["photos"], "nope")
    with pytest.raises(errors.RemoteAuthenticationError):
        SharedCommit(writer, ["photos"], "origin", "hgr_wrong")
    shared = SharedCommit(writer, ["photos"], "origin")
    with pytest.raises(RuntimeError, match="nothing to commit"):
        shared.commit([], "nothing")
    (place.path / ".git/MERGE_HEAD").write_text(place.tip() + "\n")
    with pytest.raises(errors.StateError, match="merge"):
        SharedCommit(writer, ["photos"], "origin")
    (place.path / ".git/MERGE_HEAD").unlink()
    writer.close()
    with pytest.raises(PermissionError, match="closed"):
        SharedCommit(writer, ["photos"], "origin")
