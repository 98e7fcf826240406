"""Messages: what is packed is unpacked; what the network brings does no worse than raise."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangar_git.errors import (
    HangarError,
    InvalidInputError,
    RemoteAuthenticationError,
    RemoteConnectionError,
    RemoteProtocolError,
)
from hangar_git.transfer import packing
from hangar_git.transfer.credentials import Credentials
from hangar_git.transfer.packing import (
    PACK_BYTES,
    MemoryBudget,
    MessageLimits,
    join_digests,
    pack,
    split_digests,
    unpack,
)
from hangar_git.transfer.proto import hangar_pb2 as pb
from hangar_git.transfer.samples import Parcel
from hangar_git.transfer.sealing import open_pack, seal, unseal
from hangar_git.transfer.serveraddress import ServerAddress, is_loopback, repository_name

LIMITS = MessageLimits(parcel_bytes=1 << 20, parcel_digests=5, request_digests=7)
MESSAGES = [
    pb.HelloRequest, pb.HelloReply, pb.MissingRequest, pb.MissingReply, pb.Pack, pb.UploadReply,
    pb.DownloadRequest, pb.GitRequest, pb.GitReply,
]  # fmt: skip

digests = st.binary(min_size=32, max_size=32)
parcels = st.lists(
    st.builds(
        Parcel,
        st.lists(digests, min_size=1, max_size=5).map(tuple),
        st.one_of(st.binary(max_size=200), st.integers(0, 5000).map(bytes)),
    )
)
heads = st.builds(
    pb.Pack,
    digest_counts=st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 6), max_size=4),
    sizes=st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 40), max_size=4),
    digests=st.integers(0, 6).map(lambda count: bytes(32 * count)) | st.binary(max_size=70),
    data=st.binary(max_size=80),
    budget_reached=st.booleans(),
)


@pytest.fixture
def small_messages(monkeypatch):
    monkeypatch.setattr(packing, "PACK_BYTES", 1000)


@given(parcels)
def test_parcels_come_out_as_they_went_in(small_messages, sent):
    travelling = [seal(message) for message in pack(sent, LIMITS)]
    assert all(len(message) < 1000 + 5 * 32 + 200 for message in travelling)
    assert list(unpack(map(open_pack, travelling), LIMITS)) == sent


@given(parcels)
def test_packs_are_what_protobuf_reads_and_writes(small_messages, sent):
    for message in pack(sent, LIMITS):
        data = seal(message)
        theirs = unseal(pb.Pack, data)
        assert theirs.data == b"".join(message.data)
        theirs.ClearField("seal")
        head, view = open_pack(seal(theirs))
        assert (view, head.sizes) == (theirs.data, message.head.sizes)


@given(st.lists(heads))
def test_packs_that_make_no_sense_are_refused_or_make_sense(messages):
    try:
        got = list(unpack(map(open_pack, map(seal, messages)), LIMITS))
    except (RemoteProtocolError, RemoteConnectionError):
        return
    assert sum(len(parcel.data) for parcel in got) == sum(len(m.data) for m in messages)
    assert all(1 <= len(parcel.digests) <= 5 for parcel in got)


@given(st.binary(max_size=200), st.sampled_from(MESSAGES))
def test_bytes_that_are_no_message_are_refused(data, kind):
    with pytest.raises((RemoteProtocolError, RemoteConnectionError)):
        unseal(kind, data)
    with pytest.raises((RemoteProtocolError, RemoteConnectionError)):
        open_pack(data)


@given(st.binary(max_size=200), st.sampled_from(MESSAGES))
def test_bytes_that_are_sealed_do_no_worse_than_raise(data, kind):
    from xxhash import xxh3_64_intdigest

    sealed = data + b"\x79" + xxh3_64_intdigest(data).to_bytes(8, "little")
    for read in (
        lambda: unseal(kind, sealed),
        lambda: list(unpack(iter([open_pack(sealed)]), LIMITS)),
    ):
        with contextlib.suppress(HangarError):
            read()


@given(heads, st.data())
def test_a_changed_bit_is_found(message, data):
    sealed = bytearray(seal(message))
    place = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[place // 8] ^= 1 << place % 8
    with pytest.raises((RemoteProtocolError, RemoteConnectionError)):
        open_pack(bytes(sealed))


def test_a_parcel_that_is_cut_off_is_not_given_out():
    messages = list(pack([Parcel((bytes(32),), bytes(3 * PACK_BYTES))], MessageLimits()))
    assert len(messages) == 3
    with pytest.raises(RemoteConnectionError, match="in the middle of a parcel"):
        list(unpack(map(open_pack, map(seal, messages[:2])), MessageLimits()))
    with pytest.raises(RemoteProtocolError, match="does not continue"):
        list(unpack(map(open_pack, map(seal, [*messages[:2], messages[0]])), MessageLimits()))
    with pytest.raises(RemoteProtocolError, match="over the limit"):
        list(unpack(map(open_pack, map(seal, messages)), LIMITS))


@given(st.lists(digests, max_size=30))
def test_digests_are_joined_and_split(names):
    joined = list(join_digests(names, 7))
    assert [digest for some in joined for digest in split_digests(some, LIMITS)] == names


def test_digests_over_the_limit_or_cut_are_refused():
    with pytest.raises(RemoteProtocolError, match="more than 7"):
        split_digests(bytes(32 * 8), LIMITS)
    with pytest.raises(RemoteProtocolError, match="whole number"):
        split_digests(bytes(33), LIMITS)


def test_memory_is_waited_for_and_given_back():
    budget = MemoryBudget(100, patience_s=0.05)
    with budget.hold(60):
        with pytest.raises(RemoteConnectionError, match="memory"), budget.hold(50):
            pass
        with budget.hold(40):
            pass
    with budget.hold(10**9):  # one alone always passes
        pass
    patient = MemoryBudget(100, patience_s=10)
    got = threading.Event()

    def later():
        with patient.hold(100):
            got.set()

    with patient.hold(1):
        thread = threading.Thread(target=later)
        thread.start()
        assert not got.is_set()
    thread.join(5)
    assert got.is_set()


@given(st.text(max_size=60) | st.from_regex(r"(hangars?://)?[^/]{0,9}(:[0-9]{1,6})?/.{0,20}"))
def test_an_address_is_refused_or_reads_back_the_same(text):
    try:
        address = ServerAddress.parse(text)
    except InvalidInputError as error:
        assert "\n" not in str(error)
        return
    assert ServerAddress.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("localhost:50051", ServerAddress("localhost")),
        ("hangar://h:1/a/b.git", ServerAddress("h", 1, "a/b")),
        ("hangars://me@h.example/x/", ServerAddress("h.example", 50051, "x", True, "me")),
        ("hangar://[::1]:7/x", ServerAddress("::1", 7, "x")),
        ("h", ServerAddress("h")),
    ],
)
def test_addresses_mean_what_they_say(text, meant):
    assert ServerAddress.parse(text) == meant


@pytest.mark.parametrize(
    "text",
    ["", "hangar://", "http://h/x", "h:0", "h:99999", "hangar://h/a b", "hangar://h/x?y", "h:1:2",
     "hangar://[::zz]/x", "-h", "hangar://h\n/x"],
)  # fmt: skip
def test_malformed_addresses_are_refused(text):
    with pytest.raises(InvalidInputError):
        ServerAddress.parse(text)


def test_an_address_with_a_password_is_refused_without_repeating_it():
    for text in ("hangar://me:hunter2@host/x", "hangar://me:hunter2@ho st/x"):
        with pytest.raises(InvalidInputError) as caught:
            ServerAddress.parse(text)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "path",
    ["..", "../x", "a/../b", "a/./b", "a//b", ".git", "a/.git/b", "a.git/b", "a/b.lock", "a\\b",
     "a\0b", "-x", "a/" * 20, "x" * 200, "~x", "a/b.git.git", "%2e%2e", "a\nb", "é", "x."],
)  # fmt: skip
def test_names_that_could_leave_the_root_are_refused(path):
    with pytest.raises(InvalidInputError, match="no repository name"):
        repository_name(path)


@given(st.text(max_size=40))
def test_a_repository_name_is_plain_or_refused(path):
    try:
        name = repository_name(path)
    except InvalidInputError:
        return
    assert all(part not in ("", ".", "..") and part[0] != "." for part in name.split("/") if name)
    assert repository_name(name) == name


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_is_known(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.evil.org", "0.0.0.0", "::", "10.0.0.1", "128.0.0.1"])
def test_other_hosts_are_not_taken_for_loopback(host):
    assert not is_loopback(host)


@given(st.text(), st.none() | st.text().filter(lambda user: ":" not in user))
def test_credentials_read_back_and_are_never_printed(secret, user):
    try:
        credentials = Credentials(secret, user)
        header = credentials.to_header()
    except UnicodeEncodeError:
        return
    if user is not None or secret:
        assert Credentials.of_header(header) == credentials
    assert not secret or len(secret) < 20 or secret not in repr(credentials)


@given(st.text() | st.text().map("Basic ".__add__))
def test_malformed_credentials_are_refused(header):
    with contextlib.suppress(RemoteAuthenticationError):
        Credentials.of_header(header)


def test_the_generated_code_is_of_the_proto_file(tmp_path):
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc

    source = Path(pb.__file__).parent
    made = tmp_path / "set"
    command = ["", f"-I{source}", f"--descriptor_set_out={made}", str(source / "hangar.proto")]
    assert protoc.main(command) == 0
    (of_file,) = descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes()).file
    of_code = descriptor_pb2.FileDescriptorProto.FromString(pb.DESCRIPTOR.serialized_pb)
    assert without_json_names(of_file) == without_json_names(of_code), "run `make proto`"


def without_json_names(file):
    for message in file.message_type:
        for field in message.field:
            field.ClearField("json_name")
    return file
