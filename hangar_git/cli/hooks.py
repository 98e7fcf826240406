"""``git hangar install``, ``uninstall``, ``sync``, and what the hooks call."""

from __future__ import annotations

import click

from .opening import open_repository


@click.command()
def install() -> None:
    """Register merge and diff drivers and hooks in this clone.

    Hooks that are there already are kept: ours run them first.
    """
    from ..hooks.install import install as register

    chained = register(open_repository()[1])
    click.echo("installed the merge driver, the diff driver and the hooks")
    for name in chained:
        click.echo(f"the {name} hook that was there is run first")


@click.command()
def uninstall() -> None:
    """Take drivers and hooks out of this clone; what was there before is there again."""
    from ..hooks.install import uninstall as unregister

    unregister(open_repository()[1])
    click.echo("uninstalled")


@click.command()
def sync() -> None:
    """Do what a hook that did not run would have done.

    Finishes a commit that was interrupted, clears staged data that the branch holds, and brings
    index and worktree up to date.
    """
    from ..staging.withindex import finish_commit

    finish_commit(open_repository()[1])


@click.command(hidden=True, context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def hook(name: str, arguments: tuple[str, ...]) -> int:
    """Run the hook NAME; git calls it."""
    from ..hooks.run import run_hook

    return run_hook(name, arguments)
