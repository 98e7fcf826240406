"""Who may do what on a server: users with passwords and tokens, and rights by repository.

The users file is JSON, written by ``git hangar users`` and readable by its owner only::

    {"version": 1, "users": {"alice": {
        "password": "scrypt$15$8$1$<salt>$<hash>",
        "tokens": {"laptop": "sha256$<hash>"},
        "rights": [["write", "team/*"], ["read", "*"]]}}}

Passwords are hashed with scrypt. Tokens are 256 random bits, so that a plain hash protects them as
well, and checking one costs nothing. The rights of ``anonymous`` are those of callers without
credentials.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..durable import fsync_path, write_new_file
from ..errors import (
    AlreadyExistsError,
    FormatError,
    InvalidInputError,
    NotFoundError,
    cannot_write,
)

ANONYMOUS = "anonymous"
_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,63}", re.ASCII)
_SCRYPT_LOG2_N, _SCRYPT_R, _SCRYPT_P = 15, 8, 1  # 32 MiB and 0.1 s for each guess
_MAX_LOG2_N = 20
_TOKEN_PREFIX = "hgr_"  # noqa: S105  # lets scanners of leaked secrets recognise one


class Right(IntEnum):
    """What a caller may do; each includes the ones before it."""

    NONE = 0
    READ = 1
    WRITE = 2
    FORCE = 3

    @classmethod
    def parse(cls, text: str) -> Right:
        """The right called `text`: ``read``, ``write``, ``force`` or ``none``."""
        try:
            return cls[text.upper()]
        except KeyError:
            raise InvalidInputError(f"no right is called {text!r}: read, write or force") from None

    def names(self) -> list[str]:
        """``["read", "write"]`` for WRITE."""
        return [right.name.lower() for right in Right if Right.NONE < right <= self]


@dataclass(frozen=True, slots=True)
class User:
    """One entry of the users file.

    Parameters
    ----------
    password
        Hash of the password, or None: tokens only.
    tokens
        Name of each token -> its hash.
    grants
        Right and the glob of the repositories it is for; ``*`` also matches ``/``.
    """

    password: str | None = field(default=None, repr=False)
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    grants: tuple[tuple[Right, str], ...] = ()

    def right_on(self, repository: str) -> Right:
        """The most that any grant gives."""
        fitting = [right for right, glob in self.grants if fnmatchcase(repository, glob)]
        return max(fitting, default=Right.NONE)


def hash_password(password: str) -> str:
    """A salted scrypt hash of `password`, with its parameters."""
    if not password:
        raise InvalidInputError("a password must not be empty")
    salt = os.urandom(16)
    hashed = _scrypt(password, salt, _SCRYPT_LOG2_N, _SCRYPT_R, _SCRYPT_P)
    numbers = f"{_SCRYPT_LOG2_N}${_SCRYPT_R}${_SCRYPT_P}"
    return f"scrypt${numbers}${_b64(salt)}${_b64(hashed)}"


def verify_password(password: str, stored: str) -> bool:
    """Whether `stored` is a hash of `password`. Takes as long for a wrong one."""
    log2_n, r, p, salt, hashed = _parse_scrypt(stored)
    return hmac.compare_digest(_scrypt(password, salt, log2_n, r, p), hashed)


def new_token() -> tuple[str, str]:
    """A random token, and the hash of it that is kept."""
    token = _TOKEN_PREFIX + secrets.token_urlsafe(32)
    return token, hash_token(token)


def hash_token(token: str) -> str:
    """What the users file keeps of `token`."""
    return f"sha256${hashlib.sha256(token.encode()).hexdigest()}"


def _scrypt(password: str, salt: bytes, log2_n: int, r: int, p: int) -> bytes:
    n = 1 << log2_n
    memory = 2 * 128 * n * r + (1 << 20)
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=memory, dklen=32)


def _parse_scrypt(stored: str) -> tuple[int, int, int, bytes, bytes]:
    try:
        scheme, log2_n, r, p, salt, hashed = stored.split("$")
        numbers = int(log2_n), int(r), int(p)
        if scheme != "scrypt" or not 10 <= numbers[0] <= _MAX_LOG2_N or max(numbers[1:]) > 16:
            raise ValueError(scheme)
        return *numbers, base64.b64decode(salt, validate=True), base64.b64decode(hashed)
    except (ValueError, binascii.Error) as error:
        raise FormatError("the hash of a password is malformed") from error


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass(frozen=True)
class Users:
    """All users of a server, by name."""

    by_name: Mapping[str, User] = field(default_factory=dict)

    def __post_init__(self) -> None:
        owners = {
            token: name for name, user in self.by_name.items() for token in user.tokens.values()
        }
        object.__setattr__(self, "_owners", owners)

    def owner_of(self, token: str) -> str | None:
        """Name of the user whom `token` identifies."""
        owners: dict[str, str] = self.__dict__["_owners"]
        return owners.get(hash_token(token))

    def right_on(self, name: str, repository: str) -> Right:
        """The right of `name`, which may be `ANONYMOUS` or unknown."""
        return self.by_name.get(name, User()).right_on(repository)

    def with_user(self, name: str, user: User) -> Users:
        """These and `user`, in place of one of that name."""
        if _NAME.fullmatch(name) is None:
            raise InvalidInputError(f"{name!r} is no user name")
        return Users({**self.by_name, name: user})

    def without_user(self, name: str) -> Users:
        """These without `name`."""
        if name not in self.by_name:
            raise NotFoundError(f"no user {name!r}")
        return Users({key: user for key, user in self.by_name.items() if key != name})

    @classmethod
    def load(cls, path: Path) -> Users:
        """The users in the file at `path`.

        Raises
        ------
        FormatError
            It is not such a file. Parsed strictly: a misspelt field must not give or take rights.
        """
        try:
            document = json.loads(path.read_bytes())
            if document.keys() != {"version", "users"} or document["version"] != _VERSION:
                raise ValueError(f"not a users file of version {_VERSION}")
            return cls({name: _user(name, value) for name, value in document["users"].items()})
        except OSError as error:
            raise NotFoundError(f"users file {path}: {error.strerror}") from error
        except (ValueError, AttributeError, TypeError, LookupError, FormatError) as error:
            raise FormatError(f"users file {path}: {error}") from error

    def to_json(self) -> str:
        """The text of the users file."""
        users = {name: _document(user) for name, user in sorted(self.by_name.items())}
        return json.dumps({"version": _VERSION, "users": users}, indent=2) + "\n"


def _document(user: User) -> dict[str, Any]:
    document: dict[str, Any] = {} if user.password is None else {"password": user.password}
    if user.tokens:
        document["tokens"] = dict(sorted(user.tokens.items()))
    document["rights"] = [[right.name.lower(), glob] for right, glob in user.grants]
    return document


def _user(name: str, document: dict[str, Any]) -> User:
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no user name")
    unknown = document.keys() - {"password", "tokens", "rights"}
    if unknown:
        raise ValueError(f"user {name}: unknown field {min(unknown)!r}")
    password = document.get("password")
    if password is not None:
        _parse_scrypt(password)
    tokens = document.get("tokens", {})
    if not all(re.fullmatch(r"sha256\$[0-9a-f]{64}", token) for token in tokens.values()):
        raise ValueError(f"user {name}: a token's hash is malformed")
    grants = tuple((Right.parse(right), str(glob)) for right, glob in document["rights"])
    return User(password, tokens, grants)


def edit_users(path: Path, change: Callable[[Users], Users]) -> None:
    """Replace the users file by what `change` makes of it; a file that is not there is empty.

    Raises
    ------
    AlreadyExistsError
        Another process is changing it.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        # As Git does: the new content is written into the lock, which is renamed.
        write_new_file(lock, b"", mode=0o600)
    except FileExistsError as error:
        raise AlreadyExistsError(
            f"{lock} exists: another process changes the users, or died doing so; then remove it"
        ) from error
    except OSError as error:
        raise cannot_write(lock, error) from error
    try:
        users = change(Users.load(path) if path.exists() else Users())
        lock.write_text(users.to_json(), encoding="utf-8")
        fsync_path(lock)
        lock.rename(path)
    except BaseException:
        lock.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def with_token(user: User, name: str) -> tuple[User, str]:
    """`user` with one more token, called `name`; and the token, which is shown only now."""
    token, hashed = new_token()
    return replace(user, tokens={**user.tokens, name: hashed}), token
