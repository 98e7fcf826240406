"""Every block of code in the documents runs and prints what the page shows, or says why not."""

from __future__ import annotations

import configparser
import json
import re
import tomllib

import pytest
import yaml

from .pages import PAGES, ROOT, RUNNABLE, blocks, check_page

NAMES = {str(page.relative_to(ROOT)): page for page in PAGES}
LANGUAGES = {"python", "console", "output", "text", "yaml", "toml", "hex", "abnf", "json", "ini"}
LANGUAGES |= {"{toctree}", "{eval-rst}", "{include}"}
CODE = re.compile(r"^\s*(\$ |import |from \S+ import )", re.MULTILINE)


def has_steps(page):
    return any(block.is_run for block in blocks(page.read_text()))


@pytest.mark.parametrize("name", [name for name, page in NAMES.items() if has_steps(page)])
def test_a_page_runs_and_prints_what_it_shows(name, tmp_path):
    check_page(NAMES[name], tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_name_their_language_and_commands_stand_in_console_blocks(name):
    for block in blocks(NAMES[name].read_text()):
        where = f"{name}:{block.line}"
        assert block.language in LANGUAGES, where
        if block.language not in RUNNABLE:
            assert CODE.search(block.text) is None, where


@pytest.mark.parametrize("name", NAMES)
def test_files_that_a_page_shows_can_be_read(name):
    readers = {"yaml": yaml.safe_load, "toml": tomllib.loads, "json": json.loads,
               "ini": configparser.ConfigParser(strict=False).read_string}  # fmt: skip
    for block in blocks(NAMES[name].read_text()):
        if block.language in readers:
            readers[block.language](block.text)


def test_what_is_shown_below_no_block_or_without_a_reason_is_noticed():
    with pytest.raises(AssertionError, match="stands before no block"):
        blocks("<!-- not run: why -->\n\ntext\n")
    (block,) = blocks("<!-- not run: needs a bucket -->\n```console\n$ false\n```\n")
    assert block.mark == "not run: needs a bucket"
    assert not block.is_run
    (block,) = blocks("<!-- not run: -->\n```console\n$ false\n```\n")
    assert block.is_run


PAGE = """
```console
$ echo a1b2c3d in $PWD
0000001 in .../work
$ cd / && cat <<END
> text
> END
text
$ cd - >/dev/null && mkdir sub && cd sub
```

```python
import os
print(os.path.basename(os.getcwd()))
```

```output
sub
```

<!-- hidden python
number = 7
-->

```python
print(number)
```

<!-- another terminal -->
```console
$ echo ready 50051; sleep 100
ready 50051
```
"""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("in .../work", "in .../other"), ("\ntext\n$", "\nother\n$"), ("\nsub\n", "\nother\n"),
     ("print(number)", "print(nothing)"), ("$ echo a", "$ false && echo a"),
     ("$ echo ready", "$ exit;"), ("a1b2c3d in", "b in")],
)  # fmt: skip
def test_a_page_that_shows_something_else_fails(right, wrong, tmp_path, monkeypatch):
    assert right in PAGE
    page = tmp_path / "page.md"
    monkeypatch.setattr(f"{check_page.__module__}.ROOT", tmp_path)
    for place, text in (("good", PAGE), ("bad", PAGE.replace(right, wrong))):
        page.write_text(text)
        (tmp_path / place).mkdir()
        if place == "good":
            check_page(page, tmp_path / place)
        else:
            with pytest.raises(AssertionError):
                check_page(page, tmp_path / place)
