"""``git hangar commit``."""

from __future__ import annotations

import click

from ..errors import InvalidInputError, StateError
from ..records.gitprogram import run_git
from ..records.gitrepo import GitRepository
from ..records.refs import head_branch
from ..staging.staged import Staged, read_staged
from ..staging.withindex import commit_with_index
from .changes import change_lines, changes_json
from .opening import open_repository, writing
from .output import json_option, print_json


@click.command()
@click.option(
    "-m", "--message", "messages", multiple=True,
    help="The commit message; each further one becomes a new line. Without, your editor opens.",
)  # fmt: skip
@click.option(
    "--include-index", is_flag=True,
    help="Commit what stands in Git's index along with it, on the branch that HEAD is on.",
)  # fmt: skip
@json_option
def commit(messages: tuple[str, ...], include_index: bool, as_json: bool) -> None:
    """Commit what is staged.

    What is staged becomes a Git commit on the writer branch, and Git's own commands work on it.
    Files that are not tensor data, and Git's index, are committed only with --include-index.
    """
    repository, git = open_repository()
    staged = read_staged(git)
    if include_index:
        message = "\n".join(messages) if messages else _edited(git, staged)
        if not message.strip():
            raise InvalidInputError("the commit message is empty; nothing was committed")
        branch, digest = head_branch(git), commit_with_index(git, message.strip() + "\n")
        _report(branch, digest, message, staged, as_json=as_json)
        return
    with writing(repository) as checkout:
        staged = read_staged(git)
        if not staged.edits:
            raise StateError("nothing is staged; there is nothing to commit")
        message = "\n".join(messages) if messages else _edited(git, staged)
        if not message.strip():
            raise InvalidInputError("the commit message is empty; nothing was committed")
        message = message.strip() + "\n"
        branch, digest = checkout.branch_name, checkout.commit(message)
    _report(branch, digest, message, staged, as_json=as_json)


def _report(
    branch: str | None, digest: str, message: str, staged: Staged, *, as_json: bool
) -> None:
    if as_json:
        print_json({"branch": branch, "commit": digest, "message": message.rstrip("\n"),
                    **changes_json(staged)})  # fmt: skip
        return
    click.echo(f"[{branch} {digest[:12]}] {message.splitlines()[0]}")
    for line in change_lines(staged):
        click.echo(f"    {line}")


def _edited(git: GitRepository, staged: Staged) -> str:
    """The message that the user writes in the editor that Git would open."""
    lines = [
        "",
        "# Enter the commit message for your changes. Lines starting with '#' are ignored,",
        "# and an empty message aborts the commit.",
        "#",
        f"# On branch {staged.branch}",
        *(f"#     {line}" for line in change_lines(staged)),
    ]
    editor = run_git("var", "GIT_EDITOR", git_dir=git.git_dir, check=False).stdout.decode().strip()
    if not editor:
        raise StateError("there is no editor to write a message in; give one with -m")
    text = click.edit("\n".join(lines) + "\n", editor=editor, extension=".gitcommit")
    written = text.splitlines() if text is not None else []
    return "\n".join(line.rstrip() for line in written if not line.startswith("#"))
