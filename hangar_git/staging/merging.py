"""Merging another branch into the one that is being written to."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import DirtyStagingError, InvalidInputError, StateError
from ..records.commit import root_entries, write_commit
from ..records.edits import build_tree
from ..records.gitrepo import GitRepository, ObjectWriter, Oid
from ..records.merge import Conflict, Merge, Settled, merge_snapshots
from ..records.mergecommits import SnapshotOf, merge_base_snapshot, merge_bases, merged_code
from ..records.refs import branch_tip, is_ancestor, resolve
from ..records.snapshot import Snapshot
from ..records.worktrees import worktrees_on
from .mergestate import (
    MergeState,
    conflict_error,
    conflict_id,
    hide_in_worktrees,
    refuse_staged_code,
    show_in_worktrees,
)
from .resolving import Chooser, Policy, Resolution
from .session import WriteSession


class _Sides(NamedTuple):
    """The snapshots that are merged."""

    base: Snapshot
    ours: Snapshot
    theirs: Snapshot


def merge(
    session: WriteSession,
    revision: str,
    message: str,
    choose: Policy | str | Chooser | None = None,
    *,
    stop: bool = False,
) -> Oid:
    """Merge the commit that `revision` means into the session's branch.

    Parameters
    ----------
    session
        With nothing staged.
    revision
        Any Git revision.
    message
        Of the merge commit; a fast-forward makes none.
    choose
        Settles conflicts; see `Resolution`.
    stop
        At conflicts, leave a merge that can be continued; otherwise change nothing.

    Returns
    -------
    Oid
        The commit that the branch is at.

    Raises
    ------
    ConflictError
        Conflicts that nobody settled; `conflicts` lists them.
    StateError
        Something is staged, a merge is in progress, or the histories are unrelated.
    """
    session.check()
    git = session.git
    if session.staged_edits():
        raise DirtyStagingError(
            f"branch {session.branch!r} has staged changes; commit them, or drop them with"
            f" 'git hangar reset --staged', before merging"
        )
    session.refuse_unfinished()
    theirs, ours = resolve(git, revision), branch_tip(git, session.branch)
    session.snapshot_of(theirs).config.check_writable()
    if ours is not None and is_ancestor(git, theirs, ours):
        return ours
    if ours is None or is_ancestor(git, ours, theirs):
        session.move_to(theirs, f"hangar merge {revision}: Fast-forward")
        return theirs
    state = MergeState(session.branch, str(ours), str(theirs), message)
    return _merge_commits(session, state, choose, stop=stop)


def _merge_commits(
    session: WriteSession,
    state: MergeState,
    choose: Policy | str | Chooser | None,
    *,
    stop: bool,
) -> Oid:
    git = session.git
    ours, theirs = Oid(hex=state.ours), Oid(hex=state.theirs)
    bases = merge_bases(git, ours, theirs)
    base, disputed = merge_base_snapshot(git, session.snapshot_of, ours, theirs, bases)
    sides = _Sides(base, session.snapshot_of(ours), session.snapshot_of(theirs))
    resolution = Resolution(session.snapshot_of, ours, theirs, choose)
    result = merge_snapshots(*sides, resolution, disputed)
    code = merged_code(git, ours, theirs, bases)
    session.area.flush_data()
    writer = ObjectWriter(git)
    built = build_tree(sides.ours, result.edits, writer)
    if result.conflicts:
        if stop:
            root = writer.tree(root_entries(code, built.oid))
            writer.flush()
            _stop(session, state, sides, result, root)
        raise conflict_error(result.conflicts)
    new = write_commit(git, writer, built.oid, state.message, [ours, theirs], code)
    session.move_to(new, f"hangar merge: {state.message.splitlines()[0] if state.message else ''}")
    session.base.remember_counts(built.counts)
    return new


def _stop(
    session: WriteSession, state: MergeState, sides: _Sides, result: Merge, root: Oid
) -> None:
    git = session.git
    refuse_staged_code(worktrees_on(git, state.branch))
    session.merge_state.write(state)
    show_in_worktrees(git, state, root, sides, result.conflicts)


# -- a merge that stopped --------------------------------------------------------------------------


def stopped_conflicts(
    git: GitRepository, snapshot_of: SnapshotOf, state: MergeState
) -> list[Conflict]:
    """All conflicts of a stopped merge, those that a choice was made for included."""
    ours, theirs = Oid(hex=state.ours), Oid(hex=state.theirs)
    base, disputed = merge_base_snapshot(git, snapshot_of, ours, theirs)
    resolution = Resolution(snapshot_of, ours, theirs, None)
    sides = (base, snapshot_of(ours), snapshot_of(theirs))
    return merge_snapshots(*sides, resolution, disputed).conflicts


def choose_in_state(session: WriteSession, name: str, choice: str) -> None:
    """Note a choice for the conflict called `name` (see `conflict_id`), or with ``*`` for all.

    Raises
    ------
    StateError
        No merge is in progress.
    InvalidInputError
        It has no such conflict.
    """
    state = session.merge_state.require()
    names = [
        conflict_id(conflict)
        for conflict in stopped_conflicts(session.git, session.snapshot_of, state)
    ]
    chosen = names if name == "*" else [name]
    if not set(chosen) <= set(names):
        raise InvalidInputError(f"the merge has no conflict {name!r}; it has {', '.join(names)}")
    for one in chosen:
        state.choices[one] = choice
    session.merge_state.write(state)


def continue_merge(session: WriteSession) -> Oid:
    """Commit a stopped merge with the choices that were made.

    Raises
    ------
    ConflictError
        Some conflicts are not settled yet; the merge stays as it is.
    """
    state = session.merge_state.require()
    if str(branch_tip(session.git, state.branch)) != state.ours:
        raise StateError(f"branch {state.branch!r} moved since the merge began; abort it")

    def chooser(conflict: Conflict) -> Settled[object] | str | None:
        choice = state.choices.get(conflict_id(conflict))
        if choice is None or not (choice == "delete" or choice.startswith("value:")):
            return choice
        return Settled(None if choice == "delete" else _value(conflict, choice))

    left = [c for c in stopped_conflicts(session.git, session.snapshot_of, state)
            if conflict_id(c) not in state.choices]  # fmt: skip
    if left:
        raise conflict_error(left)
    hide_in_worktrees(session.git, state)
    commit = _merge_commits(session, state, chooser, stop=True)
    session.merge_state.clear()
    return commit


def _value(conflict: Conflict, choice: str) -> object:
    text = bytes.fromhex(choice.removeprefix("value:"))
    return text if conflict.arrayset is not None else text.decode()


def abort_merge(session: WriteSession) -> None:
    """End a stopped merge; branch, index and worktree are as before it."""
    state = session.merge_state.require()
    hide_in_worktrees(session.git, state)
    session.merge_state.clear()
