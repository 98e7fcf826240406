"""Users, their passwords and tokens, and what each may do."""

from __future__ import annotations

import contextlib
import json
import re
import stat
import threading

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hangar_git.cli.server import users
from hangar_git.errors import (
    AlreadyExistsError,
    FormatError,
    InvalidInputError,
    NotFoundError,
    RemoteAuthenticationError,
    RemoteConnectionError,
    RemoteNotFoundError,
    RemotePermissionError,
)
from hangar_git.transfer.auth import (
    Right,
    User,
    Users,
    edit_users,
    hash_password,
    hash_token,
    new_token,
    verify_password,
)
from hangar_git.transfer.channel import ClientOptions
from hangar_git.transfer.client import GrpcStore
from hangar_git.transfer.credentials import Credentials
from transfer.hangarserver import Authority, HangarServer
from transfer.stores import MemoryStore


def run(*arguments: object, text: str | None = None):
    return CliRunner().invoke(users, [str(word) for word in arguments], input=text)


@pytest.fixture
def file(tmp_path):
    """alice writes team/*, bob reads everything, carol may force, everyone reads public/*."""
    path = tmp_path / "users.json"
    for name, password, *rights in (
        ("alice", "alice's secret", "write:team/*"),
        ("bob", "bob's secret", "read"),
        ("carol", "carol's secret", "force:team/*", "read:*"),
    ):
        options = [word for right in rights for word in ("--right", right)]
        done = run("add", name, "--file", path, "--password-stdin", *options, text=password + "\n")
        assert done.exit_code == 0, done.output
    assert run("add", "anonymous", "--file", path, "--right", "read:public/*").exit_code == 0
    return path


