"""What goes wrong with storage is one clear line, of the right type, retryable or not."""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest

from hangar_git.errors import (
    HangarError,
    InvalidInputError,
    RemoteAuthenticationError,
    RemoteConnectionError,
    RemoteError,
    RemoteNotFoundError,
    RemotePermissionError,
    RemoteProtocolError,
    StateError,
)
from hangar_git.transfer.address import parse_address
from hangar_git.transfer.awsprofile import s3_settings
from hangar_git.transfer.bucket import BucketStore, open_bucket
from hangar_git.transfer.objectstore import BucketObjects, Patience

from .parcels import digests_of, make_parcels, read_all
from .s3server import set_environment

HASTY = Patience(retries=1, first_wait_s=0.01, longest_wait_s=0.02, connect_s=1, silent_s=0.5)
ADDRESS = parse_address("s3://bucket/p")
WRONG_ANSWERS = [
    (404, "NoSuchBucket", RemoteNotFoundError, "the bucket does not exist"),
    (403, "AccessDenied", RemotePermissionError, "no right for"),
    (403, "InvalidAccessKeyId", RemoteAuthenticationError, "the access key is unknown"),
    (403, "SignatureDoesNotMatch", RemoteAuthenticationError, "the secret key is wrong"),
    (400, "ExpiredToken", RemoteAuthenticationError, "have expired"),
    (403, "RequestTimeTooSkewed", RemoteAuthenticationError, "clock differs"),
    (401, "", RemoteAuthenticationError, "not accepted"),
    (301, "PermanentRedirect", InvalidInputError, "set AWS_REGION"),
    (400, "AuthorizationHeaderMalformed", InvalidInputError, "set AWS_REGION"),
    (503, "SlowDown", RemoteConnectionError, "overloaded or failing"),
    (500, "InternalError", RemoteConnectionError, "overloaded or failing"),
    (429, "", RemoteConnectionError, "overloaded or failing"),
    (400, "EntityTooLarge", RemoteError, "was refused: EntityTooLarge"),
    (418, "", RemoteError, "was refused: 418"),
    (200, "<\x1b[2J no XML", RemoteProtocolError, "listing"),
]


@contextmanager
def answering(status: int, code: str, monkeypatch):
    """An HTTP server that gives everybody the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = code if code.startswith("<") else f"<Error><Code>{code}</Code></Error>"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        set_environment(monkeypatch, server.server_port)
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def uses(store: BucketStore):
    parcels = make_parcels(2)
    return {
        "missing": lambda: store.missing(digests_of(parcels)),
        "export": lambda: list(store.export(digests_of(parcels))),
        "receive": lambda: store.receive(parcels),
        "compact": store.compact,
    }


def check_line(error: HangarError) -> None:
    text = str(error)
    assert text.isprintable()
    assert len(text) < 300
    assert "testing" not in text  # the secret key


@pytest.mark.parametrize(("status", "code", "kind", "why"), WRONG_ANSWERS)
def test_answers_of_a_server(monkeypatch, status, code, kind, why):
    with answering(status, code, monkeypatch):
        store = BucketStore(BucketObjects(ADDRESS, patience=HASTY))
        with pytest.raises(kind, match=why) as caught:
            store.missing([bytes(32)])
        assert str(caught.value).startswith("s3://bucket/p: ")
        assert caught.value.retryable == (status in (200, 429, 500, 503))
        check_line(caught.value)
        if status != 200:
            with pytest.raises(kind) as caught:
                store.receive(make_parcels(1))
            check_line(caught.value)


def test_a_web_page_is_no_acknowledgement(monkeypatch):
    with answering(200, "<html>please log in</html>", monkeypatch):
        store = BucketStore(BucketObjects(ADDRESS, patience=HASTY))
        with pytest.raises(RemoteError) as caught:
            store.receive(make_parcels(1))
    check_line(caught.value)


@pytest.mark.parametrize("use", ["missing", "export", "receive", "compact"])
def test_a_missing_bucket(s3, use):
    store = open_bucket(parse_address("s3://no-such-bucket/p"))
    with pytest.raises(RemoteNotFoundError, match="s3://no-such-bucket/p: the bucket does not"):
        uses(store)[use]()


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("http://127.0.0.1:1", "the connection was refused"),
        ("http://no-such-host.invalid", "the host is unknown"),
    ],
)
def test_a_host_that_is_not_there(s3, monkeypatch, endpoint, why):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    store = BucketStore(BucketObjects(ADDRESS, patience=HASTY))
    with pytest.raises(RemoteConnectionError, match=why) as caught:
        store.missing([bytes(32)])
    assert caught.value.retryable
    check_line(caught.value)


def test_a_server_that_never_answers(s3, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        set_environment(monkeypatch, silent.getsockname()[1])
        store = BucketStore(BucketObjects(ADDRESS, patience=HASTY))
        with pytest.raises(RemoteConnectionError, match="no reply in time") as caught:
            store.missing([bytes(32)])
    assert caught.value.retryable


def test_an_endpoint_that_does_not_speak_tls(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{s3.port}")
    store = BucketStore(BucketObjects(ADDRESS, patience=HASTY))
    with pytest.raises(RemoteError) as caught:
        store.missing([bytes(32)])
    check_line(caught.value)


@pytest.mark.parametrize("endpoint", ["nonsense", "http://", "ftp://host", "http://a b"])
def test_a_malformed_endpoint(s3, monkeypatch, endpoint):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises((InvalidInputError, RemoteError)) as caught:
        BucketStore(BucketObjects(ADDRESS, patience=HASTY)).missing([bytes(32)])
    check_line(caught.value)


def test_obstore_that_is_not_installed(s3, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(StateError, match=r"pip install 'hangar-git\[s3\]'"):
        open_bucket(ADDRESS)


def test_a_public_bucket_is_read_without_credentials(s3, monkeypatch):
    open_bucket(ADDRESS).receive(make_parcels(3))
    client = boto3.client("s3")
    for stored in open_bucket(ADDRESS)._objects.list():
        client.put_object_acl(Bucket="bucket", Key=f"p/packs/{stored.name}", ACL="public-read")
    client.close()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(RemoteAuthenticationError, match="no credentials; set AWS_ACCESS_KEY_ID"):
        open_bucket(ADDRESS)
    read_all(open_bucket(ADDRESS, anonymous=True), digests_of(make_parcels(3)))


@pytest.fixture
def aws(tmp_path):
    """Profile files, and the environment that names them."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = key0\naws_secret_access_key = secret0\n"
        "[work]\naws_access_key_id = key1\naws_secret_access_key = sec%ret1=\n"
        "aws_session_token = token1\n"
    )
    (tmp_path / ".aws" / "config").write_text(
        "[default]\nregion = eu-central-1\ns3 =\n  max_concurrent_requests = 20\n"
        "[profile work]\nregion = eu-west-1\nendpoint_url = https://s3.example.org\n"
        "[profile login]\nsso_session = x\n"
        f"[profile program]\ncredential_process = {sys.executable} -c "
        """"print('{\\"Version\\":1,\\"AccessKeyId\\":\\"a\\",\\"SecretAccessKey\\":\\"b\\"}')"\n"""
    )
    return {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}


