"""Addresses: one syntax for each thing, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangar_git.errors import InvalidInputError
from hangar_git.transfer.address import Address, parse_address

ACCEPTED = {
    "localhost:50051": "hangar://localhost:50051",
    "[::1]:1": "hangar://[::1]:1",
    "hangar://localhost": "hangar://localhost:50051",
    "hangar://localhost/": "hangar://localhost:50051",
    "hangar://my_server.lan:7/a": "hangar://my_server.lan:7/a",
    "hangars://Data.Example.ORG/team/Repo.git/": "hangars://data.example.org:50051/team/Repo.git",
    "hangar://10.0.0.7:9/x": "hangar://10.0.0.7:9/x",
    "hangar://[2001:DB8:0::1]/x": "hangar://[2001:db8::1]:50051/x",
    "file:///srv/data": "file:///srv/data",
    "file://localhost/srv/data/": "file:///srv/data",
    "file:///a%20b/%C3%A9%3f": "file:///a%20b/%C3%A9%3F",
    "file:///a:b/-rf": "file:///a:b/-rf",
    "s3://bucket": "s3://bucket",
    "s3://my.bucket-1/": "s3://my.bucket-1",
    "s3://bucket/some/Prefix=1/": "s3://bucket/some/Prefix=1",
    "gs://bucket/x": "gs://bucket/x",
    "az://container/x": "az://container/x",
}

REFUSED = [
    "", "x", "host", "host:", "host:0", "host:65536", "host:123456", "host:12/repo", ":50051",
    "git@github.com:team/repo", "C:\\data", "C:/data", "/srv/data", "./data", "../data",
    "-oProxyCommand=x:1", "--upload-pack=x", "hangar://-host/x", "hangar://host-/x",
    "hangar://", "hangar:///repo", "hangar://host:/x", "hangar://host:x/x", "hangar://h:1:2/x",
    "hangar://user@host/x", "hangar://user:secret@host/x", "user:secret@host:5", "HANGAR://host/x",
    "hangar://host/../x", "hangar://host/x/..", "hangar://host/a..b", "hangar://host/.git",
    "hangar://host//x", "hangar://host/x//y", "hangar://host/-x", "hangar://host/x?y=1",
    "hangar://host/x#y", "hangar://host/a%2e%2e", "hangar://host/a b", "hangar://host\\evil/x",
    "hangar://host\n/x", "hangar://host/x\0", "hangar://h\u00f6st/x", "hangar://ho\u0455t/x",
    "hangar://127.1/x", "hangar://0x7f.0.0.1/x", "hangar://0x7f000001/x", "hangar://2130706433/x",
    "hangar://127.0.0.01/x", "hangar://256.0.0.1/x", "hangar://localhost./x", "hangar://a..b/x",
    "hangar://[::1/x", "hangar://::1/x", "hangar://[fe80::1%eth0]/x", "hangar://[1.2.3.4]/x",
    "hangar://" + "a" * 64 + ".org/x", "hangar://" + "a." * 127 + "org/x",
    "file://", "file:///", "file:relative", "file://host/dir", "file:///a/../b", "file:///a/./b",
    "file:///a//b", "file:///a/%2e%2e/b", "file:///a%2f..%2fb", "file:///a%00b", "file:///a%0ab",
    "file:///a%", "file:///a%2", "file:///a%zz", "file:///a%ff", "file:///a?b", "file:///a#b",
    "file:///a\\b", "file:///a%E2%80%AEb",
    "s3://", "s3:///x", "s3://AB", "s3://Bucket/x", "s3://ab", "s3://b..b/x", "s3://-bucket/x",
    "s3://key:secret@bucket/x", "s3://bucket:80/x", "s3://bucket/../x", "s3://bucket/./x",
    "s3://bucket//x", "s3://bucket/a%2fb", "s3://bucket/a?x-id=1", "s3://bucket/a b", "s3://b\u00fcc",
    "http://host/x", "https://host/x", "ssh://host/x", "ext::sh -c x", "s3a://bucket", "://x",
    "hangar://host/" + "x" * 1100,
]  # fmt: skip


@pytest.mark.parametrize("text", ACCEPTED)
def test_each_form_has_one_canonical_text(text):
    address = parse_address(text)
    assert str(address) == ACCEPTED[text]
    assert parse_address(str(address)) == address


@pytest.mark.parametrize("text", REFUSED)
def test_everything_else_is_refused_in_one_line(text):
    with pytest.raises(InvalidInputError) as caught:
        parse_address(text)
    message = str(caught.value)
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 400


@pytest.mark.parametrize(
    "text",
    [
        "hangar://me:hunter2@host/x",
        "me:hunter2@host:1",
        "s3://key:hunter2@bucket/x",
        "ftp://me:hunter2@host",
        "hangar://me:hun/ter@2hunter2@host/x",
        "hangar://me:hunter2@ho st/x",
    ],
)
def test_a_password_in_an_address_is_never_shown(text):
    with pytest.raises(InvalidInputError) as caught:
        parse_address(text)
    assert "hunter2" not in str(caught.value)


def test_a_directory_is_decoded():
    assert str(parse_address("file:///a%20b/%C3%A9").directory) == "/a b/\u00e9"
    with pytest.raises(InvalidInputError):
        _ = parse_address("s3://bucket").directory


PIECES = [
    "hangar", "hangars", "file", "s3", "://", ":", "/", "..", ".", "-", "@", "%", "%2e", "%c3%a9",
    "?", "#", "[", "]", "::1", "127.0.0.1", "localhost", "bucket", "50051", "a", "\n", "\0", " ",
]  # fmt: skip


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=12).map("".join)))
def test_any_text_is_an_address_or_refused(text):
    try:
        address = parse_address(text)
    except InvalidInputError as error:
        assert str(error).isprintable()
    else:
        assert parse_address(str(address)) == address
        assert ".." not in address.path.split("/")


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5))
def test_directory_of_any_printable_name_makes_the_round_trip(parts):
    path = "/" + "/".join(parts)
    plain = path.isprintable() and not any(part in ("", ".", "..") for part in path[1:].split("/"))
    address = Address("file", "", 0, path)
    if plain:
        assert parse_address(str(address)) == address
    else:
        with pytest.raises((InvalidInputError, UnicodeEncodeError)):
            parse_address(str(address))
