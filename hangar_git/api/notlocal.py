"""What to do about a sample that is not on this machine."""

from __future__ import annotations

import shlex

from ..errors import DataNotLocalError
from ..records.gitrepo import GitRepository
from ..remotes.remoteconfig import remote_names


def not_local(git: GitRepository, arrayset: str, revision: str, key: object) -> DataNotLocalError:
    """The error for a sample that is not on this machine, with the command that would bring it.

    Parameters
    ----------
    revision
        A commit that names the sample; empty: the one at HEAD.
    key
        Of the sample; None: some of them.
    """
    remotes = remote_names(git)
    remote = "origin" if "origin" in remotes or not remotes else remotes[0]
    command = f"git hangar fetch-data {remote} {revision or 'HEAD'} --arrayset {arrayset}"
    what = "data"
    if key is not None:
        what = f"the data of sample {key!r}"
        command += f" --sample {shlex.quote(_option(key))}"
    return DataNotLocalError(
        f"{what} of arrayset {arrayset!r} is not on this machine; to get it: {command}"
    )


def _option(key: object) -> str:
    """A key, as ``--sample`` takes it."""
    if isinstance(key, tuple):
        return "/".join(part if isinstance(part, str) else f"#{part}" for part in key)
    return key if isinstance(key, str) else f"int:{key}"
