"""``git hangar branch`` and ``git hangar checkout``."""

from __future__ import annotations

import click

from ..records.refs import list_branches
from ..staging.staged import read_staged
from ..staging.switching import switch_writer_branch
from .coloring import paint
from .opening import open_repository
from .output import json_option, print_json


@click.group()
def branch() -> None:
    """Create, delete and list branches."""


@branch.command()
@click.argument("name")
@click.argument("startpoint", required=False)
def create(name: str, startpoint: str | None) -> None:
    """Create a branch with NAME at STARTPOINT (short-digest or branch).

    By default the new branch starts at the last commit to the writer branch.
    """
    repository, _ = open_repository()
    made = repository.create_branch(name, startpoint)
    click.echo(f"Created BRANCH: {made.name} HEAD: {made.digest}")


@branch.command()
@click.argument("name")
@click.option("-f", "--force", is_flag=True, help="Delete it even if its history is not merged.")
def delete(name: str, force: bool) -> None:
    """Remove the branch pointer NAME; commits stay. It must be a local branch."""
    repository, _ = open_repository()
    gone = repository.remove_branch(name, force_delete=force)
    click.echo(f"Deleted BRANCH: {gone.name} HEAD: {gone.digest}")


@branch.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all branch names, local and remote; '*' marks the writer branch."""
    repository, git = open_repository()
    writer = read_staged(git).branch
    names = repository.list_branches()
    remote = set(names) - set(list_branches(git, remote=False))
    if as_json:
        print_json({"writer": writer, "branches": names})
        return
    for name in names:
        shown = paint(name, "added") if name == writer else name
        if name in remote:
            shown = paint(name, "deleted")
        click.echo(f"{'*' if name == writer else ' '} {shown}")


@click.command(short_help="Switch to a branch, and write to it from now on.")
@click.argument("branchname")
def checkout(branchname: str) -> None:
    """Switch to BRANCHNAME, and make it the branch that changes are staged for.

    Requires that nothing is staged, and that no process holds the writer lock.
    """
    _, git = open_repository()
    switch_writer_branch(git, branchname)
    click.echo(f"Writer checkout head set to branch: {branchname}")
