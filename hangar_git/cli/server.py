"""``git hangar server``, and ``git hangar users``, which says who may use one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..errors import AlreadyExistsError, InvalidInputError, NotFoundError
from ..transfer.auth import Right, User, Users, edit_users, hash_password, with_token
from ..transfer.config import ServerConfig, ServerLimits
from ..transfer.hosting import overwrite_repository
from ..transfer.samples import SampleStore
from .output import json_option, print_json

SERVER_DIRECTORY = ".hangar_server"
"""Repository in the current directory that is served where no root is named, as in Hangar 0.4."""

_path = click.Path(path_type=Path)
_file = click.Path(path_type=Path, exists=True, dir_okay=False)
_directory = click.Path(path_type=Path, exists=True, file_okay=False)


def server_command(open_store: Callable[[Path], SampleStore] | None = None) -> click.Command:
    """``git hangar server``.

    Parameters
    ----------
    open_store
        Opens the samples of the repository at a path; pushes are then not checked. By default they
        are kept in the repository, or where ``--store`` says, and commits are taken only after
        their data.
    """

    @click.command(short_help="Serve repositories, their history and data.")
    @click.option("--ip", default="localhost", show_default=True, help="Address to listen on.")
    @click.option("--port", default=50051, show_default=True, help="Port to listen on.")
    @click.option(
        "--timeout",
        default=86400.0,
        show_default=True,
        help="Seconds after which the server stops by itself; 0: never.",
    )
    @click.option(
        "--overwrite",
        is_flag=True,
        help="Begin with an empty default repository, in place of the one that is there.",
    )
    @click.option("--root", type=_directory, help="Serve the repositories below this directory.")
    @click.option(
        "--default",
        type=_path,
        help=f"Repository for addresses without a path; {SERVER_DIRECTORY} unless --root is given.",
    )
    @click.option(
        "--store",
        metavar="ADDRESS",
        help="Keep data in this bucket or directory, such as s3://bucket/prefix or file:///dir,"
        " which several servers may share; by default it lies in the repositories.",
    )
    @click.option("--create", is_flag=True, help="Make repositories that are pushed to.")
    @click.option("--cert", type=_file, help="Certificate (PEM); the server then speaks TLS only.")
    @click.option("--key", type=_file, help="Key of the certificate (PEM).")
    @click.option("--client-ca", type=_file, help="Callers need a certificate of this authority.")
    @click.option("--users", type=_file, help="Users file; see 'git hangar users'.")
    @click.option(
        "--anonymous",
        type=click.Choice(["none", "read", "write", "force"]),
        help="What callers without credentials may do.",
    )
    @click.option("--metrics-port", type=int, help="Serve Prometheus metrics on this local port.")
    @click.option("--max-calls", default=64, show_default=True, help="Calls served at once.")
    @click.option(
        "--idle",
        default=120.0,
        show_default=True,
        help="Seconds after which a caller that does nothing is cut off.",
    )
    @click.option(
        "--grace",
        "grace_s",
        default=30.0,
        show_default=True,
        help="Seconds that running calls get to end.",
    )
    @click.option(
        "--git-option",
        multiple=True,
        metavar="NAME=VALUE",
        help="Setting for the git programs that serve fetches and pushes; may be repeated.",
    )
    def server(
        timeout: float,
        overwrite: bool,
        anonymous: str | None,
        max_calls: int,
        idle: float,
        git_option: tuple[str, ...],
        store: str | None,
        **settings: Any,
    ) -> None:
        """Serve repositories, their history and data, until stopped.

        Without --root, one repository in the current directory is served, and made if it is not
        there. SIGTERM and Ctrl-C let running transfers end; a second one cuts them off.
        """
        from ..remotes.receiving import refuse_other_hooks
        from ..remotes.serving import Served
        from ..transfer.address import parse_address
        from ..transfer.server import Server, serve

        if settings["root"] is None and settings["default"] is None:
            settings["default"] = Path.cwd() / SERVER_DIRECTORY
        if overwrite and settings["default"] is None:
            raise InvalidInputError("--overwrite is for a default repository; name it: --default")
        config = ServerConfig(
            timeout_s=timeout or None,
            anonymous=Right.parse(anonymous) if anonymous else None,
            git_options=git_option,
            limits=ServerLimits(concurrent_calls=max_calls, idle_s=idle),
            **settings,
        )
        if overwrite and config.default is not None:
            overwrite_repository(config.default)

        def ready(running: Server) -> None:
            click.echo(f"Hangar server at {config.ip}:{running.port}; stop it with Ctrl-C")
            sys.stdout.flush()

        if open_store is not None:
            serve(config, open_store, ready)
            return
        refuse_other_hooks(git_option)
        address = parse_address(store) if store else None
        with Served(address, config.root, config.default) as served:
            checked = replace(
                config,
                repository_options=served.git_options,
                git_environment=served.git_environment,
            )
            serve(checked, served.open_store, ready)

    return server


server = server_command()


@click.group()
def users() -> None:
    """Add, change, remove and list the users of a server.

    The server sees changes at once. Passwords and tokens are kept as hashes only.
    """


_users_file = click.option(
    "--file", "path", type=_path, default=Path("hangar-users.json"), show_default=True,
    help="The users file.",
)  # fmt: skip


@users.command()
@click.argument("name")
@_users_file
@click.option(
    "--right",
    "rights",
    multiple=True,
    metavar="RIGHT[:GLOB]",
    help="read, write or force, for the repositories that GLOB fits (all of them without one);"
    " may be repeated. Each includes the ones before.",
)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--token", "token_name", metavar="LABEL", help="Make a token instead; it is printed.")
@click.option("--update", is_flag=True, help="Change a user that is there.")
def add(
    name: str,
    path: Path,
    rights: Sequence[str],
    password_stdin: bool,
    token_name: str | None,
    update: bool,
) -> None:
    """Add the user NAME, with a password that is asked for, or with a token.

    The rights of the user 'anonymous' are those of callers without credentials.
    """
    grants = tuple(_grant(text) for text in rights)
    hashed = None
    if password_stdin:
        hashed = hash_password(sys.stdin.readline().rstrip("\r\n"))
    elif token_name is None and not update and name != "anonymous":
        hashed = hash_password(
            click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        )
    tokens: list[str] = []

    def change(present: Users) -> Users:
        user = present.by_name.get(name)
        if user is not None and not update:
            raise AlreadyExistsError(f"user {name!r} exists; change it with --update")
        if user is None and update:
            raise NotFoundError(f"no user {name!r} in {path}")
        user = user or User()
        user = replace(user, password=hashed or user.password, grants=grants or user.grants)
        if token_name is not None:
            user, token = with_token(user, token_name)
            tokens.append(token)
        return present.with_user(name, user)

    edit_users(path, change)
    click.echo(f"{'Changed' if update else 'Added'} user {name}", err=True)
    for token in tokens:
        click.echo(token)


@users.command()
@click.argument("name")
@_users_file
@click.option("--token", "token_name", metavar="LABEL", help="Remove only this token.")
def remove(name: str, path: Path, token_name: str | None) -> None:
    """Remove the user NAME, or one of its tokens."""

    def change(present: Users) -> Users:
        if token_name is None:
            return present.without_user(name)
        user = present.by_name.get(name, User())
        if token_name not in user.tokens:
            raise NotFoundError(f"user {name!r} has no token {token_name!r}")
        left = {label: value for label, value in user.tokens.items() if label != token_name}
        return present.with_user(name, replace(user, tokens=left))

    edit_users(path, change)
    click.echo(f"Removed {'token ' + token_name + ' of ' if token_name else ''}user {name}")


@users.command("list")
@_users_file
@json_option
def list_(path: Path, as_json: bool) -> None:
    """List users, how they identify themselves, and their rights."""
    rows = sorted(Users.load(path).by_name.items())
    if as_json:
        print_json(
            [
                {
                    "name": name,
                    "password": user.password is not None,
                    "tokens": sorted(user.tokens),
                    "rights": [f"{right.name.lower()}:{glob}" for right, glob in user.grants],
                }
                for name, user in rows
            ]
        )
        return
    for name, user in rows:
        means = ["password"] if user.password is not None else []
        means += [f"token {label}" for label in sorted(user.tokens)]
        rights = [f"{right.name.lower()}:{glob}" for right, glob in user.grants]
        click.echo("\t".join([name, ", ".join(means) or "-", " ".join(rights) or "-"]))


def _grant(text: str) -> tuple[Right, str]:
    right, _, glob = text.partition(":")
    return Right.parse(right), glob or "*"
