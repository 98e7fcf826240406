"""Fetch: history through git, data by digest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from ..digest import Digest
from ..errors import InvalidInputError
from ..records.gitrepo import GitRepository, Oid
from ..records.refs import HEADS, REMOTES
from ..staging.layout import Layout
from ..transfer.copying import Copied, copy_samples
from .gitremote import run_remote_git
from .localstore import LocalSamples
from .opening import opened_data
from .remoteconfig import find_remote, remote_url
from .selecting import Chosen, Selection, choose


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch of data did, or would do.

    Parameters
    ----------
    commits
        Whose data was asked for.
    samples, size_bytes
        That were not here, with their bytes as arrays.
    copied
        What came; None if nothing was to be done but tell.
    chosen
        What was asked for, and left out.
    """

    commits: list[Oid]
    samples: int
    size_bytes: int
    copied: Copied | None
    chosen: Chosen


def fetch(git: GitRepository, name: str, branch: str) -> str:
    """Bring the commits of a remote's branch; no data. Gives the remote-tracking branch.

    Raises
    ------
    NotFoundError
        There is no such remote.
    RevisionNotFoundError
        It has no such branch.
    RemoteError
        It cannot be reached, or refuses.
    """
    remote_url(git, name)
    if not isinstance(branch, str) or not branch or branch.startswith("-"):
        raise InvalidInputError(f"{branch!r} is no branch")
    run_remote_git(
        "fetch", name, f"+{HEADS}{branch}:{REMOTES}{name}/{branch}",
        git_dir=git.git_dir, workdir=git.workdir,
    )  # fmt: skip
    return f"{name}/{branch}"


def fetch_data(
    git: GitRepository,
    name: str,
    commits: list[Oid],
    selection: Selection,
    *,
    dry_run: bool = False,
    progress: Callable[[int, int, int], object] = lambda _done, _total, _size: None,
) -> Fetched:
    """Bring the data of commits, or what `selection` says of it.

    Raises
    ------
    NotFoundError
        There is no such remote, arrayset or sample.
    DataNotLocalError
        The remote lacks what is asked for.
    RemoteError
        It cannot be reached, or refuses. What came before is kept.
    """
    remote = find_remote(git, name)
    local = LocalSamples(Layout.of(git).root)

    def here(digests: Sequence[Digest]) -> Collection[Digest]:
        return set(digests).difference(local.missing(digests))

    chosen = choose(git, commits, selection, here)
    lacking = local.missing(list(chosen.sizes))
    size = sum(chosen.sizes[digest] for digest in lacking)
    if dry_run or not lacking:
        copied = None if dry_run else Copied(0, 0, len(chosen.sizes))
        return Fetched(commits, len(lacking), size, copied, chosen)
    done = 0

    def advance(samples: int, moved: int) -> None:
        nonlocal done
        done = min(done + samples, len(lacking))
        progress(done, len(lacking), moved)

    with opened_data(git, remote) as store:
        copied = copy_samples(store, local, lacking, progress=advance)
    return Fetched(commits, len(lacking), size, copied, chosen)


def fetch_missing(git: GitRepository, name: str, digests: Collection[Digest]) -> tuple[int, int]:
    """Bring those of `digests` that are not here and that a remote has.

    Returns
    -------
    tuple of int
        How many came; how many are neither here nor there.
    """
    local = LocalSamples(Layout.of(git).root)
    lacking = local.missing(digests)
    with opened_data(git, find_remote(git, name)) as store:
        nowhere = set(store.missing(lacking))
        found = [digest for digest in lacking if digest not in nowhere]
        copy_samples(store, local, found)
    return len(found), len(nowhere)
