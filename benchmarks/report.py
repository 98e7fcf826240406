"""Timing, and a table of figures against their targets and floors."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import hangar_git


@dataclass
class Row:
    """One figure: what was done, how fast, the least that was asked, the floor of this run."""

    work: str
    value: float
    unit: str
    target: float | None = None
    floor: float | None = None
    floor_name: str = ""
    more_is_better: bool = True

    @property
    def met(self) -> str:
        if self.target is None:
            return ""
        good = self.value >= self.target if self.more_is_better else self.value <= self.target
        return "yes" if good else f"NO ({self.value / self.target:.2f}x)"


@dataclass
class Report:
    """Rows, printed as they come and as a table in the end."""

    title: str
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(f"  {row.work}: {row.value:,.4g} {row.unit} {row.met}", flush=True)

    def print(self) -> None:
        print(f"\n## {self.title}\n")
        print(machine() + "\n")
        print("| work | measured | at least | met | floor of this run | of the floor |")
        print("| --- | --- | --- | --- | --- | --- |")
        for row in self.rows:
            target = "" if row.target is None else f"{row.target:,.4g} {row.unit}"
            floor = "" if row.floor is None else f"{row.floor:,.4g} {row.unit} ({row.floor_name})"
            ratio = "" if not row.floor else f"{row.value / row.floor:.2f}"
            print(
                f"| {row.work} | {row.value:,.4g} {row.unit} | {target} | {row.met} | {floor} | {ratio} |"
            )


def machine() -> str:
    """What the figures were measured on."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.processor(),
    )  # fmt: skip
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout
    return (
        f"{model}, {os.cpu_count()} cores; Python {platform.python_version()};"
        f" {git.strip()}; hangar_git {hangar_git.__version__}; warm cache"
    )


def best(function: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of the fastest of several runs."""
    return min(timed(function) for _ in range(repeats))


def median(function: Callable[[], object], repeats: int = 9) -> float:
    """Median seconds of several runs."""
    return statistics.median(timed(function) for _ in range(repeats))


def timed(function: Callable[[], object]) -> float:
    """Seconds of one run."""
    gc.collect()
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="hangar-bench-") as directory:
        yield Path(directory)


def git_bytes(repo: Path) -> int:
    """Bytes of all Git objects of a repository, loose and packed, indexes included."""
    return sum(f.stat().st_size for f in (repo / ".git" / "objects").rglob("*") if f.is_file())