@pytest.fixture
def server(file, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    with HangarServer("--root", root, "--create", "--users", file) as running:
        yield running


def test_a_password_is_found_right_or_wrong():
    stored = hash_password("pässword")
    assert verify_password("pässword", stored)
    assert not verify_password("password", stored)
    assert hash_password("pässword") != stored
    with pytest.raises(InvalidInputError):
        hash_password("")


def test_a_token_is_random_and_kept_as_a_hash():
    token, kept = new_token()
    assert kept == hash_token(token) and token not in kept
    assert len(token) > 40 and new_token()[0] != token


def test_rights_include_the_ones_before_and_the_most_counts():
    user = User(grants=((Right.READ, "*"), (Right.FORCE, "team/*"), (Right.WRITE, "team/x")))
    assert user.right_on("other") is Right.READ
    assert user.right_on("team/x") is Right.FORCE
    assert User().right_on("team/x") is Right.NONE
    assert Right.WRITE.names() == ["read", "write"]


def test_the_users_file_holds_no_secret_and_is_for_its_owner_only(file):
    text = file.read_text()
    assert "secret" not in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Users.load(file).to_json() == text


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(version=2),
        lambda d: d.update(more=1),
        lambda d: d["users"].update({"a b": {"rights": []}}),
        lambda d: d["users"]["bob"].update(rigths=[]),
        lambda d: d["users"]["bob"].pop("rights"),
        lambda d: d["users"]["bob"].update(rights=[["own", "*"]]),
        lambda d: d["users"]["bob"].update(password="plain"),
        lambda d: d["users"]["bob"].update(password="scrypt$40$8$1$AAAA$AAAA"),
        lambda d: d["users"]["bob"].update(tokens={"x": "plain"}),
    ],
)
def test_a_users_file_with_a_mistake_is_refused(file, change):
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    with pytest.raises(FormatError, match="users file"):
        Users.load(file)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
))  # fmt: skip
def test_json_that_is_no_users_file_is_refused_or_has_no_users(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    for document in (value, {"version": 1, "users": value}, {"version": 1, "users": {"x": value}}):
        path.write_text(json.dumps(document))
        with contextlib.suppress(FormatError):
            assert not any(user.grants for user in Users.load(path).by_name.values())


def test_two_cannot_change_the_users_at_once(tmp_path):
    path = tmp_path / "users.json"

    def change(present: Users) -> Users:
        with pytest.raises(AlreadyExistsError, match="another process"):
            edit_users(path, lambda users: users)
        return present.with_user("x", User())

    edit_users(path, change)
    assert list(Users.load(path).by_name) == ["x"]
    assert [file.name for file in tmp_path.iterdir()] == ["users.json"]


def test_users_are_listed_changed_and_removed(file):
    assert run("list", "--file", file).output.splitlines() == [
        "alice\tpassword\twrite:team/*",
        "anonymous\t-\tread:public/*",
        "bob\tpassword\tread:*",
        "carol\tpassword\tforce:team/* read:*",
    ]
    assert isinstance(run("add", "bob", "--file", file, "--password-stdin", text="x\n").exception,
                      AlreadyExistsError)  # fmt: skip
    made = run("add", "bob", "--file", file, "--update", "--token", "laptop")
    assert re.search(r"^hgr_\S{40,}$", made.output, re.MULTILINE)
    assert "bob\tpassword, token laptop\tread:*" in run("list", "--file", file).output
    assert run("remove", "bob", "--file", file, "--token", "laptop").exit_code == 0
    assert run("remove", "bob", "--file", file).exit_code == 0
    assert "bob" not in Users.load(file).by_name
    assert isinstance(run("remove", "bob", "--file", file).exception, NotFoundError)
    assert isinstance(run("add", "bob", "--file", file, "--update").exception, NotFoundError)


def test_a_password_is_asked_for_twice(tmp_path):
    path = tmp_path / "users.json"
    done = run("add", "dora", "--file", path, "--right", "read", text="one\ntwo\none\none\n")
    assert done.exit_code == 0
    assert verify_password("one", Users.load(path).by_name["dora"].password)
    assert "one" not in done.output.replace("Added", "")


def rights(server: HangarServer, repository: str, credentials: Credentials | None) -> list[str]:
    with GrpcStore(server.url(repository), credentials) as store:
        return sorted(store.hello().rights)


def test_each_user_has_the_rights_of_the_file(server):
    alice, bob = Credentials("alice's secret", "alice"), Credentials("bob's secret", "bob")
    carol = Credentials("carol's secret", "carol")
    assert rights(server, "team/x", alice) == ["read", "write"]
    assert rights(server, "other", alice) == []
    assert rights(server, "public/x", alice) == ["read"]
    assert rights(server, "team/x", bob) == ["read"]
    assert rights(server, "team/x", carol) == ["force", "read", "write"]
    assert rights(server, "team/x", None) == []
    assert rights(server, "public/x", None) == ["read"]


def test_what_is_not_allowed_is_refused_in_one_line(server):
    source = MemoryStore([b"x"])
    digests = list(source.samples)
    with GrpcStore(server.url("team/x")) as store:
        with pytest.raises(RemoteAuthenticationError, match="credentials are needed to read"):
            store.missing(digests)
        with pytest.raises(RemoteAuthenticationError, match="credentials are needed to write"):
            store.receive(source.export(digests))
    with GrpcStore(server.url("team/x"), Credentials("bob's secret", "bob")) as store:
        with pytest.raises(RemotePermissionError, match="'bob' has no right to write 'team/x'"):
            store.receive(source.export(digests))
        with pytest.raises(RemoteNotFoundError, match="no repository 'team/x'"):
            list(store.export(digests))
    with GrpcStore(server.url("team/x"), Credentials("alice's secret", "alice")) as store:
        assert store.receive(source.export(digests)) == 1


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials("wrong", "alice"),
        Credentials("bob's secret", "alice"),
        Credentials("", "alice"),
        Credentials("alice's secret", "nobody"),
        Credentials("x", "anonymous"),
        Credentials("hgr_wrong"),
    ],
)
def test_wrong_credentials_are_refused(server, credentials):
    with (
        GrpcStore(server.url("public/x"), credentials) as store,
        pytest.raises(RemoteAuthenticationError, match="wrong user name, password or token"),
    ):
        store.hello()


def test_tokens_work_alone_and_in_place_of_the_password(server, file):
    token = run("add", "alice", "--file", file, "--update", "--token", "ci").output.split()[-1]
    assert rights(server, "team/x", Credentials(token)) == ["read", "write"]
    assert rights(server, "team/x", Credentials(token, "alice")) == ["read", "write"]
    with pytest.raises(RemoteAuthenticationError):
        rights(server, "team/x", Credentials(token, "bob"))
    run("remove", "alice", "--file", file, "--token", "ci")
    with pytest.raises(RemoteAuthenticationError):
        rights(server, "team/x", Credentials(token))


