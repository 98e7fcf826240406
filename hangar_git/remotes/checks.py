"""Judging a push: refs may move only to commits whose data is there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..digest import DIGEST_SIZE_BYTES, Digest
from ..errors import InvalidInputError
from ..keys import key_text
from ..records.counts import RecordCounts
from ..records.gitprogram import run_git
from ..records.gitrepo import GitRepository, Oid
from ..records.snapshot import Snapshot
from ..staging.layout import Layout
from ..transfer.samples import SampleStore
from .needed import NAMED_AT_MOST, Lacking, NeededDigests, needed_by_file, needed_digests
from .opening import opened_data
from .remoteconfig import find_remote

_ASKED_AT_ONCE = 1 << 15
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def pushed_commits(updates: str) -> list[Oid]:
    """The new values of refs, as a ``pre-receive`` hook reads them: ``OLD NEW REF`` a line.

    Raises
    ------
    InvalidInputError
        A line is not that.
    """
    found = []
    for line in updates.removesuffix("\n").split("\n") if updates else ():
        words = line.split(" ", 2)
        if len(words) != 3 or not _OID.fullmatch(words[1]):
            raise InvalidInputError(f"not a ref's update: {line[:80]!r}")
        if words[1].strip("0"):
            found.append(words[1])
    return [Oid(hex=oid) for oid in dict.fromkeys(found)]


def lacking_data(
    git: GitRepository, new: Sequence[Oid], store: SampleStore, objects: Path | None = None
) -> Lacking | None:
    """What `store` lacks of the samples that `new` commits name; None if nothing.

    Only commits that no ref leads to yet are looked at: the others were judged when they came.

    Parameters
    ----------
    objects
        Directory of objects that the repository is yet to take in.
    """
    lacking: set[Digest] = set()
    some: dict[tuple[str, str], None] = {}
    for needed in _batches(needed_by_file(git, new, _all_refs(git), objects=objects)):
        absent = store.missing(list(needed))
        lacking.update(absent)
        for digest in absent[: NAMED_AT_MOST - len(some)]:
            some[needed[digest]] = None
    return Lacking(len(lacking), tuple(some)) if lacking else None


def lacking_at(
    git: GitRepository, name: str, tip: Oid, base: Oid | None = None
) -> tuple[int, Lacking | None]:
    """What remote `name` lacks of the samples that commit `tip` names; nothing is transferred.

    Parameters
    ----------
    base
        Ask for what the commits since `base` name, each of them.

    Returns
    -------
    tuple
        How many samples were asked for, and what is lacking; None if nothing.
    """
    remote = find_remote(git, name)
    places = _named_at(git, tip) if base is None else needed_digests(git, [tip], [base])
    if not places:
        return 0, None
    asked, absent = list(places), []
    with opened_data(git, remote) as store:
        for at in range(0, len(asked), _ASKED_AT_ONCE):
            absent += store.missing(asked[at : at + _ASKED_AT_ONCE])
    some = tuple(places[digest] for digest in absent[:NAMED_AT_MOST])
    return len(asked), Lacking(len(absent), some) if absent else None


def _named_at(git: GitRepository, commit: Oid) -> NeededDigests:
    """Samples that one commit names, whichever commit brought them in."""
    snapshot = Snapshot(git, git.hangar_tree(commit), RecordCounts(Layout.of(git).counts))
    return {
        value[:DIGEST_SIZE_BYTES]: (records.name, key_text(key))
        for records in snapshot.arraysets()
        for key, value in records.load_all().items()
    }


def refusal(lacking: Lacking) -> str:
    """What is told to someone who pushes commits without their data."""
    return (
        f"the data of {lacking} is not here; 'git hangar push' sends it before the commits, as"
        " does 'git push' once 'git hangar install' has run"
    )


def _all_refs(git: GitRepository) -> list[Oid]:
    listed = run_git("for-each-ref", "--format=%(objectname)", git_dir=git.common_dir)
    return [Oid(hex=oid) for oid in dict.fromkeys(listed.stdout.decode().split())]


def _batches(files: Iterable[tuple[str, dict[Digest, str]]]) -> Iterator[NeededDigests]:
    batch: NeededDigests = {}
    for arrayset, keys in files:
        for digest, key in keys.items():
            batch[digest] = arrayset, key
        if len(batch) >= _ASKED_AT_ONCE:
            yield batch
            batch = {}
    if batch:
        yield batch
