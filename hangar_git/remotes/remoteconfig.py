"""Remotes as a clone's Git configuration knows them: where history is, and where data is.

A remote is a Git remote plus a data address: ``remote.<name>.hangarUrl``, else the address that is
committed in ``.hangar/config``, else what the Git remote's own address implies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from ..config import Config
from ..errors import (
    AlreadyExistsError,
    InvalidInputError,
    NotFoundError,
    RemoteNotFoundError,
    StateError,
    did_you_mean,
)
from ..records.gitprogram import run_git
from ..records.gitrepo import HANGAR_DIR, GitRepository
from ..transfer.address import Address, parse_address
from ..transfer.serveraddress import ServerAddress

TRUSTED = "hangar.trustedDataUrl"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_BARE_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
_STORAGE_SCHEMES = ("s3://", "gs://", "az://")


class RemoteInfo(NamedTuple):
    """A remote, as the user names it."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Remote:
    """A remote of a clone.

    Parameters
    ----------
    name
        Of the Git remote.
    url
        Where history is fetched from and pushed to.
    data
        Where data is; None: in the repository at `path`.
    committed
        Whether `data` is what somebody committed, which is to be judged before use.
    path
        Of a Git remote on this machine; None elsewhere.
    """

    name: str
    url: str
    data: Address | ServerAddress | None
    committed: bool = False
    path: Path | None = None

    @property
    def where(self) -> str:
        """Where data is, as text."""
        return str(self.data) if self.data is not None else str(self.path)

    @property
    def server(self) -> ServerAddress | None:
        """The Hangar server that holds its history, if one does."""
        return ServerAddress.parse(self.url) if is_server_url(self.url) else None


def is_server_url(url: str) -> bool:
    """Whether a Git address is of a Hangar server."""
    return url.startswith(("hangar://", "hangars://"))


def git_url(address: str) -> str:
    """The Git address that a user's `address` means: ``localhost:50051`` is a Hangar server.

    Raises
    ------
    InvalidInputError
        It is empty, malformed, or holds data only.
    """
    if not address or address.startswith("-") or not address.isprintable():
        raise InvalidInputError(f"{address!r} is no address of a remote")
    if _BARE_SERVER.fullmatch(address) or is_server_url(address):
        return str(ServerAddress.parse(address))
    if address.startswith(_STORAGE_SCHEMES):
        raise InvalidInputError(
            f"{address} holds data, and no history: name a Git remote, and give this as its data"
            " address"
        )
    return address


def shown_address(url: str) -> str:
    """A Git address as users write it: ``localhost:50051`` for a server's default repository."""
    if is_server_url(url):
        server = ServerAddress.parse(url)
        if not (server.repository or server.tls or server.user):
            return server.endpoint
    return url


def check_name(name: object) -> str:
    """`name` if it can be one of a remote."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None or name.endswith((".lock", ".")):
        raise InvalidInputError(
            f"remote name {name!r} is not valid; use up to 64 ASCII letters, digits, '.', '_', '-'"
        )
    return name


def settings(git: GitRepository) -> dict[str, list[str]]:
    """Git's configuration as this clone sees it: lower-case name -> values."""
    found: dict[str, list[str]] = {}
    for entry in git.pygit2.config:
        found.setdefault(entry.name, []).append(entry.value or "")
    return found


def remote_names(git: GitRepository) -> list[str]:
    """Names of all remotes, sorted."""
    return sorted(
        name[len("remote.") : -len(".url")]
        for name in settings(git)
        if name.startswith("remote.") and name.endswith(".url")
    )


def remote_url(git: GitRepository, name: str) -> str:
    """Git address of remote `name`.

    Raises
    ------
    NotFoundError
        There is no such remote.
    """
    urls = settings(git).get(f"remote.{name}.url", [])
    if not isinstance(name, str) or not urls:
        hint = did_you_mean(str(name), remote_names(git))
        raise NotFoundError(
            f"no remote {name!r} in this clone"
            + (hint or f"; add it with 'git hangar remote add {name} ADDRESS'")
        )
    return urls[0]


