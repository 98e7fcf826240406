"""Which samples a repository's history names: for fsck, gc and du, at the cost of what it holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pygit2.enums import ObjectType

from ..digest import Digest
from .gitprogram import run_git
from .gitrepo import HANGAR_DIR, GitRepository, Oid
from .worktrees import worktrees

_RECORD_PATH = re.compile(rf"{re.escape(HANGAR_DIR)}/arraysets/([^/]+)/records/.+")
_DIGEST_COLUMN = re.compile(rb"^[0-9a-f]{8}\t([^\t\n]+)\t([0-9a-f]{64})", re.MULTILINE)
_OID = re.compile(r"^[0-9a-f]{40}\b", re.MULTILINE)
_PSEUDO_REFS = ("HEAD", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD", "ORIG_HEAD",
                "BISECT_HEAD", "FETCH_HEAD")  # fmt: skip


class RecordFile(NamedTuple):
    """One version of a record file, somewhere in the history."""

    arrayset: str
    path: str
    oid: Oid


def record_files(git: GitRepository, *, extra: Iterable[Oid] = ()) -> Iterator[RecordFile]:
    """Every version of every record file that anything leads to, once.

    Roots are all refs, reflogs, stashes and indexes, of all worktrees, what a merge, rebase or the
    like in progress is on, and `extra` commits or trees.

    Raises
    ------
    StateError
        Git objects are missing: the repository is a partial clone, or damaged.
    """
    roots = [str(oid) for oid in (*extra, *_in_progress(git))]
    listed = run_git(
        "rev-list", "--objects", "--all", "--reflog", "--indexed-objects", "--stdin",
        git_dir=git.common_dir, stdin="".join(f"{root}\n" for root in roots).encode(),
    )  # fmt: skip
    for line in listed.stdout.decode(errors="surrogateescape").splitlines():
        oid, _, path = line.partition(" ")
        if match := _RECORD_PATH.fullmatch(path):
            # Trees below records/ have such paths, too: a blob is what can be read.
            yield RecordFile(match[1], path, Oid(hex=oid))


def _in_progress(git: GitRepository) -> Iterator[Oid]:
    for git_dir in {git.common_dir, *(tree.git_dir for tree in worktrees(git))}:
        for name in _PSEUDO_REFS:
            try:
                text = (git_dir / name).read_text(errors="replace")
            except OSError:
                continue
            oids = (Oid(hex=match[0]) for match in _OID.finditer(text))
            yield from (oid for oid in oids if git.has(oid))


def named_samples(git: GitRepository, file: RecordFile) -> list[tuple[str, Digest]]:
    """Key, as written, and digest of every record of a record file; none if it is a tree."""
    kind, data = git.pygit2.odb.read(file.oid)
    if kind != ObjectType.BLOB:
        return []
    fromhex = bytes.fromhex
    return [(key.decode(), fromhex(d.decode())) for key, d in _DIGEST_COLUMN.findall(data)]


def reachable_digests(git: GitRepository, *, extra: Iterable[Oid] = ()) -> dict[str, set[Digest]]:
    """Arrayset name -> digests that its records name, anywhere in the history."""
    found: dict[str, set[Digest]] = {}
    for file in record_files(git, extra=extra):
        digests = found.setdefault(file.arrayset, set())
        digests.update(digest for _, digest in named_samples(git, file))
    return found


def ref_state(git: GitRepository) -> bytes:
    """A text that changes whenever a ref, or the HEAD of a worktree, moves."""
    refs = run_git("for-each-ref", "--format=%(refname) %(objectname)", git_dir=git.common_dir)
    heads = [(tree.git_dir / "HEAD").read_bytes() for tree in worktrees(git)]
    return b"\n".join([refs.stdout, *heads])
