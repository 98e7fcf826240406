"""Remotes: push, clone, fetch-data and streaming over a server on loopback, as whole commands.

``python benchmarks/remotes.py`` runs all. Set PYTHONPATH to the source tree if it is not installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import numpy as np
import workloads
from report import Report, Row, best, scratch, timed
from store import filled

from hangar_git import Repository

SERVER = """
import sys
from hangar_git.cli.server import server_command
from hangar_git.remotes.localstore import LocalSamples
server_command(lambda path: LocalSamples(path / "hangar"))(sys.argv[1:], standalone_mode=False)
"""


def hangar(*arguments: str, cwd: Path) -> float:
    """Seconds of one command, Python's start included."""
    command = [sys.executable, "-m", "hangar_git.cli.main", *arguments]
    return timed(lambda: subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL))


class Server:
    """A server of one empty repository, in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, "--ip", "127.0.0.1", "--port", "0",
             "--default", str(directory)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.address = "localhost:" + line.split(":")[1].split(";")[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


def main() -> None:
    report = Report("Remotes")
    digits = workloads.load("digits")
    with scratch() as directory, Server(directory / "served") as server:
        repo = filled(directory / "repo", digits)
        path, clone = Path(repo.path), directory / "clone"
        branch = repo.list_branches()[0]
        raw = best(digits.tobytes)
        repo.remote.add("origin", server.address)
        row(report, "push 50,000 digits", hangar("push", "origin", branch, cwd=path), 2.0)
        changes = []
        for number in range(5):
            co = repo.checkout(write=True)
            co["data", number] = np.full((28, 28), number, np.uint8)
            co.commit(f"change {number}")
            co.close()
            changes.append(hangar("push", "origin", branch, cwd=path))
        row(report, "push after one change", min(changes), 0.25)
        identity = ("--name", "Bench", "--email", "bench@example.org")
        clone.mkdir()
        row(
            report,
            "clone of 50,000 records",
            hangar("clone", server.address, *identity, cwd=clone),
            0.5,
        )
        streaming(report, Repository(clone), len(digits))
        row(
            report,
            "fetch-data of 50,000 digits",
            hangar("fetch-data", "origin", branch, cwd=clone),
            2.0,
        )
        row(
            report, "fetch-data of nothing", hangar("fetch-data", "origin", branch, cwd=clone), None
        )
        bare = best(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
        print(f"    python starts in {bare:.3f} s; the digits are copied in {raw:.3f} s")
    report.print()


def row(report: Report, work: str, seconds: float, target: float | None) -> None:
    report.add(Row(work, seconds, "s", target, more_is_better=False))


def streaming(report: Report, repo: Repository, count: int) -> None:
    rng = np.random.default_rng(1)
    for what, batches in (
        ("each sample once", np.array_split(rng.permutation(count), count // 256)),
        ("with repetitions", list(rng.integers(0, count, (count // 128, 256)))),
    ):
        co = repo.checkout(stream="origin")
        aset = co["data"]
        aset.keys()
        start = time.perf_counter()
        for batch in batches:
            aset.get_batch(batch.tolist())
        seconds = time.perf_counter() - start
        co.close()
        total = sum(map(len, batches))
        work = f"streaming random batches of 256, {what}"
        report.add(Row(work, total / seconds, "samples/s", 20_000))


if __name__ == "__main__":
    main()