def test_the_profile_gives_region_endpoint_and_keys(aws):
    default = s3_settings(aws, "s3://b", anonymous=False)
    assert default == {
        "region": "eu-central-1",
        "access_key_id": "key0",
        "secret_access_key": "secret0",
    }
    assert s3_settings({**aws, "AWS_PROFILE": "work"}, "s3://b", anonymous=False) == {
        "region": "eu-west-1",
        "endpoint": "https://s3.example.org",
        "access_key_id": "key1",
        "secret_access_key": "sec%ret1=",
        "session_token": "token1",
    }


def test_the_environment_goes_before_the_profile(aws):
    environment = {
        **aws,
        "AWS_REGION": "us-west-2",
        "AWS_ENDPOINT_URL": "http://localhost:1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    assert s3_settings(environment, "s3://b", anonymous=False) == {
        "region": "us-west-2",
        "endpoint": "http://localhost:1",
    }
    assert s3_settings(aws, "s3://b", anonymous=True)["skip_signature"]


def test_a_profile_whose_keys_a_program_prints(aws, monkeypatch):
    for name, value in aws.items():
        monkeypatch.setenv(name, value)
    settings = s3_settings({**aws, "AWS_PROFILE": "program"}, "s3://b", anonymous=False)
    assert settings["credential_provider"]()["access_key_id"] == "a"


@pytest.mark.parametrize(
    ("environment", "kind", "why"),
    [
        ({"AWS_PROFILE": "nobody"}, InvalidInputError, "no AWS profile 'nobody'"),
        ({"AWS_ACCESS_KEY_ID": "a"}, RemoteAuthenticationError, "only one is set"),
        ({"HOME": "/nonexistent"}, RemoteAuthenticationError, "no credentials"),
    ],
)
def test_credentials_that_are_not_there(aws, environment, kind, why):
    with pytest.raises(kind, match=why):
        s3_settings({**aws, **environment}, "s3://b", anonymous=False)


def test_a_malformed_profile_is_named_and_not_quoted(aws, tmp_path):
    file = tmp_path / ".aws" / "credentials"
    file.write_text("aws_secret_access_key = hunter2\n")
    with pytest.raises(InvalidInputError, match="credentials cannot be read") as caught:
        s3_settings(aws, "s3://b", anonymous=False)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("use", ["missing", "export", "receive", "compact"])
def test_a_directory_that_is_not_there(tmp_path, use):
    store = open_bucket(parse_address(f"file://{tmp_path}/nowhere"))
    with pytest.raises(RemoteNotFoundError, match="does not exist; make it, or mount it"):
        uses(store)[use]()
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "nowhere").write_text("a file")
    with pytest.raises(RemoteNotFoundError, match="is not a directory"):
        uses(store)[use]()


def refuse_writing(monkeypatch, error: int):
    """Let no file be made, as on a read-only file system; root could write anywhere else."""
    real = os.open

    def refusing(path, flags, *rest, **more):
        if flags & os.O_CREAT:
            raise OSError(error, os.strerror(error), str(path))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refusing)


@pytest.mark.parametrize("error", [1, 13, 30])
def test_a_directory_that_is_read_only(tmp_path, monkeypatch, error):
    store = open_bucket(parse_address(f"file://{tmp_path}"))
    store.receive(make_parcels(2))
    refuse_writing(monkeypatch, error)
    with pytest.raises(RemotePermissionError, match="cannot be written to: "):
        store.receive(make_parcels(2, seed=1))
    read_all(store, digests_of(make_parcels(2)))


def test_files_are_never_writable(tmp_path):
    store = open_bucket(parse_address(f"file://{tmp_path}"))
    store.receive(make_parcels(2))
    for path in (tmp_path / "packs").iterdir():
        assert not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
