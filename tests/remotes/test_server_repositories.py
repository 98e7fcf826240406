"""A server of real repositories: history and data in both directions, and nothing dangling."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from faults.test_hostile import mounted
from transfer.hangarserver import HangarServer

from hangar_git.errors import IntegrityError, InvalidInputError, RemoteError, StateError
from hangar_git.remotes import receiving
from hangar_git.remotes.checks import pushed_commits
from hangar_git.remotes.localstore import LocalSamples
from hangar_git.remotes.receiving import PushChecks, refuse_other_hooks
from hangar_git.remotes.serving import Served, SharedBucket, verified
from hangar_git.store.chunks import EncodedChunk
from hangar_git.transfer.address import parse_address
from hangar_git.transfer.bucket import open_bucket
from hangar_git.transfer.client import GrpcStore
from hangar_git.transfer.samples import Parcel
from hangar_git.transfer.serveraddress import ServerAddress
from remotes.clones import Clone, assert_whole, sample


@pytest.fixture
def clone(tmp_path, host):
    return Clone.made(tmp_path / "clone", host.url("team/digits"))


def store_of(host: HangarServer, name: str = "team/digits") -> LocalSamples:
    return LocalSamples(host.root / f"{name}.git" / "hangar")


def test_what_is_pushed_is_there_and_can_be_fetched_by_others(host, clone, tmp_path):
    clone.commit(range(500))
    done = clone.push()
    assert done.returncode == 0, done.stderr
    assert_whole(host.root / "team/digits.git")
    other = Clone.cloned(tmp_path / "other", clone.url)
    other.fetch()
    assert_whole(other.path)
    co = other.repository.checkout()
    assert (co["a", 321] == sample(321)).all()
    co.close()


def test_commits_are_refused_as_long_as_their_data_is_not_there(host, clone):
    clone.commit(range(5))
    refused = clone.push_refs()
    assert refused.returncode != 0
    assert "and 2 more is not here; 'git hangar push' sends it" in refused.stderr
    assert str(host.root) not in refused.stderr
    clone.push_data()
    assert clone.push_refs().returncode == 0


@pytest.mark.parametrize("ref", ["refs/tags/v1", "refs/heads/deep/branch", "refs/notes/x"])
def test_no_kind_of_ref_leads_to_commits_without_data(host, clone, ref):
    clone.commit([1])
    clone.git("tag", "-a", "-m", "x", "v1")
    what = "v1" if "tags" in ref else "HEAD"
    assert clone.git.run("push", "origin", f"{what}:{ref}").returncode != 0
    assert Clone(host.root / "team/digits.git", "").git("for-each-ref") == ""


def test_data_missing_in_the_middle_of_history_is_noticed(host, clone):
    clone.commit([1])
    co = clone.repository.checkout(write=True)
    co["a"].remove(1)
    co.commit("removed again")
    co.close()
    refused = clone.push_refs()
    assert "the data of a/#1 is not here" in refused.stderr
    assert clone.push().returncode == 0


def test_one_bad_branch_of_a_push_moves_none(host, clone):
    clone.push()
    clone.git("branch", "good")
    clone.commit([1])
    refused = clone.git.run("push", "origin", "good:refs/heads/good", "HEAD:refs/heads/bad")
    assert refused.returncode != 0
    assert "good" not in Clone(host.root / "team/digits.git", "").git("for-each-ref")


def test_hooks_of_the_repository_run_as_well(host, clone):
    clone.push()
    bare = host.root / "team/digits.git"
    (bare / "hooks").mkdir()
    for name in ("pre-receive", "update", "post-receive", "post-update", "reference-transaction"):
        (bare / "hooks" / name).write_text(
            "#!/bin/sh\n"
            f'{{ echo "$@ $HANGAR_USER"; [ {name[-6:]} != eceive ] || cat; }} >> {name}.seen\n'
        )
        (bare / "hooks" / name).chmod(0o755)
    before = clone.tip()
    tip = clone.commit([1])
    assert clone.push().returncode == 0
    for name in ("pre-receive", "post-receive"):
        text = (bare / f"{name}.seen").read_text()
        assert text == f" anonymous\n{before} {tip} refs/heads/main\n"
    assert (bare / "update.seen").read_text() == f"refs/heads/main {before} {tip} anonymous\n"
    assert (bare / "post-update.seen").read_text() == "refs/heads/main anonymous\n"
    assert "committed anonymous" in (bare / "reference-transaction.seen").read_text()
    (bare / "hooks/pre-receive").write_text("#!/bin/sh\necho no >&2; exit 1\n")
    clone.commit([2])
    assert "remote: no" in clone.push().stderr


def test_the_check_cannot_be_switched_off_by_an_option(tmp_path, capfd):
    with pytest.raises(InvalidInputError, match="hooks"):
        refuse_other_hooks(("Core.HooksPath=/dev/null",))
    done = subprocess.run(
        [sys.executable, "-m", "hangar_git.cli.main", "server", "--root", str(tmp_path),
         "--git-option", "core.hookspath=/dev/null"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: core.hooksPath")
    assert len(done.stderr.splitlines()) == 1


def test_a_server_that_could_not_run_its_check_does_not_start(monkeypatch):
    monkeypatch.setattr(receiving.os, "access", lambda *_: False)
    with pytest.raises(StateError, match="set TMPDIR"):
        PushChecks(lambda _: None)
    monkeypatch.undo()


def test_a_place_too_deep_for_a_socket_is_one_error_and_leaves_nothing(monkeypatch, tmp_path):
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr(receiving.tempfile, "tempdir", str(deep))
    with pytest.raises(StateError, match="TMPDIR"):
        PushChecks(lambda _: None)
    assert not any(deep.iterdir())


def test_what_git_says_of_a_push_is_read_strictly():
    oid = "1" * 40
    assert [str(o) for o in pushed_commits(f"{'0' * 40} {oid} refs/heads/a b\n")] == [oid]
    assert pushed_commits(f"{oid} {'0' * 40} refs/heads/gone\n") == []
    with pytest.raises(InvalidInputError):
        pushed_commits("nonsense\n")


def test_sixteen_clients_push_to_branches_of_their_own(host, clone, tmp_path):
    clone.commit(range(20))
    assert clone.push().returncode == 0

    def work(number: int) -> None:
        mine = Clone.cloned(tmp_path / f"c{number}", clone.url)
        mine.commit(range(1000 + 40 * number, 1060 + 40 * number))  # some of the next one's
        done = mine.push_data_of_new("origin/main").push_refs(branch=f"b{number}")
        assert done.returncode == 0, done.stderr

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    bare = Clone(host.root / "team/digits.git", "")
    assert len(bare.git("for-each-ref", "refs/heads").splitlines()) == 17
    assert_whole(bare.path)


def test_sixteen_clients_push_to_one_branch_and_lose_nothing(host, clone, tmp_path):
    """Each merges what the others were faster with, and tries again."""
    clone.commit(range(20))
    assert clone.push().returncode == 0
    start = threading.Barrier(16)

    def work(number: int) -> int:
        mine = Clone.cloned(tmp_path / f"c{number}", clone.url)
        mine.commit([1000 + number])
        start.wait(120)
        for attempt in range(100):
            mine.push_data_of_new("origin/main")
            done = mine.push_refs()
            if done.returncode == 0:
                return attempt
            assert "rejected" in done.stderr or "remote rejected" in done.stderr, done.stderr
            mine.git("fetch", "-q")
            merged = mine.repository.checkout(write=True)
            merged.merge("theirs", "origin/main")
            merged.close()
        raise AssertionError("never")

    with ThreadPoolExecutor(16) as pool:
        tries = list(pool.map(work, range(16)))
    assert max(tries) > 0
    last = Clone.cloned(tmp_path / "last", clone.url)
    last.fetch()
    co = last.repository.checkout()
    assert {key for key in co["a"] if key >= 1000} == set(range(1000, 1016))
    co.close()
    assert_whole(last.path)
    assert_whole(host.root / "team/digits.git")


def test_a_full_disk_of_the_server_is_one_line_and_the_push_goes_on_later(tmp_path, on_path):
    with ExitStack() as stack:
        small = stack.enter_context(mounted(tmp_path / "small", "-o", "size=24m"))
        host = stack.enter_context(HangarServer("--root", small, "--create", store=None))
        clone = Clone.made(tmp_path / "clone", host.url())
        clone.commit(range(10))
        assert clone.push().returncode == 0
        co = clone.repository.checkout(write=True)
        big = co.arraysets.init_arrayset("big", shape=(1 << 20,), dtype="u1")
        for key in range(6):
            big[key] = sample(key, 1 << 20)
        co.commit("big")
        co.close()
        ballast = small / "ballast"
        status = os.statvfs(small)
        ballast.write_bytes(bytes(status.f_bavail * status.f_frsize - (3 << 20)))
        with pytest.raises((RemoteError, OSError), match="No space left") as caught:
            clone.push_data()
        assert len(str(caught.value).splitlines()) == 1
        assert str(small) not in str(caught.value)
        assert clone.push_refs().returncode != 0
        ballast.unlink()
        done = clone.push()
        assert done.returncode == 0, done.stderr
        assert_whole(small / "repo.git")


def test_samples_that_are_not_what_they_say_are_refused_by_the_server(host, clone):
    clone.commit(range(3))
    (parcel,) = [*clone.samples.export(list(clone.needed()))][:1]
    lies = Parcel(parcel.digests, parcel.data[:-1] + bytes([parcel.data[-1] ^ 1]))
    strange = Parcel((b"x" * 32,), b"no samples")
    with GrpcStore(ServerAddress.parse(clone.url)) as remote:
        for bad in (lies, strange):
            with pytest.raises(IntegrityError):
                remote.receive([bad])
    assert len(store_of(host).missing(list(clone.needed()))) == 3


# -- data in a bucket --------------------------------------------------------------------------


@pytest.fixture(params=["directory", "s3"])
def bucket(request, tmp_path):
    if request.param == "directory":
        return f"file://{tmp_path}/shared"
    request.getfixturevalue("s3")
    return "s3://bucket/some/where"


@pytest.fixture
def two_servers(tmp_path, on_path, bucket):
    """Two servers of the same repositories, with data in one bucket."""
    root = tmp_path / "root"
    root.mkdir()
    options = ("--root", root, "--create", "--store", bucket)
    with HangarServer(*options, store=None) as one, HangarServer(*options, store=None) as two:
        one.root = two.root = root
        yield one, two


def test_servers_share_data_in_a_bucket(two_servers, tmp_path, bucket):
    one, two = two_servers
    clone = Clone.made(tmp_path / "clone", one.url("team/digits"))
    clone.commit(range(50))
    assert clone.push_refs().returncode != 0
    assert clone.push().returncode == 0
    other = Clone.cloned(tmp_path / "other", two.url("team/digits"))
    other.fetch()
    assert_whole(other.path)
    other.commit([60])
    assert other.push_refs().returncode != 0
    assert other.push().returncode == 0
    clone.git("fetch", "-q")
    clone.fetch()
    assert_whole(clone.path)
    assert not (one.root / "team/digits.git/hangar").exists()
    place = parse_address(f"{bucket}/team/digits.git")
    assert open_bucket(place).missing(list(other.needed())) == []


def test_repositories_in_one_bucket_do_not_see_each_others_data(two_servers, tmp_path):
    one, _ = two_servers
    clone = Clone.made(tmp_path / "clone", one.url("secret"))
    clone.commit(range(5))
    assert clone.push().returncode == 0
    for name in ("other", "secret/deeper"):
        with GrpcStore(ServerAddress.parse(one.url(name))) as remote:
            assert len(remote.missing(list(clone.needed()))) == 5


def test_samples_are_verified_before_they_go_into_a_bucket(two_servers, tmp_path, bucket):
    one, _ = two_servers
    clone = Clone.made(tmp_path / "clone", one.url())
    clone.commit(range(3))
    (parcel,) = clone.samples.export(list(clone.needed()))
    lies = Parcel(parcel.digests, parcel.data[:-1] + bytes([parcel.data[-1] ^ 1]))
    with GrpcStore(ServerAddress.parse(clone.url)) as remote:
        for bad in (lies, Parcel((b"x" * 32,), parcel.data)):
            with pytest.raises(IntegrityError):
                remote.receive([bad])
        assert len(remote.missing(list(clone.needed()))) == 3


def test_many_clients_use_a_bucket_through_one_server(two_servers, tmp_path):
    one, two = two_servers
    clone = Clone.made(tmp_path / "clone", one.url())
    clone.commit(range(30))
    assert clone.push().returncode == 0

    def work(number: int) -> None:
        mine = Clone.cloned(tmp_path / f"c{number}", (one, two)[number % 2].url())
        mine.fetch()
        mine.commit([100 + number, 200])
        assert mine.push(branch=f"b{number}").returncode == 0

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    clone.git("fetch", "-q")
    for number in range(8):
        clone.fetch(f"b{number}")
    assert_whole(clone.path)


@pytest.mark.parametrize(
    ("store", "message"),
    [("hangar://localhost/x", "is a server"), ("s3://no-such-bucket/x", "bucket"),
     ("nonsense", "expected"), ("file:///proc/nothing/here", "")],
)  # fmt: skip
def test_a_store_that_cannot_be_used_stops_the_start_with_one_line(tmp_path, s3, store, message):
    done = subprocess.run(
        [sys.executable, "-m", "hangar_git.cli.main", "server", "--root", str(tmp_path),
         "--port", "0", "--store", store],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_default_repository_has_a_place_of_its_own_in_the_bucket(tmp_path):
    default = tmp_path / "one.git"
    store = parse_address(f"file://{tmp_path}/shared")
    with Served(store, tmp_path, default) as served:
        served.open_store(default).missing([b"1" * 32])
        served.open_store(tmp_path / "one").missing([b"1" * 32])
    assert sorted(p.name for p in (tmp_path / "shared").iterdir()) == [".default.git", "one.git"]


def test_a_store_that_failed_is_not_used_again(tmp_path):
    opened = []

    def open_one():
        opened.append(1)
        return open_bucket(parse_address(f"file://{tmp_path}/b"), create=True)

    shared = SharedBucket(open_one)
    assert shared.missing([b"1" * 32]) == [b"1" * 32]
    assert shared.missing([b"2" * 32]) == [b"2" * 32]
    assert len(opened) == 1
    with pytest.raises(InvalidInputError):
        shared.missing([b"short"])
    shared.missing([])
    assert len(opened) == 2


def test_parcels_of_fewer_digests_than_shapes_are_refused(repo):
    co = repo.checkout(write=True)
    co.arraysets.init_arrayset("a", shape=(16,), dtype="u1")["x"] = sample(1)
    co.commit("x")
    co.close()
    samples = LocalSamples(Path(repo.path, ".git/hangar"))
    clone = Clone(Path(repo.path), "")
    (parcel,) = samples.export(list(clone.needed()))
    chunk = EncodedChunk.parse(parcel.data)
    cut = Parcel((), parcel.data[: -len(chunk.data) - 32])
    with pytest.raises(IntegrityError):
        list(verified([cut]))
