"""The references name what there is, and all of it; the site is built without a warning."""

from __future__ import annotations

import re
import subprocess
import sys

import click
import pytest

import hangar_git
from hangar_git import errors, external
from hangar_git.cli.main import HIDDEN, PROGRAM, cli
from hangar_git.cli.pluginoptions import PluginCommand

from .pages import DOCS, PAGES, ROOT

sys.path.insert(0, str(DOCS))
import commands  # docs/commands.py, which writes the page

REFERENCE = (DOCS / "commands.md").read_text()
API = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
CALL = re.compile(r"git[ -]hangar\s+((?:[a-z][a-z-]*\s*){1,2})([^`'\n|;&)$]*)")
NO_COMMANDS = {"is", "or", "and", "itself", "keeps", "writes", "reads", "needs", "has"}


def every_command():
    def below(group, name):
        with click.Context(group, info_name=name) as ctx:
            for one in group.list_commands(ctx):
                command = group.get_command(ctx, one)
                yield f"{name} {one}", command
                if isinstance(command, click.Group):
                    yield from below(command, f"{name} {one}")

    return dict(below(cli, PROGRAM))


COMMANDS = every_command()


def test_the_page_of_commands_is_that_of_the_commands():
    """`make man` writes it."""
    assert commands.reference().splitlines() == REFERENCE.splitlines()


def test_every_command_has_its_section_and_no_section_is_of_none():
    assert re.findall(r"^#+ (git hangar .+)$", REFERENCE, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_that_a_page_names_exist(page):
    for match in CALL.finditer(page.read_text()):
        words, rest = match[1].split(), match[2]
        if words[0] in HIDDEN or words[0] in NO_COMMANDS:
            continue
        name = f"{PROGRAM} {words[0]}"
        assert name in COMMANDS, match[0]
        command = COMMANDS[name]
        if isinstance(command, click.Group) and len(words) > 1:
            assert f"{name} {words[1]}" in COMMANDS, match[0]
            command = COMMANDS[f"{name} {words[1]}"]
        if page.name != "commands.md":
            known = {
                option for one in command.params for option in (*one.opts, *one.secondary_opts)
            }
            used = re.findall(r"(?<!\S)(--[a-z][\w-]*=?)", rest)
            if isinstance(command, PluginCommand):  # takes those of plugins, as --NAME=VALUE
                used = [option for option in used if not option.endswith("=")]
            used = [option.rstrip("=") for option in used]
            assert {*used} - known - {"--help"} == set(), match[0]


def test_what_the_package_offers_is_in_the_api_reference():
    for name in hangar_git.__all__:
        if name != "__version__":
            assert re.search(rf"hangar_git\.{name}\b", API), name
    for name in set(external.__all__) - {"board_show", "load", "save", "show"}:
        assert f"hangar_git.external.{name}" in API, name
    assert "automodule:: hangar_git.external" in API
    assert "automodule:: hangar_git.errors" in API
    assert all(isinstance(vars(errors)[name].__doc__, str) for name in vars(errors)
               if name.endswith("Error"))  # fmt: skip


def test_objects_of_the_api_reference_exist():
    from pydoc import locate

    named = re.findall(r"^\.\. auto\w+:: ([\w.]+)", API, re.MULTILINE)
    assert len(named) > 30
    for name in named:
        assert locate(name) is not None, name


def test_the_site_is_built_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "dirhtml", "-d",
         str(tmp_path / "trees"), str(DOCS), str(tmp_path / "site")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    built = {path.relative_to(tmp_path / "site").parent for path in
             (tmp_path / "site").rglob("index.html")}  # fmt: skip
    pages = {page.relative_to(DOCS).with_suffix("") for page in PAGES if DOCS in page.parents}
    assert {p.parent if p.name == "index" else p for p in pages} <= built


def test_every_page_begins_with_its_title_and_is_reached_from_the_index():
    index = (DOCS / "index.md").read_text()
    for page in PAGES:
        text = page.read_text()
        assert text.startswith(("# ", "```{include}")), page
        name = page.relative_to(DOCS).with_suffix("") if DOCS in page.parents else None
        if name is not None and name.parts[0] not in ("api", "decisions") and str(name) != "index":
            assert f"\n{name}\n" in index, page
