"""A committed address reaches nothing of this machine's own unless it was confirmed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangar_git.transfer.address import parse_address
from hangar_git.transfer.trust import is_public_host, is_public_ip, judge_committed

PUBLIC = ["hangars://data.example.org/x", "hangars://8.8.8.8/x", "s3://bucket/x"]

NEEDS_TRUST = [
    "file:///etc", "hangar://data.example.org/x", "gs://bucket", "az://container",
    "hangars://localhost/x", "hangars://a.localhost/x", "hangars://intranet/x",
    "hangars://db.internal/x", "hangars://nas.local/x", "hangars://nas.home.arpa/x",
    "hangars://127.0.0.1/x", "hangars://127.9.9.9/x", "hangars://0.0.0.0/x", "hangars://10.1.2.3/x",
    "hangars://192.168.0.1/x", "hangars://172.16.0.1/x", "hangars://169.254.169.254/x",
    "hangars://100.64.0.1/x", "hangars://224.0.0.1/x", "hangars://255.255.255.255/x",
    "hangars://[::1]/x", "hangars://[::]/x", "hangars://[fe80::1]/x", "hangars://[fd00::1]/x",
    "hangars://[::ffff:127.0.0.1]/x", "hangars://[::ffff:10.0.0.1]/x", "hangars://[ff02::1]/x",
    "hangars://[64:ff9b::7f00:1]/x", "hangars://[2002:7f00:1::]/x",
]  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_anonymous_reads_from_the_public_internet_need_no_trust(text):
    assert judge_committed(parse_address(text), ()).allowed


@pytest.mark.parametrize("text", PUBLIC)
@pytest.mark.parametrize("use", [{"push": True}, {"credentials": True}])
def test_pushes_and_credentials_need_trust(text, use):
    verdict = judge_committed(parse_address(text), (), **use)
    assert not verdict.allowed
    assert "would be sent" in verdict.reason


@pytest.mark.parametrize("text", NEEDS_TRUST)
def test_other_schemes_and_private_hosts_need_trust(text):
    address = parse_address(text)
    verdict = judge_committed(address, ())
    assert not verdict.allowed
    assert verdict.reason
    assert judge_committed(address, {str(address)}, push=True, credentials=True).allowed


def test_a_changed_address_asks_again():
    confirmed = {"hangars://10.0.0.7:50051/data"}
    assert judge_committed(parse_address("hangars://10.0.0.7/data"), confirmed, push=True).allowed
    for changed in (
        "hangars://10.0.0.7:50052/data",
        "hangars://10.0.0.7/other",
        "hangar://10.0.0.7/data",
    ):
        verdict = judge_committed(parse_address(changed), confirmed, push=True)
        assert not verdict.allowed
        assert "not the address that was confirmed" in verdict.reason


def test_a_public_name_that_stands_for_a_private_machine_needs_trust():
    address = parse_address("hangars://data.example.org/x")
    assert judge_committed(address, (), resolved=["93.184.216.34"]).allowed
    verdict = judge_committed(address, (), resolved=["93.184.216.34", "127.0.0.1"])
    assert verdict.reason == "data.example.org stands for 127.0.0.1, which is not a public address"


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_as_public_inside_an_ipv6_address(ip):
    if not is_public_ip(str(ip)):
        assert not is_public_ip(f"::ffff:{ip}")
        assert not is_public_ip(f"64:ff9b::{int(ip) >> 16:x}:{int(ip) & 0xFFFF:x}")


@given(st.text())
def test_any_text_is_judged(text):
    assert is_public_host(text) in (True, False)
    assert is_public_ip(text) in (True, False)
