"""Which samples a remote must hold before it may take commits: those that the commits bring in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from ..digest import Digest
from ..records.gitprogram import run_git
from ..records.gitrepo import HANGAR_DIR, GitRepository, Oid

NeededDigests: TypeAlias = dict[Digest, tuple[str, str]]
"""Digest -> an arrayset and a key, as it is written, that name it."""

NAMED_AT_MOST = 3
"""Of samples that lack, how many are named."""

_ARRAYSETS = f"{HANGAR_DIR}/arraysets"
# Commits come from others: what is no name or key is no record to any reader, and must not reach a
# terminal. A link would be read as a record file, if it stood in the place of one.
_PATH = re.compile(rf"{re.escape(_ARRAYSETS)}/([A-Za-z0-9_][A-Za-z0-9._-]*)/records/.+".encode(),
                   re.DOTALL)  # fmt: skip
_RECORD = re.compile(rb"^[0-9a-f]{8}\t([!-~]+)\t([0-9a-f]{64})(?=[\t\n])", re.MULTILINE)
_BLOB_MODES = (b"100", b"120")
_COMMITS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Lacking:
    """Samples that commits name and that are not where they are needed.

    Parameters
    ----------
    count
        How many.
    some
        Arrayset and key, as written, of a few.
    """

    count: int
    some: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        shown = ", ".join(f"{arrayset}/{key}" for arrayset, key in self.some)
        more = f" and {self.count - len(self.some):,} more" if self.count > len(self.some) else ""
        return f"{shown}{more}"


class _Changed(NamedTuple):
    """A record file that a commit changed, and its versions in the commit's parents."""

    arrayset: str
    oid: bytes
    former: tuple[bytes, ...]


def needed_digests(
    git: GitRepository,
    new: Sequence[Oid],
    known: Sequence[Oid],
    *,
    objects: Path | None = None,
) -> NeededDigests:
    """Samples that history up to `new` names, and history up to `known` need not have named.

    Parameters
    ----------
    git, new, known, objects
        As for `needed_by_file`, and raises what that raises.
    """
    found: NeededDigests = {}
    for arrayset, keys in needed_by_file(git, new, known, objects=objects):
        for digest, key in keys.items():
            found.setdefault(digest, (arrayset, key))
    return found


def needed_by_file(
    git: GitRepository,
    new: Sequence[Oid],
    known: Sequence[Oid],
    *,
    objects: Path | None = None,
) -> Iterator[tuple[str, dict[Digest, str]]]:
    """Arrayset and digest -> key of what `needed_digests` gives, record file by record file.

    Costs what the commits in between changed: of a record file that differs from its parents'
    versions, the records that none of these has. The same digest may come more than once.

    Parameters
    ----------
    git
        The repository.
    new
        Commits, or tags, that are to be taken.
    known
        Those of which all samples are known to be there. Ones that this repository lacks are
        passed over.
    objects
        Directory of objects that the repository is yet to take in: of a push being judged.

    Raises
    ------
    StateError
        A Git object is missing: the repository is a partial clone, or damaged.
    FormatError
        A record file is missing.
    """
    # What is sent is what stands in the objects, whatever this clone shows in their place.
    environment = {"GIT_NO_REPLACE_OBJECTS": "1"}
    if objects is not None:
        git.pygit2.odb.add_disk_alternate(str(objects))
        environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = _alternates(objects)
    seen: set[tuple[bytes, tuple[bytes, ...]]] = set()
    for changed in _changed_files(git, new, known, environment):
        if (changed.oid, changed.former) in seen:
            continue  # the same change, picked onto another branch
        seen.add((changed.oid, changed.former))
        records = _new_records(git, changed)
        if records:
            fromhex = bytes.fromhex
            yield (
                changed.arrayset,
                {fromhex(digest.decode()): key.decode() for digest, key in records.items()},
            )


def _changed_files(
    git: GitRepository, new: Sequence[Oid], known: Sequence[Oid], environment: Mapping[str, str]
) -> Iterator[_Changed]:
    here = [oid for oid in known if git.has(oid)]
    revisions = "".join([*(f"{oid}\n" for oid in new), *(f"^{oid}\n" for oid in here)]).encode()
    listed = run_git(
        "rev-list", "--stdin", git_dir=git.common_dir, stdin=revisions, environment=environment
    ).stdout
    commits = listed.splitlines(keepends=True)
    for start in range(0, len(commits), _COMMITS_AT_ONCE):
        # Combined: of a merge, only files that differ from those of all its parents. Renames
        # would put another file in the place of the parent's version.
        changes = run_git(
            "diff-tree", "--stdin", "-z", "-r", "-c", "--root", "--raw", "--no-abbrev",
            "--no-renames", "--no-commit-id", "--", _ARRAYSETS,
            git_dir=git.common_dir, environment=environment,
            stdin=b"".join(commits[start : start + _COMMITS_AT_ONCE]),
        ).stdout  # fmt: skip
        fields = iter(changes.split(b"\0"))
        for field in fields:
            if field.startswith(b":"):
                yield from _parsed(field, next(fields))


def _alternates(objects: Path) -> str:
    others = os.environ.get("GIT_ALTERNATE_OBJECT_DIRECTORIES", "")
    quoted = f'"{objects!s}"' if ":" in str(objects) else str(objects)
    return f"{quoted}:{others}" if others else quoted


def _parsed(field: bytes, path: bytes) -> Iterator[_Changed]:
    """A line of ``diff-tree --raw``: ``:`` for each parent, modes, oids, status; and its path."""
    parents = len(field) - len(field.lstrip(b":"))
    words = field[parents:].split(b" ")
    modes, oids = words[: parents + 1], words[parents + 1 : 2 * parents + 2]
    match = _PATH.fullmatch(path)
    if match is None or not modes[-1].startswith(_BLOB_MODES):
        return
    former = [
        oid for mode, oid in zip(modes, oids[:-1], strict=False) if mode.startswith(_BLOB_MODES)
    ]
    yield _Changed(match[1].decode(), oids[-1], tuple(sorted(former)))


def _new_records(git: GitRepository, changed: _Changed) -> dict[bytes, bytes]:
    """Digest, in hex -> key of each record that stands in no former version of the file."""
    lines = _lines(git, changed.oid)
    gone: set[bytes] = set()
    for former in changed.former:
        before = _lines(git, former)
        gone |= before - lines
        lines -= before
    # Only lines that differ are parsed. A digest may have moved to another key.
    records = {digest: key for key, digest in _RECORD.findall(b"\n".join([*lines, b""]))}
    for _, digest in _RECORD.findall(b"\n".join([*gone, b""])):
        records.pop(digest, None)
    return records


def _lines(git: GitRepository, oid: bytes) -> set[bytes]:
    return set(git.read_blob(Oid(hex=oid.decode())).split(b"\n"))
