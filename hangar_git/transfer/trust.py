"""What may be done with a data address that a stranger committed.

``.hangar/config`` comes with a clone. Whoever wrote it must not thereby make this machine send
credentials or data, read its own disk, or reach into its own network. So such an address is good
for anonymous reads over ``hangars`` and ``s3``; all else needs it confirmed, once per clone. These
are the rules alone: where confirmed addresses are kept, and how a user is asked, is not said here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from .address import Address

ANONYMOUS_READ_SCHEMES = frozenset({"hangars", "s3"})

_PRIVATE_SUFFIXES = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "private")
_HOME_ARPA = ["home", "arpa"]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a committed address may be used, and if not, why.

    Parameters
    ----------
    allowed
        Whether it may be used for what was asked.
    reason
        Why it needs to be confirmed; empty if allowed.
    """

    allowed: bool
    reason: str = ""


def judge_committed(
    address: Address,
    confirmed: Collection[str],
    *,
    push: bool = False,
    credentials: bool = False,
    resolved: Iterable[str] = (),
) -> Verdict:
    """Whether a committed data address may be used without asking the user.

    Parameters
    ----------
    address
        From ``.hangar/config``.
    confirmed
        Canonical text, ``str(address)``, of each address that the user confirmed in this clone.
    push, credentials
        Whether data would be sent there, or a password, token or signature.
    resolved
        IP addresses that the host name stands for, if known: a public name may be pointed at a
        private machine.

    Examples
    --------
    >>> from .address import parse_address
    >>> judge_committed(parse_address("s3://bucket/data"), ())
    Verdict(allowed=True, reason='')
    >>> judge_committed(parse_address("hangars://10.0.0.7/data"), ()).reason
    '10.0.0.7 is not a public address'
    """
    if str(address) in confirmed:
        return Verdict(allowed=True)
    if reason := _reason(address, push=push, credentials=credentials, resolved=resolved):
        if confirmed:
            reason += "; it is not the address that was confirmed in this clone"
        return Verdict(allowed=False, reason=reason)
    return Verdict(allowed=True)


def _reason(address: Address, *, push: bool, credentials: bool, resolved: Iterable[str]) -> str:
    if address.scheme == "file":
        return "it is a directory of this machine"
    if push or credentials:
        return f"{'data' if push else 'credentials'} would be sent there"
    if address.scheme not in ANONYMOUS_READ_SCHEMES:
        return f"{address.scheme} is not read from unasked, only hangars and s3"
    if address.is_server and not is_public_host(address.host):
        return f"{address.host} is not a public address"
    private = [ip for ip in resolved if not is_public_ip(ip)] if address.is_server else []
    if private:
        return f"{address.host} stands for {private[0]}, which is not a public address"
    return ""


def is_public_host(host: str) -> bool:
    """Whether a host name or IP address is, by its text alone, one of the public internet."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        labels = host.lower().rstrip(".").split(".")
        # A single label is completed by the search domain of the network that this machine is in.
        return len(labels) > 1 and labels[-1] not in _PRIVATE_SUFFIXES and labels[-2:] != _HOME_ARPA
    return is_public_ip(host)


def is_public_ip(text: str) -> bool:
    """Whether an IP address is globally reachable: not loopback, private, link-local, reserved."""
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        # These carry an IPv4 address, and lead to it.
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            ip = inner
    return ip.is_global and not ip.is_multicast and not ip.is_unspecified
