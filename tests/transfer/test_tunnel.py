"""Plain git with a Hangar server: clone, fetch and push through the remote helper."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from hangar_git.cli.server import users
from transfer.faultproxy import FaultProxy
from transfer.hangarserver import Authority, HangarServer, install_helpers


@pytest.fixture(autouse=True)
def _helpers(tmp_path_factory, monkeypatch):
    directory = install_helpers(tmp_path_factory.getbasetemp() / "helpers")
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("HANGAR_TOKEN", raising=False)
    monkeypatch.setenv("GIT_ASKPASS", "/bin/false")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    with HangarServer("--root", root, "--create") as running:
        running.root = root
        yield running


def git(*arguments: object, cwd: Path | None = None, check: bool = True, **env: str):
    done = subprocess.run(
        ["git", *map(str, arguments)], cwd=cwd, env={**os.environ, **env},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture
def work(tmp_path):
    """A repository with one commit on main."""
    path = tmp_path / "work"
    git("init", "--quiet", "--initial-branch=main", path)
    commit(path, "first")
    return path


def commit(path: Path, name: str, content: str = "") -> str:
    (path / name).write_text(content or name)
    git("add", ".", cwd=path)
    git("commit", "--quiet", "--message", name, cwd=path)
    return git("rev-parse", "HEAD", cwd=path).stdout.strip()


def branches(server: HangarServer, name: str) -> dict[str, str]:
    listed = git("for-each-ref", "--format=%(refname:short) %(objectname)",
                 cwd=server.root / f"{name}.git").stdout  # fmt: skip
    return dict(line.split() for line in listed.splitlines())


@pytest.fixture
def url(server, request):
    return server.url(request.node.name.replace("[", "-").rstrip("]"))


@pytest.mark.parametrize("protocol", ["0", "1", "2"])
def test_push_clone_and_fetch_with_plain_git(url, work, tmp_path, protocol):
    version = ("-c", f"protocol.version={protocol}")
    git(*version, "push", url, "main", cwd=work)
    clone = tmp_path / "clone"
    git(*version, "clone", url, clone)
    assert (clone / "first").read_text() == "first"
    second = commit(work, "second", os.urandom(300_000).hex())
    git("tag", "-a", "-m", "x", "v1", cwd=work)
    git(*version, "push", url, "main", "v1", cwd=work)
    git(*version, "pull", cwd=clone)
    assert git("rev-parse", "v1^{}", cwd=clone).stdout.strip() == second
    assert git(*version, "ls-remote", url, cwd=clone).stdout.count("refs/tags/v1") == 2
    git("fsck", "--strict", cwd=clone)


def test_the_default_repository_has_an_address_without_a_path(tmp_path, work):
    with HangarServer("--default", tmp_path / "one.git") as server:
        url = f"hangar://127.0.0.1:{server.port}"
        git("push", url, "main", cwd=work)
        git("clone", url, tmp_path / "clone")
        assert (tmp_path / "clone" / "first").exists()


def test_what_is_cloned_is_checked_out_whatever_the_branch_is_called(url, work, tmp_path):
    git("push", url, "main:refs/heads/trunk", cwd=work)
    git("clone", url, tmp_path / "clone")
    assert git("branch", "--show-current", cwd=tmp_path / "clone").stdout == "trunk\n"


def test_an_old_branch_is_not_overwritten_by_a_push_from_before(server, url, work, tmp_path):
    git("push", url, "main", cwd=work)
    git("clone", url, tmp_path / "clone")
    theirs = commit(tmp_path / "clone", "theirs")
    git("push", cwd=tmp_path / "clone")
    commit(work, "mine")
    for how in ((), ("--force",), ("--force-with-lease=main:" + theirs,), ("--delete",)):
        refused = git("push", *how, url, "main", cwd=work, check=False)
        assert refused.returncode != 0, how
        assert "rejected" in refused.stderr or "deletion" in refused.stderr
    assert branches(server, url.rpartition("/")[2]) == {"main": theirs}


def test_who_has_the_right_may_force(tmp_path, work):
    with HangarServer("--root", tmp_path, "--create", "--anonymous", "force") as server:
        server.root = tmp_path
        old = git("rev-parse", "HEAD", cwd=work).stdout.strip()
        git("push", server.url(), "main", cwd=work)
        git("commit", "--amend", "--quiet", "--message", "other", cwd=work)
        new = git("rev-parse", "HEAD", cwd=work).stdout.strip()
        stale = git("push", f"--force-with-lease=main:{new}", server.url(), "main", cwd=work,
                    check=False)  # fmt: skip
        assert "stale info" in stale.stderr
        git("push", f"--force-with-lease=main:{old}", server.url(), "main", cwd=work)
        assert branches(server, "repo") == {"main": new}
        # What was replaced can be found again.
        log = git("reflog", "show", "main", "--format=%H", cwd=tmp_path / "repo.git").stdout
        assert old in log
        git("push", "--delete", server.url(), "main", cwd=work)
        assert branches(server, "repo") == {}


def test_an_atomic_push_moves_all_branches_or_none(server, url, work):
    git("push", url, "main", cwd=work)
    git("commit", "--amend", "--quiet", "--message", "other", cwd=work)
    git("branch", "more", cwd=work)
    refused = git("push", "--atomic", url, "+main", "more", cwd=work, check=False)
    assert refused.returncode != 0
    assert branches(server, url.rpartition("/")[2]).keys() == {"main"}


def test_a_partial_clone_fetches_what_it_needs_later(url, work, tmp_path):
    commit(work, "large", os.urandom(50_000).hex())
    (work / "large").unlink()
    commit(work, "small")
    git("push", url, "main", cwd=work)
    clone = tmp_path / "clone"
    git("clone", "--filter=blob:none", "--no-checkout", url, clone)
    assert "?" in git("rev-list", "--objects", "--missing=print", "HEAD", cwd=clone).stdout
    assert len(git("show", "HEAD~1:large", cwd=clone).stdout) == 100_000


def test_a_large_history_passes_in_both_directions(url, work, tmp_path):
    (work / "large").write_bytes(os.urandom(30_000_000))
    commit(work, "large too", "x")
    git("push", url, "main", cwd=work)
    git("clone", url, tmp_path / "clone")
    assert (tmp_path / "clone" / "large").read_bytes() == (work / "large").read_bytes()


def test_sixteen_push_branches_of_their_own_at_once(server, url, work):
    heads = {}
    for number in range(16):
        git("checkout", "--quiet", "-b", f"b{number}", "main", cwd=work)
        heads[f"b{number}"] = commit(work, f"file{number}")
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda name: git("push", url, name, cwd=work), heads))
    assert branches(server, url.rpartition("/")[2]) == heads


def test_pushes_to_one_branch_lose_nothing(server, url, work, tmp_path):
    """Each tries until it wins: every commit is in the end."""
    git("push", url, "main", cwd=work)

    def contribute(number: int) -> int:
        clone = tmp_path / f"clone{number}"
        git("clone", "--quiet", url, clone)
        commit(clone, f"file{number}")
        for tries in range(1, 60):
            if git("push", "--quiet", "origin", "main", cwd=clone, check=False).returncode == 0:
                return tries
            git("pull", "--quiet", "--rebase", "origin", "main", cwd=clone)
        raise AssertionError("never got through")

    with ThreadPoolExecutor(6) as threads:
        tries = list(threads.map(contribute, range(6)))
    assert max(tries) > 1  # they did get in each other's way
    hosted = server.root / f"{url.rpartition('/')[2]}.git"
    listed = git("ls-tree", "--name-only", "main", cwd=hosted).stdout.split()
    assert set(listed) == {"first", *(f"file{number}" for number in range(6))}
    git("fsck", "--strict", cwd=hosted)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hangar://127.0.0.1:1/x", "cannot reach 127.0.0.1:1: connection refused"),
        ("hangar://no.such.host.invalid/x", "unknown host"),
        ("hangar://127.0.0.1:{port}/../x", "no repository name"),
        ("hangar://a b/x", "no address of a Hangar server"),
        ("hangar://me:hunter2@127.0.0.1/x", "must not carry a password"),
        ("hangars://127.0.0.1:{port}/x", "does the server speak TLS"),
    ],
)
def test_what_goes_wrong_is_one_clear_line(server, tmp_path, address, said):
    done = git("ls-remote", address.format(port=server.port), check=False)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and said in lines[0]
    assert "Traceback" not in done.stderr and "hunter2" not in done.stderr


def test_a_missing_repository_is_one_clear_line(tmp_path, work):
    with HangarServer("--root", tmp_path) as server:
        for command in (
            ("clone", server.url("x"), tmp_path / "y"),
            ("push", server.url("x"), "main"),
        ):
            done = git(*command, cwd=work, check=False)
            assert done.returncode != 0
            assert "error: " in done.stderr and "no repository 'x'" in done.stderr


@pytest.fixture
def guarded(tmp_path, work):
    """A server with users, and a repository on it."""
    file = tmp_path / "users.json"
    for name, right in (("alice", "write"), ("bob", "read")):
        done = CliRunner().invoke(
            users, ["add", name, "--file", str(file), "--right", right, "--password-stdin"],
            input=f"{name}'s\n",
        )  # fmt: skip
        assert done.exit_code == 0
    root = tmp_path / "root"
    root.mkdir()
    with HangarServer("--root", root, "--create", "--users", file) as running:
        running.root, running.users = root, file
        yield running


def helper_script(path: Path, user: str, password: str, log: Path) -> str:
    """A credential helper of one answer, which notes what it is asked."""
    path.write_text(
        f'#!/bin/sh\nline="$1 $(cat | tr "\\n" " ")"\n'
        f'echo "$line" >> {log}\n'
        f'if [ "$1" = get ]; then echo username={user}; echo "password={password}"; fi\n'
    )
    path.chmod(0o755)
    return f"credential.helper={path}"


def test_credential_helpers_are_asked_and_told(guarded, work, tmp_path):
    log = tmp_path / "asked"
    helper = helper_script(tmp_path / "helper", "alice", "alice's", log)
    git("-c", helper, "push", guarded.url(), "main", cwd=work)
    asked = log.read_text().splitlines()
    assert [line.split()[0] for line in asked] == ["get", "store"]
    assert f"protocol=hangar host=127.0.0.1:{guarded.port} path=repo" in asked[0]
    wrong = helper_script(tmp_path / "wrong", "alice", "hunter2", log)
    done = git("-c", wrong, "fetch", guarded.url(), "main", cwd=work, check=False)
    assert done.returncode != 0 and "wrong user name, password or token" in done.stderr
    assert log.read_text().splitlines()[-1].startswith("erase")
    assert "hunter2" not in done.stderr + "".join(guarded.said)


def test_a_user_may_only_do_what_is_granted(guarded, work, tmp_path):
    alice = helper_script(tmp_path / "alice", "alice", "alice's", tmp_path / "log")
    bob = helper_script(tmp_path / "bob", "bob", "bob's", tmp_path / "log")
    git("-c", alice, "push", guarded.url(), "main", cwd=work)
    git("-c", bob, "fetch", guarded.url(), "main", cwd=work)
    refused = git("-c", bob, "push", guarded.url(), "main:refs/heads/x", cwd=work, check=False)
    assert "error: " in refused.stderr and "'bob' has no right to write 'repo'" in refused.stderr


def test_without_credentials_it_says_how_to_give_them(guarded):
    done = git("ls-remote", guarded.url(), check=False)
    assert done.returncode != 0
    assert "asks for credentials; set HANGAR_TOKEN" in done.stderr


def test_a_token_in_the_environment_is_enough(guarded, work):
    made = CliRunner().invoke(
        users, ["add", "alice", "--file", str(guarded.users), "--update", "--token", "ci"]
    )
    token = made.output.split()[-1]
    git("push", guarded.url(), "main", cwd=work, HANGAR_TOKEN=token)
    assert "main" in git("ls-remote", guarded.url(), HANGAR_TOKEN=token).stdout
    assert "wrong user" in git("ls-remote", guarded.url(), check=False, HANGAR_TOKEN="x").stderr
    for host, gets_it in (("127.0.0.1", True), (f"127.0.0.1:{guarded.port}", True), ("h", False)):
        environment = {"HANGAR_TOKEN": token, "HANGAR_TOKEN_HOST": host}
        done = git("ls-remote", guarded.url(), check=False, **environment)
        assert (done.returncode == 0) is gets_it


def test_credentials_are_never_sent_in_clear_to_another_machine(work, tmp_path):
    """The helper is not even asked, since nothing could be done with its answer."""
    log = tmp_path / "log"
    helper = helper_script(tmp_path / "helper", "alice", "x", log)
    for environment in ({"HANGAR_TOKEN": "x"}, {}):
        address = "hangar://me@192.0.2.1/x" if not environment else "hangar://192.0.2.1/x"
        done = git("-c", helper, "ls-remote", address, check=False, **environment)
        assert "not sent to 192.0.2.1:50051 without encryption" in done.stderr
    assert not log.exists()


def test_tls_with_an_authority_of_ones_own(tmp_path, work):
    authority = Authority(tmp_path)
    cert, key = authority.issue("server")
    root = tmp_path / "root"
    root.mkdir()
    with HangarServer("--root", root, "--create", "--cert", cert, "--key", key) as server:
        url = server.url(tls=True)
        git("push", url, "main", cwd=work, HANGAR_SSL_CAINFO=str(authority.file))
        refused = git("ls-remote", url, check=False)
        assert "not trusted" in refused.stderr


def test_hooks_and_settings_of_the_operator_hold(tmp_path, work):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "pre-receive").write_text(
        '#!/bin/sh\necho "user $HANGAR_USER, repository $HANGAR_REPOSITORY" >&2\nexit 1\n'
    )
    (hooks / "pre-receive").chmod(0o755)
    option = ("--git-option", f"core.hooksPath={hooks}")
    with HangarServer("--root", tmp_path, "--create", *option) as server:
        done = git("push", server.url("team/x"), "main", cwd=work, check=False)
        assert "remote: user anonymous, repository team/x" in done.stderr
        assert "pre-receive hook declined" in done.stderr


def test_objects_that_could_harm_are_refused(server, url, work):
    """As a host must: Git's own checks of what is pushed."""
    blob = git("hash-object", "-w", "--stdin", cwd=work, check=True).stdout.strip()
    made = subprocess.run(
        ["git", "mktree"], cwd=work, input=f"100644 blob {blob}\t.GIT\n", capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    bad = git("commit-tree", "-m", "x", made.stdout.strip(), cwd=work).stdout.strip()
    done = git("push", url, f"{bad}:refs/heads/bad", cwd=work, check=False)
    assert done.returncode != 0 and "hasDotgit" in done.stderr


def test_a_push_that_is_cut_off_moves_nothing_and_can_be_repeated(server, url, work):
    name = url.rpartition("/")[2]
    first = git("rev-parse", "main", cwd=work).stdout.strip()
    git("push", url, "main", cwd=work)
    (work / "large").write_bytes(os.urandom(5_000_000))
    second = commit(work, "second")
    with FaultProxy(server.port) as proxy:
        address = url.replace(str(server.port), str(proxy.port))

        def cut() -> None:
            until = time.monotonic() + 20
            while proxy.sent["up"] < 1_000_000 and time.monotonic() < until:
                time.sleep(0.001)
            proxy.cut_all()

        thread = threading.Thread(target=cut)
        thread.start()
        done = git("push", address, "main", cwd=work, check=False)
        thread.join()
    assert done.returncode != 0
    assert branches(server, name) == {"main": first}
    git("push", url, "main", cwd=work)
    assert branches(server, name) == {"main": second}
    wait_for_no_leftover(server, name)


def wait_for_no_leftover(server: HangarServer, name: str) -> None:
    """No git program of a call that is over stays behind."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        found = [
            path
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if f"{name}.git".encode() in read(path) and b"git" in read(path)
        ]
        if not found:
            return
        time.sleep(0.05)
    raise AssertionError([read(path) for path in found])


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("seed", range(4))
def test_pushes_and_fetches_through_a_bad_network_end_right(server, work, tmp_path, seed):
    name = f"bad{seed}"
    commit(work, "data", os.urandom(100_000).hex())
    head = git("rev-parse", "main", cwd=work).stdout.strip()
    faults = {"cut": 0.3, "corrupt": 0.3, "delay": 0.1}
    with FaultProxy(server.port, seed=seed, within=150_000, **faults) as proxy:
        address = f"hangar://127.0.0.1:{proxy.port}/{name}"

        def until_done(*command: object) -> None:
            for _ in range(40):
                if git(*command, cwd=work, check=False).returncode == 0:
                    return
            raise AssertionError("never done")

        until_done("push", address, "main")
        assert branches(server, name) == {"main": head}
        git("init", "--quiet", tmp_path / "other")
        until_done("-C", tmp_path / "other", "fetch", address, "main")
    assert git("rev-parse", "FETCH_HEAD", cwd=tmp_path / "other").stdout.strip() == head
    wait_for_no_leftover(server, name)


def test_a_clone_that_is_stopped_leaves_nothing_running_on_the_server(server, url, work, tmp_path):
    (work / "large").write_bytes(os.urandom(40_000_000))
    commit(work, "more")
    git("push", url, "main", cwd=work)
    cloning = subprocess.Popen(
        ["git", "clone", "--quiet", url, tmp_path / "clone"], stderr=subprocess.DEVNULL
    )
    time.sleep(0.4)
    cloning.kill()
    cloning.wait()
    wait_for_no_leftover(server, url.rpartition("/")[2])


def test_a_killed_server_leaves_a_sound_repository(tmp_path, work):
    (work / "large").write_bytes(os.urandom(20_000_000))
    commit(work, "more")
    for number in range(5):
        server = HangarServer("--root", tmp_path, "--create")
        killer = threading.Timer(0.1 + number * 0.12, server.kill)
        killer.start()
        git("push", server.url("k"), "main", cwd=work, check=False)
        killer.join()
        if (tmp_path / "k.git").exists():
            git("fsck", "--strict", cwd=tmp_path / "k.git")
    with HangarServer("--root", tmp_path, "--create") as server:
        git("push", server.url("k"), "main", cwd=work)
