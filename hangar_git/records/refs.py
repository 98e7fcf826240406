"""Branches and revisions: read, create, move by compare-and-swap, remove."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pygit2
from pygit2.enums import ObjectType

from ..durable import fsync_path
from ..errors import (
    AlreadyExistsError,
    InvalidInputError,
    RevisionNotFoundError,
    StateError,
    StorageError,
    did_you_mean,
)
from .gitrepo import GitRepository, Oid, fsynced_git_writes

HEADS = "refs/heads/"
REMOTES = "refs/remotes/"


def branch_tip(git: GitRepository, name: str) -> Oid | None:
    """The commit that branch `name` (or remote-tracking ``origin/x``) is at; None if unborn."""
    for prefix in (HEADS, REMOTES):
        reference = git.pygit2.references.get(prefix + name)
        if reference is not None:
            return _oid(reference.resolve())
    return None


def _oid(reference: pygit2.Reference) -> Oid:
    target = reference.target
    assert isinstance(target, Oid)  # of a direct reference
    return target


def head_commit(git: GitRepository) -> Oid | None:
    """The commit that HEAD of this worktree is at; None if unborn."""
    return None if git.pygit2.head_is_unborn else _oid(git.pygit2.head)


def resolve(git: GitRepository, revision: str) -> Oid:
    """The commit that any Git revision (branch, tag, short oid, ``HEAD~2``) means.

    Raises
    ------
    RevisionNotFoundError
        There is none, or a short oid means several.
    """
    tip = branch_tip(git, revision) if _valid_branch(revision) else None
    if tip is not None:
        return tip
    try:
        found = git.pygit2.revparse_single(revision)
        return found.peel(ObjectType.COMMIT).id
    except (KeyError, pygit2.GitError, ValueError) as error:
        why = (
            "means several commits" if "ambiguous" in str(error) else "is no branch, tag or commit"
        )
        hint = did_you_mean(revision, list_branches(git)) if "several" not in why else ""
        raise RevisionNotFoundError(
            f"revision {revision!r} {why} of this repository{hint}"
        ) from error


def head_branch(git: GitRepository) -> str | None:
    """The branch that HEAD of this worktree is on, born or not; None when detached."""
    target = git.pygit2.references.get("HEAD")
    raw = target.raw_target if target is not None else None
    if isinstance(raw, bytes) and raw.startswith(HEADS.encode()):
        return raw.decode()[len(HEADS) :]
    return None


def list_branches(git: GitRepository, *, remote: bool = True) -> list[str]:
    """Local branches, then with `remote` the remote-tracking ones (``origin/x``), each sorted."""
    names = list(git.pygit2.references)
    local = sorted(name[len(HEADS) :] for name in names if name.startswith(HEADS))
    if not remote:
        return local
    remotes = sorted(
        name[len(REMOTES) :]
        for name in names
        if name.startswith(REMOTES) and not name.endswith("/HEAD")
    )
    return local + remotes


def all_tips(git: GitRepository) -> Iterator[tuple[str, Oid]]:
    """Name and commit of every ref that leads to one, tags peeled."""
    for name in sorted(git.pygit2.references):
        try:
            yield name, git.pygit2.references[name].peel(pygit2.Commit).id
        except (KeyError, pygit2.GitError, pygit2.InvalidSpecError):
            continue  # a symbolic ref to nowhere, or a tag of something else


def _valid_branch(name: object) -> bool:
    return (
        isinstance(name, str)
        and name not in ("", "HEAD", "@")
        and not name.startswith("-")
        and not any("\ud800" <= letter <= "\udfff" for letter in name)  # what was no UTF-8
        and bool(pygit2.reference_is_valid_name(HEADS + name))
    )


def checked_branch_name(name: object) -> str:
    """`name` if Git allows it as a branch name."""
    if not _valid_branch(name):
        raise InvalidInputError(
            f"branch name {name!r} is not valid; see 'git help check-ref-format'"
        )
    return str(name)


def create_branch(git: GitRepository, name: str, base: Oid) -> None:
    """Create branch `name` at commit `base`."""
    checked_branch_name(name)
    if HEADS + name in git.pygit2.references:
        raise AlreadyExistsError(f"branch {name!r} already exists")
    if clash := _clashing(git, name):
        raise AlreadyExistsError(f"branch {name!r} cannot stand beside branch {clash!r}")
    move_ref(git, HEADS + name, None, base, f"branch: Created from {base}")


def _clashing(git: GitRepository, name: str) -> str | None:
    """A branch that `name` would be a directory of, or that would be one of `name`; or None."""
    for ref in git.pygit2.references:
        other = ref[len(HEADS) :]
        if ref.startswith(HEADS) and (other.startswith(f"{name}/") or name.startswith(f"{other}/")):
            return other
    return None


def remove_branch(git: GitRepository, name: str) -> Oid:
    """Remove branch `name`; the commit it was at."""
    reference = git.pygit2.references.get(HEADS + name)
    if reference is None:
        hint = did_you_mean(name, list_branches(git, remote=False))
        raise RevisionNotFoundError(f"no local branch {name!r}{hint}")
    tip = _oid(reference.resolve())
    reference.delete()
    return tip


def move_ref(git: GitRepository, ref: str, old: Oid | None, new: Oid, message: str) -> None:
    """Durably move `ref` from `old` (None: it must not exist) to `new`, or change nothing.

    Raises
    ------
    StateError
        The ref is not at `old` any more, or another process has it locked.
    """
    references = git.pygit2.references
    try:
        with fsynced_git_writes():
            if old is None:
                git.pygit2.create_reference_direct(ref, new, False, message=message)
            else:
                reference = references.get(ref)
                if reference is None or reference.target != old:
                    raise StateError(f"{_short(ref)} moved meanwhile; nothing was changed")
                # libgit2 swaps only if the ref still is what was just read.
                reference.set_target(new, message)
    except (pygit2.GitError, pygit2.AlreadyExistsError, KeyError, OSError) as error:
        now = references.get(ref)
        if (now.target if now is not None else None) != old:
            raise StateError(f"{_short(ref)} moved meanwhile; nothing was changed") from error
        if re.search("lock", str(error)):
            raise StateError(f"{_short(ref)} is locked by another process: {error}") from error
        raise StorageError.of(OSError(None, str(error)), f"moving {_short(ref)}") from error
    # libgit2 syncs the ref's own directory; a new branch may have made directories above it.
    directory = (git.common_dir / ref).parent
    while directory != git.common_dir:
        if directory.is_dir():
            fsync_path(directory)
        directory = directory.parent


def merge_base(git: GitRepository, one: Oid, two: Oid) -> Oid | None:
    """Best common ancestor of two commits, or None."""
    return git.pygit2.merge_base(one, two)


def is_ancestor(git: GitRepository, old: Oid, new: Oid) -> bool:
    """Whether `old` is `new` or one of its ancestors."""
    return old == new or bool(git.pygit2.descendant_of(new, old))


def require_tip(git: GitRepository, name: str) -> Oid:
    """The commit that branch `name` is at.

    Raises
    ------
    NotFoundError
        No such branch, or it has no commit yet.
    """
    tip = branch_tip(git, name)
    if tip is None:
        raise RevisionNotFoundError(f"branch {name!r} does not exist, or has no commit yet")
    return tip


def _short(ref: str) -> str:
    return f"branch {ref[len(HEADS) :]!r}" if ref.startswith(HEADS) else ref
