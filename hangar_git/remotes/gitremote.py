"""The git program at work on a remote: its connections, its credentials, and what went wrong."""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from pathlib import Path
from subprocess import CompletedProcess

from ..errors import (
    HangarError,
    RemoteAuthenticationError,
    RemoteConnectionError,
    RemoteError,
    RemoteNotFoundError,
    RemotePermissionError,
    RevisionNotFoundError,
)
from ..records.gitprogram import run_git
from ..transfer.channel import Connection
from ..transfer.credentials import Credentials
from ..transfer.tunnelclient import join_git

PUSHING = "HANGAR_PUSHING"
"""Set for the hooks of a ``git push`` whose data was sent already."""

_SAID = (
    # What git says, and the error that it is. The first that matches counts.
    (r"\[(remote )?rejected\].*\(([^)]*)\)|! \[rejected\]", RemoteError),
    (r"couldn't find remote ref|Remote branch .* not found", RevisionNotFoundError),
    (r"may not (push|force|write)|no right|not allowed|permission", RemotePermissionError),
    (r"asks for credentials|Authentication failed|credentials|could not read (Username|Password)",
     RemoteAuthenticationError),
    (r"cannot reach|resolve host|Connection (refused|timed out|reset)|unable to access"
     r"|hung up|early EOF|broke off|unable to connect|try again", RemoteConnectionError),
    (r"does not appear to be a git|not found|does not exist|no repository|not a git repository"
     r"|not exported",
     RemoteNotFoundError),
)  # fmt: skip
_LAST_WORDS_S = 5
"""How long the far side has to end after git has."""
_HELPER = """!f() { test "$1" = get && printf 'username=%s\\npassword=%s\\n' \
"$HANGAR_PUSH_USER" "$HANGAR_PUSH_PASSWORD"; }; f"""


def run_remote_git(
    *arguments: str,
    git_dir: Path | None,
    workdir: Path | None = None,
    credentials: Credentials | None = None,
    given_fds: tuple[int, ...] = (),
) -> CompletedProcess[bytes]:
    """Run git on a remote: helpers for Hangar servers are found, and passwords may be asked for.

    Raises
    ------
    RemoteError, RevisionNotFoundError
        git failed; the message is the line that tells why.
    """
    environment = {
        "PATH": os.pathsep.join([str(_scripts()), os.environ.get("PATH", os.defpath)]),
        "GIT_TERMINAL_PROMPT": os.environ.get("GIT_TERMINAL_PROMPT", "1"),
        PUSHING: "1",
    }
    options: tuple[str, ...] = ()
    if credentials is not None:
        environment["HANGAR_PUSH_USER"] = credentials.user or ""
        environment["HANGAR_PUSH_PASSWORD"] = credentials.secret
        options = ("-c", "credential.helper=", "-c", f"credential.helper={_HELPER}")
    done = run_git(
        *options, *arguments, git_dir=git_dir, workdir=workdir, environment=environment,
        check=False, given_fds=given_fds,
    )  # fmt: skip
    if done.returncode != 0:
        raise _error((done.stderr + done.stdout).decode(errors="replace"), done.returncode)
    return done


def _scripts() -> Path:
    """Where ``git-remote-hangar`` is: beside the Python program that runs this."""
    return Path(sys.executable).parent


def _error(said: str, code: int) -> HangarError:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    lines = [re.sub(r"\A(remote: )?(fatal|error): ", "", line) for line in lines]
    telling = [line for line in lines if not line.startswith(("hint:", "To ", "From ", "remote:"))]
    for pattern, kind in _SAID:
        for line in telling:
            if re.search(pattern, line, re.IGNORECASE):
                return kind(_explained(line, lines))
    return RemoteError(f"git failed: {telling[0] if telling else f'exit code {code}'}")


def _explained(line: str, lines: list[str]) -> str:
    if match := re.search(r"!\s+\S+:(?:refs/heads/)?(\S+)\s+\[[^\]]*\] \((.*)\)", line):
        branch, why = match[1], match[2]
        if why in ("fetch first", "non-fast-forward"):
            why = "it has commits that are not in yours; fetch and merge them, then push again"
        elif why == "stale info":
            why = "it is not where it was when last fetched"
        told = [text.removeprefix("remote: ") for text in lines if text.startswith("remote: ")]
        return f"branch {branch!r} was refused: {'; '.join([why, *told[:2]])}"
    return line


def git_over(
    connection: Connection,
    service: str,
    *arguments: str,
    url: str,
    git_dir: Path | None,
    workdir: Path | None = None,
) -> CompletedProcess[bytes]:
    """Run git with its traffic to `url` going over `connection`.

    Starting a remote helper, which is another Python, takes longer than a small push.

    Parameters
    ----------
    service
        ``upload-pack`` or ``receive-pack``.
    """
    # A socket: its other end sees that git has finished although git's own parents have it open.
    ours, gits = socket.socketpair()
    errors: list[HangarError] = []
    errors_read, errors_write = os.pipe()

    def serve() -> None:
        end = ours.fileno()
        try:
            join_git(connection, service, "version=2", end, end, errors_write, lambda: None)
        except HangarError as error:
            errors.append(error)
        except OSError:
            pass  # git is gone
        finally:
            os.close(errors_write)
            ours.close()

    thread = threading.Thread(target=serve, name="hangar-git-tunnel", daemon=True)
    drain = threading.Thread(target=_drain, args=(errors_read,), daemon=True)
    thread.start()
    drain.start()
    descriptor = gits.detach()
    try:
        return run_remote_git(
            "-c", "protocol.fd.allow=always",
            "-c", f"url.fd::{descriptor}.insteadOf={url}",
            *arguments, git_dir=git_dir, workdir=workdir, given_fds=(descriptor,),
        )  # fmt: skip
    except HangarError:
        thread.join(_LAST_WORDS_S)
        if errors:
            raise errors[0] from None
        raise
    finally:
        thread.join(_LAST_WORDS_S)


def _drain(descriptor: int) -> None:
    """Take what the far program says on the side: git tells what matters itself."""
    while os.read(descriptor, 1 << 14):
        pass
    os.close(descriptor)
