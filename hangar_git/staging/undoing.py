"""Taking back: the inverse of a commit's data, and samples as an earlier commit has them."""

from __future__ import annotations

from collections.abc import Collection

from ..errors import DirtyStagingError, InvalidInputError, NotFoundError, StateError
from ..keys import SampleKey
from ..records.commit import write_commit
from ..records.edits import build_tree
from ..records.gitrepo import ObjectWriter, Oid
from ..records.merge import merge_snapshots
from ..records.refs import require_tip
from .mergestate import conflict_error
from .session import WriteSession


def revert(session: WriteSession, commit: Oid, message: str | None = None) -> Oid:
    """Commit the inverse of what `commit` did to the data; code stays as it is.

    Raises
    ------
    ConflictError
        What it changed was changed again since; nothing was changed.
    StateError
        It is a merge, or changed no data; or something is staged.
    """
    session.check()
    git = session.git
    if session.staged_edits():
        raise DirtyStagingError("changes are staged; commit or reset them before reverting")
    session.refuse_unfinished()
    found = git.commit(commit)
    if len(found.parent_ids) > 1:
        raise StateError(f"{str(commit)[:12]} is a merge, and has no one inverse")
    parent = found.parent_ids[0] if found.parent_ids else None
    tip = require_tip(git, session.branch)
    ours = session.snapshot_of(tip)
    merge = merge_snapshots(session.snapshot_of(commit), ours, session.snapshot_of(parent))
    if merge.conflicts:
        raise conflict_error(merge.conflicts, "Revert")
    edits = merge.edits.effective(ours)
    if not edits:
        raise StateError(f"{str(commit)[:12]} changed no data that is still as it left it")
    writer = ObjectWriter(git)
    built = build_tree(ours, edits, writer)
    subject = found.message.split("\n", 1)[0]
    text = message or f'Revert "{subject}"\n\nThis reverts the data of commit {commit}.\n'
    new = write_commit(git, writer, built.oid, text, [tip])
    session.move_to(new, f"hangar revert: {subject}")
    session.base.remember_counts(built.counts)
    return new


def restore(
    session: WriteSession, source: Oid, arrayset: str, keys: Collection[SampleKey]
) -> list[SampleKey]:
    """Stage samples as commit `source` has them: its values, and the absence of what it lacks.

    Parameters
    ----------
    session, source, arrayset
        As they say.
    keys
        Samples to restore; none for all.

    Returns
    -------
    list of SampleKey
        The samples that are staged.

    Raises
    ------
    NotFoundError
        The arrayset is not in `source`, or a key is in neither.
    InvalidInputError
        The arrayset has another schema now.
    """
    session.check()
    then = session.snapshot_of(source)
    old = then.arrayset(arrayset)
    staged = session.area.edits.arraysets.get(arrayset)
    if arrayset not in session.base.arrayset_trees or (staged is not None and staged.fresh):
        raise NotFoundError(f"arrayset {arrayset!r} is not in the commit that is written to")
    now = session.base.arrayset(arrayset)
    if now.schema.tag(arrayset) != old.schema.tag(arrayset):
        raise InvalidInputError(f"arrayset {arrayset!r} has another schema now than in the source")
    chosen = list(keys) or sorted(now.load_all().keys() | old.load_all().keys(), key=str)
    changed = []
    with session.area.deferring():
        for key in chosen:
            value, current = old.get(key), session.record(arrayset, key)
            if value is None and current is None:
                raise NotFoundError(f"sample {key!r} is neither there now nor in the source")
            if value != current:
                session.area.set_record(arrayset, key, value)
                changed.append(key)
    return changed
