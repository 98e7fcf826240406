"""Hooks around a push: data goes before commits, and a host takes no commits without their data."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from ..errors import HangarError, StateError
from ..records.gitrepo import GitRepository, Oid
from ..remotes.checks import lacking_data, pushed_commits, refusal
from ..remotes.localstore import LocalSamples
from ..remotes.opening import opened_data
from ..remotes.pushing import remember_address, to_send
from ..remotes.remoteconfig import (
    Remote,
    find_remote,
    is_server_url,
    local_path,
    remote_names,
    settings,
)
from ..remotes.sending import send_samples
from ..staging.layout import Layout
from ..transfer.address import parse_address
from ..transfer.serveraddress import ServerAddress

DATA_ADDRESS = "hangar.dataUrl"
"""Of a repository that is pushed to: where the data of what it takes must be."""


def pre_push(git: GitRepository, arguments: Sequence[str]) -> int:
    """Send the data that the pushed commits need; refuse the push if that cannot be done."""
    name, url = arguments[0], arguments[-1]
    # Names of branches may hold what other ways of splitting take for the end of a line.
    lines = [line.split(" ") for line in sys.stdin.read().split("\n")]
    oids = dict.fromkeys(line[1] for line in lines if line[1:])
    tips = [Oid(hex=oid) for oid in oids if oid.strip("0")]
    try:
        _send(git, name, url, tips)
    except HangarError as error:
        _say(f"{error}; to push commits alone: git push --no-verify")
        return 1
    return 0


def _send(git: GitRepository, name: str, url: str, tips: list[Oid]) -> None:
    named = name in remote_names(git)
    remote = find_remote(git, name) if named else _unnamed(git, url)
    needed = to_send(git, remote, tips)
    if needed:
        with opened_data(git, remote, push=True) as store:
            copied = send_samples(git, needed, store, remote.where)
        if copied.samples:
            _say(f"sent {copied.samples:,} samples ({copied.size_bytes:,} bytes) to {remote.where}")
    if named:
        remember_address(git, remote, tips)


def _unnamed(git: GitRepository, url: str) -> Remote:
    """What a push to an address, which no remote has, is meant for."""
    if is_server_url(url):
        return Remote(url, url, ServerAddress.parse(url))
    path = local_path(git, url)
    if path is None:
        raise StateError(
            f"where the data that goes with {url} is, is not known; name it: git remote add"
        )
    return Remote(url, url, None, path=path)


def pre_receive(git: GitRepository, _: Sequence[str]) -> int:
    """Refuse commits that name data which is not at the data remote."""
    quarantine = os.environ.get("GIT_QUARANTINE_PATH")
    try:
        new = pushed_commits(sys.stdin.read())
        if not new:
            return 0
        address = settings(git).get(DATA_ADDRESS.lower(), [""])[-1]
        data = Remote("data", "", parse_address(address)) if address else None
        here = nullcontext(LocalSamples(Layout.of(git).root))
        with here if data is None else opened_data(git, data) as store:
            lacking = lacking_data(git, new, store, Path(quarantine) if quarantine else None)
    except HangarError as error:
        _say(f"the push could not be checked: {error}")
        return 1
    if lacking is None:
        return 0
    _say(refusal(lacking))
    return 1


def _say(line: str) -> None:
    sys.stderr.write(f"hangar: {' '.join(line.splitlines())}\n")
