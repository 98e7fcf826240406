"""Data addresses: where a remote keeps arrays.

An address may come from a stranger's repository, so one syntax is accepted for each thing, and
everything else is refused. Normative text: docs/bucket.md, "Addresses".
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from ..errors import InvalidInputError

DEFAULT_PORT = 50051
MAX_ADDRESS_LENGTH = 1024

SERVER_SCHEMES = frozenset({"hangar", "hangars"})
BUCKET_SCHEMES = frozenset({"s3", "gs", "az"})

_SCHEME = re.compile(r"([a-z][a-z0-9]*)://(.*)")
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LOOKS_NUMERIC = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_REPOSITORY_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
# Without characters that object_store, below obstore, would write in another way.
_PREFIX_PART = re.compile(r"[A-Za-z0-9_!.'()=+,@:-]+")
_PERCENT = re.compile(r"%([0-9A-Fa-f]{2})?")
_FILE_SAFE = "/!$&'()*+,;=:@~"


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed data address; ``str()`` gives its one canonical text.

    Parameters
    ----------
    scheme
        ``hangar``, ``hangars``, ``file``, ``s3``, ``gs`` or ``az``.
    host
        Host name in lower case, or IP address without brackets; the bucket; empty for ``file``.
    port
        TCP port of a server; 0 elsewhere.
    path
        Repository on a server (empty: its default one), absolute directory, or prefix in a bucket
        (may be empty); without a slash at the end.

    Examples
    --------
    >>> parse_address("localhost:50051")
    Address(scheme='hangar', host='localhost', port=50051, path='')
    >>> str(parse_address("hangars://Example.org/team/repo"))
    'hangars://example.org:50051/team/repo'
    """

    scheme: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        if self.scheme == "file":
            return f"file://{quote(self.path, safe=_FILE_SAFE)}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme}://{host}{port}/{self.path}".removesuffix("/")

    @property
    def is_server(self) -> bool:
        """Whether a Hangar server is meant, and not plain storage."""
        return self.scheme in SERVER_SCHEMES

    @property
    def is_bucket(self) -> bool:
        """Whether a bucket of an object store is meant."""
        return self.scheme in BUCKET_SCHEMES

    @property
    def directory(self) -> PurePosixPath:
        """Of a ``file`` address."""
        if self.scheme != "file":
            raise InvalidInputError(f"{self} is not a directory")
        return PurePosixPath(self.path)


def parse_address(text: str) -> Address:
    """Parse a data address.

    Raises
    ------
    InvalidInputError
        It is malformed, or holds what an address must not: credentials, control characters,
        ``..``, a query.
    """
    _check_text(text)
    if match := _SCHEME.fullmatch(text):
        scheme, rest = match.groups()
        if scheme in SERVER_SCHEMES:
            return _server(scheme, rest, text)
        if scheme in BUCKET_SCHEMES:
            return _bucket(scheme, rest, text)
        if scheme == "file":
            return _directory(rest, text)
        raise _refused(text, f"unknown scheme {scheme!r}; use hangar, hangars, file or s3")
    if "/" not in text and _AUTHORITY.fullmatch(text) and re.search(r":[0-9]+\Z", text):
        return _server("hangar", text, text)
    raise _refused(text, "expected host:port, hangar://host:port/repo, file:///dir or s3://bucket")


def _refused(text: str, why: str) -> InvalidInputError:
    shown = text if len(text) <= 100 else text[:100] + "..."
    # What stands before an "@" may be a password: it must reach no terminal and no log.
    shown = re.sub(r"(//|\A).*@", r"\1***@", shown, count=1)
    return InvalidInputError(f"data address {shown!a}: {why}")


def _check_text(text: str) -> None:
    if not text:
        raise InvalidInputError("the data address is empty")
    if len(text) > MAX_ADDRESS_LENGTH:
        raise _refused(text, f"longer than {MAX_ADDRESS_LENGTH} characters")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise _refused(text, "only printable ASCII without spaces; percent-encode file names")
    if text.startswith("-"):
        raise _refused(text, "looks like an option")


def _server(scheme: str, rest: str, text: str) -> Address:
    authority, _, path = rest.partition("/")
    if "@" in authority:
        raise _refused(
            text, "no user or password in an address; they come from Git's credential helpers"
        )
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise _refused(text, "malformed host or port")
    port = int(match[2]) if match[2] else DEFAULT_PORT
    if not 1 <= port <= 65535:
        raise _refused(text, f"port {port} is not within 1-65535")
    path = path.removesuffix("/")
    parts = path.split("/") if path else []
    for part in parts:
        if _REPOSITORY_PART.fullmatch(part) is None or ".." in part:
            raise _refused(text, f"malformed repository name {part!r}")
    return Address(scheme, _host(match[1], text), port, path)


def _host(host: str, text: str) -> str:
    if host.startswith("["):
        try:
            if "%" in host:
                raise ValueError("an interface of this machine")
            return ipaddress.IPv6Address(host[1:-1]).compressed
        except ValueError as error:
            raise _refused(text, "malformed IPv6 address") from error
    labels = host.split(".")
    if _LOOKS_NUMERIC.fullmatch(labels[-1]):
        # Resolvers also take 127.1, 0x7f000001 and 2130706433: names that would pass as public.
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise _refused(text, "malformed IPv4 address") from error
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _refused(text, "malformed host name" if host else "no host")
    return host.lower()


def _bucket(scheme: str, rest: str, text: str) -> Address:
    bucket, _, prefix = rest.partition("/")
    if "@" in bucket or ":" in bucket:
        raise _refused(
            text, "no credentials or port with a bucket; they come from the environment or profile"
        )
    if _BUCKET.fullmatch(bucket) is None or ".." in bucket:
        raise _refused(text, f"malformed bucket name {bucket!r}")
    prefix = prefix.removesuffix("/")
    for part in prefix.split("/") if prefix else []:
        if _PREFIX_PART.fullmatch(part) is None or part in (".", ".."):
            raise _refused(text, f"malformed prefix: {part!r}")
    return Address(scheme, bucket, 0, prefix)


def _directory(rest: str, text: str) -> Address:
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash:
        raise _refused(text, "a directory is file:///absolute/path")
    if "?" in path or "#" in path or "\\" in path:
        raise _refused(text, "percent-encode '?', '#' and '\\' in file names")
    if any(match[1] is None for match in _PERCENT.finditer(path)):
        raise _refused(text, "malformed percent-encoding")
    encoded = _PERCENT.sub(lambda match: chr(int(match[1], 16)), path)
    try:
        decoded = encoded.encode("latin-1").decode().removesuffix("/")
    except UnicodeDecodeError as error:
        raise _refused(text, "the path is not UTF-8") from error
    if not decoded:
        raise _refused(text, "names no directory")
    if not decoded.isprintable():
        raise _refused(text, "unprintable character in the path")
    if any(part in ("", ".", "..") for part in decoded.split("/")):
        raise _refused(text, "the path must be absolute, without '.', '..' or empty parts")
    address = Address("file", "", 0, "/" + decoded)
    # A path of other scripts grows threefold when written; its own text must be accepted again.
    if len(str(address)) > MAX_ADDRESS_LENGTH:
        raise _refused(text, f"longer than {MAX_ADDRESS_LENGTH} characters")
    return address
