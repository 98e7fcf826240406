"""Pages of the documents as programs: their blocks of code, run in order, and what they print.

A page is one session: ``console`` blocks run in one bash, ``python`` blocks in one Python that
works where the shell stands. What a page shows of the output is compared, ``...`` standing for
anything and one oid for another: below a ``$`` line in a console block, and in an ``output`` block
after a Python block. Comments say what differs:

- ``<!-- not run: REASON -->``: the next block is only shown;
- ``<!-- another terminal -->``: the next block goes on running, once it has printed what it shows;
- ``<!-- with MODULE -->``: the next block runs where that module is installed;
- ``<!-- hidden console`` or ``<!-- hidden python``, code, ``-->``: runs, and is not shown.

Port 50051 is replaced by one that is free; ``$PROJECT`` is the directory of this project.
``python tests/docs/pages.py PAGE`` runs a page, and writes into it what was printed.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
RUNNABLE = ("python", "console")
PORT = "50051"

_OID = re.compile(r"\b[0-9a-f]{7,64}\b")
_COMMENT = re.compile(
    r"<!-- (not run: .+|another terminal|with \w+|hidden \w+)\s*(.*?)-->", re.DOTALL
)
_SETTINGS = """\
[user]
	name = Ada
	email = ada@example.org
[init]
	defaultBranch = main
[advice]
	detachedHead = false
[protocol "file"]
	allow = always
