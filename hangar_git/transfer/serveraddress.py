"""Addresses of Hangar servers: ``hangar://host:port/repo``, ``hangars://`` with TLS."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from ..errors import InvalidInputError

DEFAULT_PORT = 50051

_URL = re.compile(
    r"(?:(?P<scheme>hangars?)://)?"
    r"(?:(?P<user>[^@/:\s]*)(?P<password>:[^@/\s]*)?@)?"
    r"(?:\[(?P<ip6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9.])?))"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/(?P<path>[^\s?#]*))?",
    re.ASCII,
)
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", re.ASCII)
_MAX_PARTS = 8


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a repository is served.

    Parameters
    ----------
    host, port
        Name or IP address, without brackets.
    repository
        Path below the server's root, without ``.git``; empty: the server's default repository.
    tls
        Whether the connection is encrypted and the server proves who it is.
    user
        Whom the address names; None lets the credential helper choose.
    """

    host: str
    port: int = DEFAULT_PORT
    repository: str = ""
    tls: bool = False
    user: str | None = None

    @property
    def scheme(self) -> str:
        """``hangar`` or ``hangars``."""
        return "hangars" if self.tls else "hangar"

    @property
    def endpoint(self) -> str:
        """``host:port``, as gRPC and Git's credential helpers write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"{self.scheme}://{user}{self.endpoint}/{self.repository}".rstrip("/")

    @classmethod
    def parse(cls, text: str) -> ServerAddress:
        """The address that `text` writes; a bare ``host:port`` is the server's default repository.

        Raises
        ------
        InvalidInputError
            It is malformed, or carries a password, which would end up in configuration and logs.

        Examples
        --------
        >>> ServerAddress.parse("hangars://data.example.org/team/digits.git").repository
        'team/digits'
        >>> str(ServerAddress.parse("localhost:50051"))
        'hangar://localhost:50051'
        """
        match = _URL.fullmatch(text)
        if match is None:
            raise InvalidInputError(
                f"{_without_password(text)!r} is no address of a Hangar server; it is written"
                " hangar://host:port/repository"
            )
        if match["password"] is not None:
            raise InvalidInputError(
                "an address must not carry a password; Git's credential helpers keep it, or"
                " HANGAR_TOKEN gives it"
            )
        port = int(match["port"] or DEFAULT_PORT)
        if not 0 < port < 65536:
            raise InvalidInputError(f"there is no port {port}")
        return cls(
            host=match["host"] or _ipv6(match["ip6"]),
            port=port,
            repository=repository_name(match["path"] or ""),
            tls=match["scheme"] == "hangars",
            user=match["user"] or None,
        )


def _without_password(text: str) -> str:
    return re.sub(r":[^@/]*@", ":...@", text)[:200]


def _ipv6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError as error:
        raise InvalidInputError(f"{text} is no IPv6 address") from error


def repository_name(path: str) -> str:
    """The repository that `path` of an address names: ``team/digits``, or empty for the default.

    Raises
    ------
    InvalidInputError
        A part of it could leave the server's root or mean something else than a repository.
    """
    path = path.strip("/")
    name = path.removesuffix(".git")
    if not path:
        return ""
    parts = name.split("/")
    for part in parts:
        reserved = part.lower().endswith((".git", ".lock")) or part.endswith(".")
        if _PART.fullmatch(part) is None or reserved or len(parts) > _MAX_PARTS:
            raise InvalidInputError(
                f"{path[:200]!r} is no repository name; it is made of letters, digits, '.', '_',"
                f" '-', in up to {_MAX_PARTS} parts joined by '/'"
            )
    return name


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine, judged from the text alone: names can be made to lie."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
