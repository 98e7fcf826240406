"""How a caller says who it is, and where a client finds out: environment, Git's helpers."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import RemoteAuthenticationError
from .serveraddress import ServerAddress, is_loopback

TOKEN_VARIABLE = "HANGAR_TOKEN"  # noqa: S105  # its name, not a token
TOKEN_HOST_VARIABLE = "HANGAR_TOKEN_HOST"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Credentials:
    """A token, or a user name and password; neither is ever printed.

    Parameters
    ----------
    secret
        The token or password.
    user
        Name of the user; None with a token.
    """

    secret: str = field(repr=False)
    user: str | None = None

    def to_header(self) -> str:
        """The ``authorization`` metadata."""
        if self.user is None:
            return f"Bearer {self.secret}"
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()

    @classmethod
    def of_header(cls, header: str) -> Credentials:
        """What `to_header` wrote.

        Raises
        ------
        RemoteAuthenticationError
            It is malformed.
        """
        scheme, _, value = header.partition(" ")
        if scheme == "Bearer" and value:
            return cls(value)
        if scheme == "Basic":
            try:
                text = base64.b64decode(value, validate=True).decode()
            except ValueError:
                text = ""
            user, colon, secret = text.partition(":")
            if colon:
                return cls(secret, user)
        raise RemoteAuthenticationError("malformed credentials")


def check_may_send(address: ServerAddress) -> None:
    """Refuse to send a secret to `address` in clear.

    Raises
    ------
    RemoteAuthenticationError
        The connection would not be encrypted, and leaves this machine.
    """
    if not address.tls and not is_loopback(address.host):
        raise RemoteAuthenticationError(
            f"credentials are not sent to {address.endpoint} without encryption; use"
            f" hangars://{address.endpoint}/{address.repository}"
        )


def token_of_environment(
    address: ServerAddress, environment: Mapping[str, str] = os.environ
) -> Credentials | None:
    """The token in ``HANGAR_TOKEN``, if it is set and meant for `address`.

    Where ``HANGAR_TOKEN_HOST`` is set, as ``host`` or ``host:port``, no other server gets it.
    """
    token = environment.get(TOKEN_VARIABLE)
    meant = environment.get(TOKEN_HOST_VARIABLE)
    if not token or (meant and meant not in (address.host, address.endpoint)):
        return None
    return Credentials(token)


def ask_git(address: ServerAddress) -> Credentials:
    """A user and password from Git's credential helpers, which may ask the user.

    Raises
    ------
    RemoteAuthenticationError
        There are none.
    """
    done = _git_credential("fill", _describe(address))
    found = dict(line.split("=", 1) for line in done.splitlines() if "=" in line)
    if not found.get("password"):
        raise RemoteAuthenticationError(
            f"{address.endpoint} asks for credentials; set {TOKEN_VARIABLE}, or store a password"
            " with a Git credential helper"
        )
    return Credentials(found["password"], found.get("username", ""))


def tell_git(address: ServerAddress, credentials: Credentials, *, accepted: bool) -> None:
    """Let Git's credential helpers keep what was accepted, and forget what was not."""
    action = "approve" if accepted else "reject"
    fields = f"username={credentials.user}\npassword={credentials.secret}\n"
    _git_credential(action, _describe(address) + fields)


def _describe(address: ServerAddress) -> str:
    # The port belongs to the host, as in Git's own use.
    lines = f"protocol={address.scheme}\nhost={address.endpoint}\n"
    if address.repository:
        lines += f"path={address.repository}\n"
    return lines + (f"username={address.user}\n" if address.user else "")


def _git_credential(action: str, description: str) -> str:
    try:
        done = subprocess.run(
            ["git", "credential", action],
            input=description + "\n", stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    except (FileNotFoundError, ValueError):  # no git; a NUL in the password
        return ""
    return done.stdout if done.returncode == 0 else ""
