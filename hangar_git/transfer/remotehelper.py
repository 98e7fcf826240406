"""``git-remote-hangar`` and ``git-remote-hangars``: Git's own protocol to a Hangar server.

Git starts it for addresses that begin with ``hangar://`` or ``hangars://``; see
gitremote-helpers(7), "connect".
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ..errors import HangarError, RemoteAuthenticationError
from .channel import Connection
from .credentials import Credentials, ask_git, check_may_send, tell_git, token_of_environment
from .serveraddress import ServerAddress
from .tunnelclient import join_git

_SERVICES = {"git-upload-pack": "upload-pack", "git-receive-pack": "receive-pack"}
_STDIN, _STDOUT, _STDERR = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the helper as Git calls it: name of the remote, address. The exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if len(words) != 2:
        _say("git calls this for addresses like hangar://host:50051/repository")
        return 2
    try:
        return _serve(ServerAddress.parse(words[1]))
    except HangarError as error:
        _say(f"error: {' '.join(str(error).split())}")
        return 1
    except BrokenPipeError:
        return 1  # git is gone
    except KeyboardInterrupt:
        return 130


def _say(text: str) -> None:
    os.write(_STDERR, f"{text}\n".encode())


def _serve(address: ServerAddress) -> int:
    while True:
        command, _, service = _read_line().partition(" ")
        if command == "capabilities":
            os.write(_STDOUT, b"connect\n\n")
        elif command == "connect" and service in _SERVICES:
            return _connect(address, _SERVICES[service])
        elif command == "connect":
            os.write(_STDOUT, b"fallback\n")
        elif not command:
            return 0
        else:
            _say(f"error: git asked for {command!r}, which this helper does not do")
            return 1


def _read_line() -> str:
    # Byte by byte: what follows the line belongs to the program we connect to.
    line = bytearray()
    while (byte := os.read(_STDIN, 1)) not in (b"", b"\n"):
        line += byte
    return line.decode()


def _connect(address: ServerAddress, service: str) -> int:
    token = token_of_environment(address)
    if token is not None:
        return _join(address, service, token)
    if address.user is None:
        try:
            return _join(address, service, None)
        except RemoteAuthenticationError:
            pass  # now we know that it asks for credentials
    check_may_send(address)
    credentials = ask_git(address)
    try:
        return _join(address, service, credentials)
    except RemoteAuthenticationError:
        tell_git(address, credentials, accepted=False)
        raise


def _join(address: ServerAddress, service: str, credentials: Credentials | None) -> int:
    def opened() -> None:
        os.write(_STDOUT, b"\n")
        if credentials is not None and credentials.user is not None:
            tell_git(address, credentials, accepted=True)

    connection = Connection(address, credentials)
    try:
        protocol = os.environ.get("GIT_PROTOCOL", "version=2")
        return join_git(connection, service, protocol, _STDIN, _STDOUT, _STDERR, opened)
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
