"""``git hangar merge``, ``resolve`` and ``revert``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..api.choices import stored_choice
from ..errors import ConflictError, InvalidInputError
from ..records.gitrepo import GitRepository, Oid
from ..records.merge import Conflict
from ..records.refs import branch_tip
from ..records.refs import resolve as resolve_revision
from ..staging.mergestate import conflict_id
from ..staging.merging import (
    abort_merge,
    choose_in_state,
    continue_merge,
    stopped_conflicts,
)
from ..staging.merging import merge as merge_into
from ..staging.resolving import POLICIES
from ..staging.session import WriteSession
from ..staging.undoing import revert as revert_commit
from .names import sample_name
from .opening import open_repository
from .output import json_option, print_json


@click.command(short_help="Merge a branch into the writer branch.")
@click.argument("branch", required=False)
@click.option("-m", "--message", "messages", multiple=True, help="Message of the merge commit.")
@click.option("--ours", "policy", flag_value="ours", help="Settle all conflicts by our side.")
@click.option("--theirs", "policy", flag_value="theirs", help="Settle all by their side.")
@click.option("--resolve", "policy", type=click.Choice(POLICIES), help="Settle all by a policy.")
@click.option("--continue", "continued", is_flag=True, help="Commit a merge that had stopped.")
@click.option("--abort", is_flag=True, help="End a merge that had stopped; nothing is changed.")
@json_option
def merge(
    branch: str | None,
    messages: tuple[str, ...],
    policy: str | None,
    continued: bool,
    abort: bool,
    as_json: bool,
) -> None:
    """Merge BRANCH (or any revision) into the writer branch, sample by sample.

    A merge with conflicts stops. Settle them with 'git hangar resolve', then --continue.
    """
    if (branch is not None) + continued + abort != 1:
        raise click.UsageError("give a BRANCH, --continue or --abort")
    _, git = open_repository()
    session = WriteSession(git)
    try:
        if abort:
            abort_merge(session)
            if as_json:
                _print_commit(session, git, branch_tip(git, session.branch), as_json=True)
            else:
                click.echo(f"The merge was ended; branch {session.branch} is as before")
            return
        if continued:
            commit = continue_merge(session)
        else:
            assert branch is not None
            message = "\n".join(messages) or f"Merge {branch} into {session.branch}"
            commit = merge_into(session, branch, f"{message}\n", policy, stop=True)
        _print_commit(session, git, commit, as_json=as_json)
    except ConflictError as error:
        if as_json:
            print_json({"branch": session.branch, "commit": None,
                        "conflicts": [_conflict_json(one) for one in error.conflicts]})  # fmt: skip
        else:
            _list_conflicts(error)
        raise click.exceptions.Exit(1) from error
    finally:
        session.close()


def _print_commit(
    session: WriteSession, git: GitRepository, commit: Oid | None, *, as_json: bool
) -> None:
    if as_json:
        print_json({"branch": session.branch, "commit": str(commit) if commit else None,
                    "conflicts": []})  # fmt: skip
        return
    assert commit is not None
    subject = git.commit(commit).message.split("\n", 1)[0]
    click.echo(f"[{session.branch} {str(commit)[:12]}] {subject}")


def _conflict_json(conflict: Conflict) -> dict[str, Any]:
    return {"type": conflict.kind, "arrayset": conflict.arrayset, "key": conflict.key,
            "text": str(conflict)}  # fmt: skip


def _list_conflicts(error: ConflictError) -> None:
    click.echo("The merge stopped at conflicts:", err=True)
    for conflict in error.conflicts:
        click.echo(f"    {conflict}", err=True)
    click.echo(
        "Settle them with 'git hangar resolve', then 'git hangar merge --continue'; or end the"
        " merge with 'git hangar merge --abort'",
        err=True,
    )


@click.command(short_help="Settle conflicts of a merge that stopped.")
@click.argument("arrayset", required=False)
@click.argument("key", required=False)
@click.option("--metadata", "metadata", help="Settle a conflict of this metadata key.")
@click.option("--all", "all_of_them", is_flag=True, help="Settle all conflicts.")
@click.option("--ours", "choice", flag_value="ours", help="Take our side.")
@click.option("--theirs", "choice", flag_value="theirs", help="Take their side.")
@click.option("--base", "choice", flag_value="base", help="Take what both sides started from.")
@click.option("--delete", "choice", flag_value="delete", help="Remove it.")
@click.option(
    "--value", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take the array in this .npy file; of metadata, the text in the file.",
)  # fmt: skip
@json_option
def resolve(
    arrayset: str | None,
    key: str | None,
    metadata: str | None,
    all_of_them: bool,
    choice: str | None,
    file: Path | None,
    as_json: bool,
) -> None:
    """Settle the conflict of sample KEY of ARRAYSET; without KEY, that of its schema."""
    if (choice is None) == (file is None):
        raise click.UsageError("give one of --ours, --theirs, --base, --delete, --value FILE")
    if (arrayset is not None) + (metadata is not None) + all_of_them != 1:
        raise click.UsageError("give an ARRAYSET, --metadata KEY or --all")
    _, git = open_repository()
    session = WriteSession(git)
    try:
        state = session.merge_state.require()
        conflicts = {conflict_id(c): c for c in stopped_conflicts(git, session.snapshot_of, state)}
        name = "*" if all_of_them else _id(arrayset, key, metadata, conflicts)
        if file is not None:
            if name not in conflicts:
                raise InvalidInputError(f"the merge has no conflict {name!r}")
            choice = _stored(session, conflicts[name], file)
        assert choice is not None
        choose_in_state(session, name, choice)
        left = len(conflicts.keys() - session.merge_state.require().choices.keys())
        if as_json:
            print_json({"left": left, "conflicts": len(conflicts)})
            return
        click.echo(f"{left} of {len(conflicts)} conflicts left to settle")
    finally:
        session.close()


def _id(
    arrayset: str | None, key: str | None, metadata: str | None, conflicts: dict[str, Conflict]
) -> str:
    sample: Any = None
    if metadata is not None:
        sample = sample_name(metadata)
    elif key is not None:
        sample = sample_name(key)
    name = conflict_id(Conflict("t3", arrayset, sample, None, None, None))
    if name not in conflicts and isinstance(sample, str) and sample.isdecimal():
        # A bare number is a str, as everywhere; unless only the int is in conflict.
        other = conflict_id(Conflict("t3", arrayset, int(sample), None, None, None))
        return other if other in conflicts else name
    return name


def _stored(session: WriteSession, conflict: Conflict, file: Path) -> str:
    if conflict.arrayset is None:
        return "value:" + file.read_text().rstrip("\n").encode().hex()
    import numpy as np

    try:
        array = np.load(file, allow_pickle=False)
    except ValueError as error:
        raise InvalidInputError(f"{file}: not a .npy file: {error}") from error
    value = stored_choice(session, conflict, array)
    session.area.flush_data()
    return "value:" + value.hex()


@click.command(short_help="Commit the inverse of a commit's data.")
@click.argument("commit")
@click.option("-m", "--message", "messages", multiple=True, help="Message of the new commit.")
@json_option
def revert(commit: str, messages: tuple[str, ...], as_json: bool) -> None:
    """Commit to the writer branch the inverse of what COMMIT did to the data."""
    _, git = open_repository()
    session = WriteSession(git)
    try:
        found: Oid = resolve_revision(git, commit)
        new = revert_commit(session, found, "\n".join(messages) or None)
        _print_commit(session, git, new, as_json=as_json)
    finally:
        session.close()
