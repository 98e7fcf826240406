"""Remotes as users hold them: `Repository.remote`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..errors import (
    InvalidInputError,
    RemoteConnectionError,
    RemoteError,
    RevisionNotFoundError,
)
from ..keys import SampleKey
from ..records import refs
from ..records.gitrepo import GitRepository
from ..remotes import fetching, pushing, remoteconfig
from ..remotes.opening import opened_data
from ..remotes.pushing import Force, Progress
from ..remotes.remoteconfig import RemoteInfo
from ..remotes.selecting import Selection, Stratify, commits_of
from ..transfer.bucket import BucketStore
from ..transfer.client import GrpcStore
from ..transfer.compaction import GRACE_S, CompactionReport
from ..transfer.credentials import Credentials


def _quiet(done: int, total: int, size: int) -> None:
    """Tell nobody."""


class Remotes:
    """The remotes of one repository. History moves with the git program, data by digest."""

    def __init__(self, git: GitRepository) -> None:
        self._git = git

    def add(self, name: str, address: str, *, data: str | None = None) -> RemoteInfo:
        """Add a remote.

        Parameters
        ----------
        name
            Up to 64 ASCII letters, digits, ``.``, ``_``, ``-``.
        address
            ``host:port`` of a Hangar server, ``hangar://host:port/repo``, or any Git address.
        data
            Where data is, if `address` is of a Git host: ``hangar://host:port/repo``,
            ``file:///directory``, ``s3://bucket/prefix``.

        Returns
        -------
        RemoteInfo
            Name and address.

        Raises
        ------
        ValueError
            The name or an address is not valid; or there is a remote of this name.
        """
        return remoteconfig.add_remote(self._git, name, address, data)

    def remove(self, name: str) -> RemoteInfo:
        """Remove a remote, with its remote-tracking branches; gives its name and address.

        Raises
        ------
        KeyError
            There is no such remote.
        """
        return remoteconfig.remove_remote(self._git, name)

    def list_all(self) -> list[RemoteInfo]:
        """Name and address of every remote."""
        names = remoteconfig.remote_names(self._git)
        return [
            RemoteInfo(n, remoteconfig.shown_address(remoteconfig.remote_url(self._git, n)))
            for n in names
        ]

    def ping(self, name: str) -> float:
        """Seconds that a question to the data of a remote, and its answer, take.

        Raises
        ------
        KeyError
            There is no such remote.
        ConnectionError
            It cannot be reached.
        """
        with opened_data(self._git, remoteconfig.find_remote(self._git, name)) as store:
            if isinstance(store, GrpcStore):
                return store.ping()
            started = time.perf_counter()
            try:
                store.missing([bytes(32)])
            except RemoteError:
                raise
            except OSError as error:
                raise RemoteConnectionError(f"remote {name!r}: {error}") from error
            return time.perf_counter() - started

    def compact(self, name: str, *, grace_s: float = GRACE_S) -> CompactionReport:
        """Merge small packs of a directory or bucket, and delete what was replaced long ago.

        Safe while others read, push and compact. What is replaced now is deleted by a later call.

        Parameters
        ----------
        name
            Of the remote.
        grace_s
            How long ago, in seconds: longer than any push or fetch may take.

        Raises
        ------
        KeyError
            There is no such remote.
        ValueError
            Its data is on a server or in a clone, which have no packs to compact.
        ConnectionError
            It cannot be reached, or refuses.
        """
        remote = remoteconfig.find_remote(self._git, name)
        with opened_data(self._git, remote, push=True) as store:
            if not isinstance(store, BucketStore):
                raise InvalidInputError(
                    f"the data of remote {name!r} is at {remote.where}, which is no directory or"
                    " bucket of packs: there is nothing to compact"
                )
            return store.compact(grace_s)

    def trust(self, name: str) -> str | None:
        """Confirm, for this clone, the data address that is committed in ``.hangar/config``.

        Returns
        -------
        str | None
            The address; None if the remote does not use a committed one.
        """
        return remoteconfig.trust(self._git, name)

    def fetch(self, remote: str, branch: str) -> str:
        """Bring new commits of a remote's branch, without data.

        Returns
        -------
        str
            The remote-tracking branch that holds them, such as ``origin/main``.

        Raises
        ------
        KeyError
            There is no such remote.
        ValueError
            It has no such branch.
        ConnectionError
            It cannot be reached, or refuses.
        """
        return fetching.fetch(self._git, remote, branch)

    def fetch_data(
        self,
        remote: str,
        branch: str | None = None,
        commit: str | None = None,
        *,
        arrayset_names: Sequence[str] | None = None,
        max_num_bytes: int | None = None,
        retrieve_all_history: bool = False,
        samples: Sequence[SampleKey] | None = None,
        stratify: Stratify | None = None,
        progress: Progress = _quiet,
    ) -> list[str]:
        """Bring the data of a commit to this machine.

        Parameters
        ----------
        remote
            Where it is.
        branch
            Whose tip is meant; or
        commit
            any Git revision, or a range ``A..B``.
        arrayset_names
            Only these.
        max_num_bytes
            At most so many bytes, counted as arrays; keys in their order, until one does not fit.
        retrieve_all_history
            Also the data of all ancestors.
        samples
            Only these keys; a str may be a glob.
        stratify
            Only a subset that represents the whole.
        progress
            Told samples done, samples in all, and bytes of what just came.

        Returns
        -------
        list of str
            Oids of the commits whose data this is, newest first.

        Raises
        ------
        ValueError
            Both or neither of `branch` and `commit`; no such branch or commit.
        KeyError
            There is no such remote, arrayset or sample.
        FileNotFoundError
            The remote lacks what is asked for.
        ConnectionError
            It cannot be reached, or refuses. What came before is kept.
        """
        if (branch is None) == (commit is None):
            raise InvalidInputError("give either a branch or a commit to fetch the data of")
        if branch is not None and refs.branch_tip(self._git, branch) is None:
            raise RevisionNotFoundError(f"no branch {branch!r}")
        commits = commits_of(self._git, branch or commit or "", whole_history=retrieve_all_history)
        selection = Selection(arrayset_names, samples, stratify, max_num_bytes)
        fetched = fetching.fetch_data(self._git, remote, commits, selection, progress=progress)
        return [str(oid) for oid in fetched.commits]

    def push(
        self,
        remote: str,
        branch: str,
        *,
        username: str = "",
        password: str = "",
        force: bool = False,
        force_with_lease: bool | str = False,
        progress: Progress = _quiet,
    ) -> str:
        """Send a branch: the data that its commits name and the remote lacks, then the commits.

        Parameters
        ----------
        remote, branch
            Names.
        username, password
            Who is calling; by default as the environment or Git's credential helpers say.
        force
            Move the remote's branch even if commits are lost there.
        force_with_lease
            The same, but only if it is where it was last fetched, or at ``"BRANCH:COMMIT"``.
        progress
            Told samples done, samples in all, and bytes of what just went.

        Returns
        -------
        str
            The branch.

        Raises
        ------
        KeyError
            There is no such remote.
        ValueError
            There is no such branch.
        FileNotFoundError
            The commits name data that is neither here nor at the remote.
        ConnectionError
            The remote cannot be reached, or refuses: its branch has commits that ours lacks.
        """
        credentials = Credentials(password, username) if username or password else None
        lease = force_with_lease if isinstance(force_with_lease, str) else ""
        how = Force(force, lease if force_with_lease else None)
        done = pushing.push(
            self._git, remote, branch, credentials=credentials, force=how, progress=progress
        )
        return done.branch