def add_remote(git: GitRepository, name: str, address: str, data: str | None = None) -> RemoteInfo:
    """Add a Git remote, and set its data address.

    Raises
    ------
    AlreadyExistsError
        There is one of this name.
    InvalidInputError
        The name or an address is not valid.
    """
    check_name(name)
    url = git_url(address)
    data_text = None if data is None else str(parse_address(data))
    if name in remote_names(git):
        raise AlreadyExistsError(
            f"remote {name!r} exists, at {shown_address(remote_url(git, name))}; remove it first"
        )
    run_git("remote", "add", name, url, git_dir=git.git_dir)
    if data_text is not None:
        run_git("config", f"remote.{name}.hangarUrl", data_text, git_dir=git.git_dir)
    return RemoteInfo(name, shown_address(url))


def remove_remote(git: GitRepository, name: str) -> RemoteInfo:
    """Remove a Git remote, with its remote-tracking branches."""
    info = RemoteInfo(name, shown_address(remote_url(git, name)))
    run_git("remote", "remove", name, git_dir=git.git_dir)
    return info


def find_remote(git: GitRepository, name: str) -> Remote:
    """The remote called `name`, and where its data is.

    Raises
    ------
    NotFoundError
        There is no such remote.
    StateError
        It has no data address, and none follows from its Git address.
    """
    url = remote_url(git, name)
    configured = settings(git).get(f"remote.{name}.hangarurl", [])
    if configured and configured[-1]:
        return Remote(name, url, data_address(configured[-1]))
    committed = committed_address(git, name)
    if committed is not None:
        return Remote(name, url, data_address(committed), committed=True)
    if is_server_url(url):
        return Remote(name, url, ServerAddress.parse(url))
    path = local_path(git, url)
    if path is not None:
        return Remote(name, url, None, path=path)
    raise StateError(
        f"remote {name!r} ({url}) has no data address; set one:"
        f" git config remote.{name}.hangarUrl ADDRESS"
    )


def data_address(text: str) -> Address | ServerAddress:
    """The data address that `text` of the configuration writes."""
    # What the configuration says may name a user; what is committed is read more strictly.
    return ServerAddress.parse(text) if is_server_url(text) and "@" in text else parse_address(text)


def committed_address(git: GitRepository, name: str) -> str | None:
    """The data address committed at HEAD or, if that has no commit, at the remote's branches."""
    revisions = ["HEAD", f"refs/remotes/{name}/HEAD", f"refs/remotes/{name}/main"]
    done = run_git(
        "cat-file", "--batch", git_dir=git.git_dir,
        stdin="".join(f"{rev}:{HANGAR_DIR}/config\n" for rev in revisions).encode(),
    )  # fmt: skip
    rest = done.stdout
    while rest:
        head, _, rest = rest.partition(b"\n")
        fields = head.split()
        if len(fields) == 3 and fields[1] == b"blob" and fields[2].isdigit():
            return Config.parse(rest[: int(fields[2])].decode(errors="replace")).data_url
    return None


def local_path(git: GitRepository, url: str) -> Path | None:
    """Directory of a Git remote on this machine; None if `url` leads elsewhere."""
    if url.startswith("file://"):
        return Path(unquote(re.sub(r"\Afile://(localhost)?", "", url)))
    if "://" in url or "::" in url:
        return None
    if re.match(r"[^/]*:", url):  # host:path, as of ssh
        return None
    return (git.workdir or git.git_dir) / Path(url).expanduser()


def local_git(remote: Remote) -> GitRepository:
    """The repository of a remote on this machine."""
    assert remote.path is not None
    if not remote.path.is_dir():
        raise RemoteNotFoundError(f"remote {remote.name!r}: {remote.path} is not there")
    found = GitRepository.discover(remote.path)
    if found is None:
        raise RemoteNotFoundError(f"remote {remote.name!r}: {remote.path} is no Git repository")
    return found


def trusted(git: GitRepository) -> list[str]:
    """The committed addresses that were confirmed in this clone."""
    return settings(git).get(TRUSTED.lower(), [])


def trust(git: GitRepository, name: str) -> str | None:
    """Confirm the committed address that remote `name` uses; None if it uses none."""
    remote = find_remote(git, name)
    if not remote.committed:
        return None
    if remote.where not in trusted(git):
        run_git("config", "--add", TRUSTED, remote.where, git_dir=git.git_dir)
    return remote.where