def test_changes_of_the_users_file_count_at_once(server, file):
    bob = Credentials("bob's secret", "bob")
    assert rights(server, "team/x", bob) == ["read"]
    run("add", "bob", "--file", file, "--update", "--right", "write:team/*")
    assert rights(server, "team/x", bob) == ["read", "write"]
    run("add", "bob", "--file", file, "--update", "--password-stdin", text="new\n")
    with pytest.raises(RemoteAuthenticationError):
        rights(server, "team/x", bob)
    run("remove", "bob", "--file", file)
    with pytest.raises(RemoteAuthenticationError):
        rights(server, "team/x", Credentials("new", "bob"))


def test_a_users_file_broken_meanwhile_changes_nothing(server, file):
    file.write_text("{")
    assert rights(server, "team/x", Credentials("alice's secret", "alice")) == ["read", "write"]
    with pytest.raises(RemoteAuthenticationError):
        rights(server, "team/x", Credentials("x", "alice"))


def test_guessing_is_slowed_down_and_who_is_known_stays_in(server):
    assert rights(server, "team/x", Credentials("bob's secret", "bob")) == ["read"]
    with GrpcStore(server.url("team/x"), Credentials("guess", "alice")) as store:
        for _ in range(10):
            with pytest.raises(RemoteAuthenticationError):
                store.hello()
        with pytest.raises(RemoteConnectionError, match="too many wrong passwords"):
            store.hello()
    with pytest.raises(RemoteConnectionError, match="too many wrong passwords"):
        rights(server, "team/x", Credentials("alice's secret", "alice"))
    assert rights(server, "team/x", Credentials("bob's secret", "bob")) == ["read"]


def test_no_secret_reaches_the_log(server):
    rights(server, "team/x", Credentials("alice's secret", "alice"))
    with pytest.raises(RemoteAuthenticationError):
        rights(server, "team/x", Credentials("a wrong secret", "alice"))
    with pytest.raises(RemoteAuthenticationError):
        rights(server, "team/x", Credentials("hgr_secret"))
    server.stop()
    assert any(line.get("user") == "alice" for line in server.log)
    assert any(line["event"] == "login-refused" for line in server.log)
    assert not re.search(r"\w secret|hgr_|'s", "".join(server.said))


def test_many_logins_at_once_are_all_answered(server):
    results = []

    def log_in(number: int) -> None:
        name = ("alice", "bob", "carol")[number % 3]
        results.append(rights(server, "public/x", Credentials(f"{name}'s secret", name)))

    threads = [threading.Thread(target=log_in, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [["read"]] * 24


def test_a_server_without_users_does_not_mind_credentials(tmp_path):
    with HangarServer("--root", tmp_path, "--create") as open_to_all:
        assert rights(open_to_all, "x", Credentials("any", "one")) == ["read", "write"]


def test_credentials_do_not_leave_the_machine_in_clear():
    secret = Credentials("x", "y")
    for address in ("hangar://example.org/x", "10.0.0.1:50051", "hangar://localhost.example.org/x"):
        with pytest.raises(RemoteAuthenticationError, match="without encryption; use hangars://"):
            GrpcStore(address, secret)
    GrpcStore("hangars://example.org/x", secret).close()
    GrpcStore("hangar://127.0.0.1/x", secret).close()


def test_a_client_certificate_is_asked_for_and_names_the_user(file, tmp_path):
    authority = Authority(tmp_path)
    cert, key = authority.issue("server")
    mine, my_key = authority.issue("bob")
    root = tmp_path / "root"
    root.mkdir()
    options = ("--cert", cert, "--key", key, "--client-ca", authority.file, "--users", file)
    with HangarServer("--root", root, "--create", *options) as server:
        url = server.url("team/x", tls=True)
        with GrpcStore(url, None, ClientOptions(authority.file, mine, my_key)) as store:
            hello = store.hello()
            assert (hello.user, hello.rights) == ("bob", {"read"})
        other = Authority(tmp_path, "other")
        theirs, their_key = other.issue("carol")
        for files in ((None, None), (theirs, their_key)):
            with (
                GrpcStore(url, None, ClientOptions(authority.file, *files)) as store,
                pytest.raises(RemoteConnectionError),
            ):
                store.hello()
