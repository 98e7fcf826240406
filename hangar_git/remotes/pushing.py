"""Push: data first, refs last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from ..errors import InvalidInputError, RevisionNotFoundError
from ..records.gitprogram import run_git
from ..records.gitrepo import GitRepository, Oid
from ..records.refs import HEADS, REMOTES, all_tips, branch_tip
from ..transfer.client import GrpcStore
from ..transfer.copying import Copied
from ..transfer.credentials import Credentials
from .gitremote import git_over, run_remote_git
from .needed import NeededDigests, needed_digests
from .opening import open_server, opened_data
from .remoteconfig import Remote, find_remote, settings
from .sending import send_samples

Progress = Callable[[int, int, int], object]
"""Told samples done, samples in all, and bytes of the last parcel."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did.

    Parameters
    ----------
    branch
        That was pushed.
    named
        Samples that the remote was asked about.
    copied
        What was sent.
    """

    branch: str
    named: int
    copied: Copied


@dataclass(frozen=True, slots=True)
class Force:
    """Whether commits of the remote may be lost.

    Parameters
    ----------
    always
        Move its branch wherever it is.
    lease
        Move it if it is where it was last seen (empty), or at ``REF:OID``; None: not so.
    """

    always: bool = False
    lease: str | None = None

    def options(self) -> list[str]:
        """For ``git push``."""
        found = ["--force"] if self.always else []
        if self.lease is not None:
            found.append(f"--force-with-lease{'=' + self.lease if self.lease else ''}")
        return found


def to_send(git: GitRepository, remote: Remote, tips: Sequence[Oid]) -> NeededDigests:
    """Samples that a push of `tips` needs, and that the remote is not known to have.

    What its remote-tracking branches lead to it has, if the data went to the same address.
    """
    own = f"{REMOTES}{remote.name}/"
    known = [tip for ref, tip in all_tips(git) if ref.startswith(own)]
    return needed_digests(git, tips, known if _has_sent(git, remote) else [])


def _has_sent(git: GitRepository, remote: Remote) -> bool:
    """Whether the remote's own branches are known to have their data at its address."""
    if remote.server is not None and str(remote.server) == remote.where:
        return True  # a Hangar server takes no commits without their data
    return settings(git).get(f"remote.{remote.name}.hangarsentto", [""])[-1] == remote.where


def remember_address(git: GitRepository, remote: Remote, tips: Sequence[Oid]) -> None:
    """Note that what the remote-tracking branches lead to is at the address the remote has now.

    Not so if they lead to more than `tips`, whose data alone is known to be there.
    """
    if _has_sent(git, remote):
        return
    others = run_git(
        "rev-list", "--max-count=1", f"--remotes={remote.name}", "--not", *map(str, tips),
        git_dir=git.git_dir,
    )  # fmt: skip
    if not others.stdout:
        name = f"remote.{remote.name}.hangarSentTo"
        run_git("config", "--replace-all", name, remote.where, git_dir=git.git_dir)


def push(
    git: GitRepository,
    name: str,
    branch: str,
    *,
    credentials: Credentials | None = None,
    force: Force | None = None,
    progress: Progress = lambda _done, _total, _size: None,
) -> Pushed:
    """Send a branch: the data that its commits name, then the commits.

    Raises
    ------
    NotFoundError
        There is no such remote.
    RevisionNotFoundError
        There is no such local branch.
    DataNotLocalError
        The commits name data that is neither here nor at the remote.
    RemoteError
        The remote cannot be reached, or refuses.
    """
    if not isinstance(branch, str) or not branch:
        raise InvalidInputError(f"a branch is pushed by its name, not {branch!r}")
    remote = find_remote(git, name)
    tip = branch_tip(git, branch)
    if tip is None:
        raise RevisionNotFoundError(f"no local branch {branch!r}")
    needed = to_send(git, remote, [tip])
    copied = Copied(0, 0, 0)
    opened = (
        opened_data(git, remote, push=True, credentials=credentials) if needed else nullcontext()
    )
    with opened as store:
        if store is not None:
            copied = send_samples(git, needed, store, remote.where, progress)
        _push_refs(git, remote, branch, store, credentials, force or Force())
    remember_address(git, remote, [tip])
    return Pushed(branch, len(needed), copied)


def _push_refs(
    git: GitRepository,
    remote: Remote,
    branch: str,
    store: object,
    credentials: Credentials | None,
    force: Force,
) -> None:
    arguments = ["push", "--porcelain", *force.options(), remote.name,
                 f"{HEADS}{branch}:{HEADS}{branch}"]  # fmt: skip
    server = remote.server
    if server is None:
        run_remote_git(
            *arguments, git_dir=git.git_dir, workdir=git.workdir, credentials=credentials
        )
        return
    if isinstance(store, GrpcStore) and store.address == server:
        opened = store  # whoever opened it closes it
    else:
        opened = open_server(server, push=True, credentials=credentials)
    try:
        git_over(
            opened.connection, "receive-pack", *arguments, url=remote.url, git_dir=git.git_dir,
            workdir=git.workdir,
        )  # fmt: skip
    finally:
        if opened is not store:
            opened.close()
