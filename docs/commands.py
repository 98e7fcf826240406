"""Write docs/commands.md: every command of ``git hangar``, from its own help. ``make man`` does."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from hangar_git.cli.main import PROGRAM, cli

HEAD = """\
# Commands

All commands of `git hangar`, as their own help describes them; `git hangar COMMAND -h` prints it,
and `git hangar --help` opens the manual page. `git hangar completion bash` (or `zsh`, `fish`)
prints a script that completes commands, revisions, arraysets and sample names.

*Samples* are named as `a7` or `str:10` (a string), `int:10` (the integer), or `OUTER/INNER` where
they are nested. *Revisions* are any that Git knows: branches, tags, oids, `main~2`. Commands that
report something print one JSON document with `--json`.

Exit codes: 0 done; 1 an error, one line on standard error, or something found, as by `fsck`; 2 a
command line that cannot be right; 130 interrupted.
"""


def reference() -> str:
    """The text of the page."""
    lines = [HEAD]
    with click.Context(cli, info_name=PROGRAM, **cli.context_settings) as ctx:
        for name, command, inner in _commands(cli, ctx):
            lines += [f"## git hangar {name}", "", *_usage(command, inner)]
            if isinstance(command, click.Group):
                for sub, one, innermost in _commands(command, inner):
                    lines += [f"### git hangar {name} {sub}", "", *_usage(one, innermost)]
    return "\n".join(lines).rstrip() + "\n"


def _commands(
    group: click.Group, ctx: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None  # it was listed
        with click.Context(command, parent=ctx, info_name=name) as inner:
            yield name, command, inner


def _usage(command: click.Command, ctx: click.Context) -> Iterator[str]:
    yield from ("```text", f"{ctx.command_path} {' '.join(command.collect_usage_pieces(ctx))}")
    yield from ("```", "", *_paragraphs(command.help or ""))
    records = [record for one in command.get_params(ctx) if "--help" not in one.opts
               if (record := one.get_help_record(ctx)) is not None and record[1]]  # fmt: skip
    if records:
        yield from ("| option | |", "| --- | --- |")
        for names, text in records:
            yield f"| `{_cell(names)}` | {_cell(_prose(text))} |"
        yield ""


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n[ ]*\n", inspect.cleandoc(text)):
        if paragraph.lstrip("\n").startswith("\b"):  # click's mark: leave lines as they are
            lines = [line for line in paragraph.split("\n") if line.strip("\b ")]
            yield from ("```text", *lines, "```", "")
        else:
            yield from (_prose(" ".join(paragraph.split())), "")


def _prose(text: str) -> str:
    """`text` as Markdown: what is quoted, and options, as code."""
    return re.sub(r"(?<![\w'])('[^' ][^']*'|--[a-z][\w-]*(?:=\w+)?)|[*_<`\\]", _marked, text)


def _marked(match: re.Match[str]) -> str:
    return f"`{match[1].strip(chr(39))}`" if match[1] else f"\\{match[0]}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    page = Path(__file__).with_name("commands.md")
    page.write_text(reference())
    sys.stdout.write(f"{page}\n")
