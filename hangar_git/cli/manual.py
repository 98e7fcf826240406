"""Manual pages of all commands, made from their help: ``python -m hangar_git.cli.manual DIR``."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from ..version import __version__
from .main import PROGRAM, cli


def pages() -> dict[str, str]:
    """Text of each page by the name of its file: ``git-hangar.1``, ``git-hangar-import.1``."""
    found: dict[str, str] = {}
    with click.Context(cli, info_name=PROGRAM, **cli.context_settings) as ctx:
        found["git-hangar.1"] = _page(cli, ctx, PROGRAM)
        for name in cli.list_commands(ctx):
            command = cli.get_command(ctx, name)
            assert command is not None  # it was listed
            with click.Context(command, parent=ctx, info_name=name) as inner:
                found[f"git-hangar-{name}.1"] = _page(command, inner, f"{PROGRAM} {name}")
    return found


def _page(command: click.Command, ctx: click.Context, name: str) -> str:
    dashed = name.replace(" ", "-")
    lines = [
        f'.TH "{dashed.upper()}" "1" "" "hangar_git {__version__}" "hangar_git"',
        ".SH NAME",
        f"{_text(dashed)} \\- {_text(command.get_short_help_str(200).rstrip('.'))}",
        ".SH SYNOPSIS",
        f"\\fB{_text(name)}\\fR {_text(' '.join(command.collect_usage_pieces(ctx)))}",
        ".SH DESCRIPTION",
        *_paragraphs(command.help or ""),
        *_options(command, ctx),
    ]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for one in command.list_commands(ctx):
            inner = command.get_command(ctx, one)
            assert inner is not None  # it was listed
            pieces = " ".join(inner.collect_usage_pieces(ctx))
            lines += [".TP", f"\\fB{_text(one)}\\fR {_text(pieces)}"]
            if command is cli:
                lines.append(_text(inner.get_short_help_str(200)))
            else:
                lines += [*_paragraphs(inner.help or ""), ".RS"]
                lines += [*_options(inner, ctx, head=False), ".RE"]
    lines += [".SH SEE ALSO", "\\fBgit\\fR(1)" if command is cli else "\\fBgit-hangar\\fR(1)"]
    return "\n".join(lines) + "\n"


def _options(command: click.Command, ctx: click.Context, *, head: bool = True) -> Iterator[str]:
    records = [record for one in command.get_params(ctx)
               if (record := one.get_help_record(ctx)) is not None and record[1]]  # fmt: skip
    if not records:
        return
    if head:
        yield ".SH OPTIONS"
    for names, help_text in records:
        yield from (".TP", f"\\fB{_text(names)}\\fR", _text(help_text))


def _paragraphs(help_text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n[ ]*\n", inspect.cleandoc(help_text)):
        if paragraph.lstrip("\n").startswith("\b"):  # click's mark: leave lines as they are
            yield from (".PP", ".nf")
            yield from (_text(line) for line in paragraph.split("\n") if line.strip("\b "))
            yield ".fi"
        else:
            yield from (".PP", _text(" ".join(paragraph.split())))


def _text(text: str) -> str:
    """`text` as roff shows it: a dot or quote at its start is no request."""
    escaped = text.replace("\b", "").replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped


def main(directory: Path) -> None:
    """Write all pages to `directory`, and remove those of commands that are gone."""
    directory.mkdir(parents=True, exist_ok=True)
    written = pages()
    for path in directory.glob("*.1"):
        if path.name not in written:
            path.unlink()
    for name, text in written.items():
        (directory / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