"""
_DRIVER = """\
import contextlib, io, json, os, sys, traceback
names = {"__name__": "__main__"}
sys.argv = [""]
answers = os.fdopen(os.dup(1), "w")
for line in sys.stdin:
    block = json.loads(line)
    os.chdir(block["cwd"])
    with open(block["output"], "w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        try:
            exec(compile(block["code"], block["page"], "exec"), names)
            failed = False
        except BaseException:
            traceback.print_exc()
            failed = True
        sys.stdout.flush()
    print(json.dumps(failed), file=answers, flush=True)
"""


@dataclass(frozen=True)
class Block:
    """A fenced block, or a hidden one.

    Parameters
    ----------
    language
        The first word after the fence.
    text
        What stands in it.
    line
        Number of its first line in the page, from 0.
    mark
        The comment before it.
    hidden
        Whether it stands in a comment.
    """

    language: str
    text: str
    line: int
    mark: str = ""
    hidden: bool = False

    @property
    def is_run(self) -> bool:
        return self.language in RUNNABLE and not self.mark.startswith("not run:")


@dataclass
class Step:
    """One command or Python block, and the lines of the page that show its output."""

    block: Block
    code: str
    shown: str = ""
    first: int = 0
    last: int = 0
    shows: bool = False


class PageError(AssertionError):
    """A block failed, or printed other things than the page shows."""


def blocks(text: str) -> list[Block]:
    """The blocks of a page. A mark counts for the block right after it."""
    found: list[Block] = []
    mark = ""
    for token in MarkdownIt().enable("table").parse(text):
        if token.type == "html_block":
            for match in _COMMENT.finditer(token.content):
                head, body = match.groups()
                mark = head.strip()
                if mark.startswith("hidden"):
                    found.append(Block(mark.split()[1], body, token.map[0] + 1, hidden=True))
                    mark = ""
        elif token.type == "fence":
            language = token.info.split()[0] if token.info else ""
            found.append(Block(language, token.content, token.map[0] + 1, mark))
            mark = ""
        elif token.type == "code_block":
            found.append(Block("indented", token.content, token.map[0], mark))
            mark = ""
        elif token.level == 0 and token.type in ("paragraph_open", "heading_open") and mark:
            raise PageError(f"line {token.map[0]}: {mark!r} stands before no block")
    return found


def steps(found: list[Block]) -> Iterator[Step]:
    """What is to be run, with what the page shows of its output."""
    for number, block in enumerate(found):
        if not block.is_run:
            continue
        if block.language == "python":
            after = found[number + 1] if number + 1 < len(found) else None
            if after is not None and after.language == "output":
                end = after.line + after.text.count("\n")
                yield Step(block, block.text, after.text, after.line, end, shows=True)
            else:
                yield Step(block, block.text)
        elif block.hidden:
            yield Step(block, block.text)
        else:
            yield from commands(block)


def commands(block: Block) -> Iterator[Step]:
    """The commands of a console block: ``$`` begins one, ``>`` goes on with it."""
    step = None
    for at, line in enumerate(block.text.splitlines(), block.line):
        if line.startswith("$ "):
            if step is not None:
                yield step
            step = Step(block, line[2:] + "\n", "", at + 1, at + 1)
        elif step is None:
            raise PageError(f"line {at + 1}: a console block begins with '$ '")
        elif line.startswith("> ") and not step.shows:
            step.code += line[2:] + "\n"
            step.first = step.last = at + 1
        else:
            step.shown += line + "\n"
            step.last = at + 1
            step.shows = True
    if step is not None:
        yield step


@dataclass
class Session:
    """A shell and a Python in a directory of their own, and what runs beside them."""

    place: Path
    page: str = "page"
    beside: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        home = self.place / "home"
        home.mkdir()
        (home / ".gitconfig").write_text(_SETTINGS)
        self.cwd = self.place / "work"
        self.cwd.mkdir()
        self.output = self.place / "output"
        with socket.create_server(("localhost", 0)) as free:
            self.port = str(free.getsockname()[1])
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("GIT_", "HANGAR_", "AWS_", "PYTHON"))}  # fmt: skip
        self.environment = kept | {
            "HOME": str(home),
            "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
            "PROJECT": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            # Pages run beside other tests, where threads that wait by spinning take minutes.
            "OMP_NUM_THREADS": "1",
        }
        self.shell = self._start("bash", "--noprofile", "--norc")
        self.python: subprocess.Popen[bytes] | None = None

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            arguments, cwd=self.cwd, env=self.environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def close(self) -> None:
        """End everything that this session started."""
        for process in (self.python, self.shell, *self.beside):
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        pipe.close()

    def run(self, step: Step) -> str:
        """What a step prints.

        Raises
        ------
        PageError
            It fails.
        """
        code = step.code.replace(PORT, self.port)
        if step.block.mark == "another terminal":
            printed, failed = self._beside(code, step.shown)
        elif step.block.language == "python":
            printed, failed = self._python(code, step.block.line)
        else:
            printed, failed = self._console(code)
        for found, shown in (self.port, PORT), (str(self.place), "..."), (str(ROOT), "$PROJECT"):
            printed = printed.replace(found, shown)
        printed = "".join(line.rstrip() + "\n" for line in printed.rstrip().splitlines())
        if failed:
            raise PageError(f"{self.page}:{step.block.line + 1}: failed:\n{step.code}\n{printed}")
        return printed

    def _console(self, code: str) -> tuple[str, bool]:
        script = self.place / "command"
        script.write_text(code)
        answer = _ask(
            self.shell,
            f". '{script}' </dev/null >'{self.output}' 2>&1; echo $? \"$PWD\"\n",
        )
        status, _, where = answer.rstrip("\n").partition(" ")
        self.cwd = Path(where or self.cwd)
        return self.output.read_text(), status != "0"

    def _python(self, code: str, line: int) -> tuple[str, bool]:
        if self.python is None:
            self.python = self._start(sys.executable, "-c", _DRIVER)
        request = {"code": "\n" * line + code, "page": self.page, "cwd": str(self.cwd),
                   "output": str(self.output)}  # fmt: skip
        answer = _ask(self.python, json.dumps(request) + "\n")
        return self.output.read_text(), answer != "false\n"

    def _beside(self, code: str, shown: str) -> tuple[str, bool]:
        """Start what goes on running; it is ready when it has printed what the page shows."""
        log = self.place / f"log{len(self.beside)}"
        with log.open("w") as errors:
            process = subprocess.Popen(
                ["timeout", "120", "bash", "-c", code], cwd=self.cwd, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                start_new_session=True,
            )  # fmt: skip
        self.beside.append(process)
        printed = ""
        while not matches(shown, printed.replace(self.port, PORT)):
            line = process.stdout.readline().decode()
            if not line:
                return printed + log.read_text(), True
            printed += line
        return printed, False


def _ask(process: subprocess.Popen[bytes], request: str) -> str:
    process.stdin.write(request.encode())
    process.stdin.flush()
    return process.stdout.readline().decode()


def matches(shown: str, printed: str) -> bool:
    """Whether `printed` is what a page shows."""
    one, two = (_OID.sub("<oid>", text).rstrip() + "\n" for text in (shown, printed))
    return doctest.OutputChecker().check_output(one, two, doctest.ELLIPSIS)


def difference(step: Step, printed: str) -> str:
    """How what is printed differs from what the page shows."""
    example = doctest.Example("", step.shown)
    flags = doctest.ELLIPSIS | doctest.REPORT_NDIFF
    return doctest.OutputChecker().output_difference(example, printed, flags)


def is_wanted(step: Step) -> bool:
    """Whether what a step needs is installed."""
    _, _, module = step.block.mark.partition("with ")
    return not module or importlib.util.find_spec(module) is not None


def run_page(page: Path, place: Path) -> list[tuple[Step, str]]:
    """Run a page in the empty directory `place`; each step, and what it printed.

    Raises
    ------
    PageError
        A step fails.
    """
    session = Session(place, str(page.relative_to(ROOT)))
    try:
        return [
            (step, session.run(step)) for step in steps(blocks(page.read_text())) if is_wanted(step)
        ]
    finally:
        session.close()


def check_page(page: Path, place: Path) -> None:
    """Run a page; PageError if a step fails, or prints other things than the page shows."""
    for step, printed in run_page(page, place):
        if step.shows and not matches(step.shown, printed):
            where = f"{page.relative_to(ROOT)}:{step.first + 1}"
            raise PageError(f"{where}: {step.code}\n{difference(step, printed)}")


def update_page(page: Path, place: Path) -> None:
    """Write what steps printed in place of what the page showed, where that is something else."""
    lines = page.read_text().splitlines(keepends=True)
    for step, printed in reversed(run_page(page, place)):
        if step.shows and not matches(step.shown, printed):
            lines[step.first : step.last] = printed.splitlines(keepends=True)
    page.write_text("".join(lines))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        scratch = Path(tempfile.mkdtemp(prefix="page-"))
        try:
            update_page(Path(argument).resolve(), scratch)
        finally:
            shutil.rmtree(scratch)
