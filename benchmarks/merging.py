"""Diff and merge. `python benchmarks/merging.py`."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from main_job import new_repository, write_all
from report import Report, Row, best, git_bytes, scratch, timed
from workloads import load

from hangar_git import Repository


def branches(repo: Repository, data: np.ndarray, n: int, changes: int) -> None:
    """Branches "changed" with `changes` samples changed; "ours" and "theirs" with as many added."""
    shape, dtype = data.shape[1:], data.dtype
    rng = np.random.default_rng(1)
    for name in ("changed", "ours", "theirs"):
        repo.create_branch(name, "start")
    co = repo.checkout(write=True, branch="changed")
    aset = co["images"]
    with aset:
        for key in rng.permutation(n)[:changes].tolist():
            aset[key] = rng.integers(0, 255, shape).astype(dtype)
    co.commit("changed")
    co.close()
    for branch, first in (("ours", n), ("theirs", 2 * n)):
        co = repo.checkout(write=True, branch=branch)
        aset = co["images"]
        with aset:
            for key in range(first, first + changes):
                aset[key] = rng.integers(0, 255, shape).astype(dtype)
        co.commit(branch)
        co.close()


def measure(report: Report, name: str, label: str, diff_ms: float, merge_ms: float) -> None:
    data = load(name)
    with scratch() as root:
        repo = new_repository(root)
        write_all(repo, data)
        git = ("git", "-C", repo.path)
        subprocess.run([*git, "tag", "start"], check=True)
        branches(repo, data, len(data), 1000)
        path = Path(repo.path)
        seconds = best(lambda: repo.diff("start", "changed"), 5)
        found = repo.diff("start", "changed").diff
        assert len(found.mutated.samples) == 1000
        report.add(Row(f"diff of 1,000 changes, {label}", seconds * 1e3, "ms", diff_ms,
                       more_is_better=False))  # fmt: skip

        def merge_fresh(number: int, prefix: str) -> float:
            branch = f"{prefix}{number}"
            subprocess.run([*git, "branch", branch, "ours"], check=True)
            return timed(lambda: repo.merge("merge", branch, "theirs"))

        before = git_bytes(path)
        times = [merge_fresh(i, "m") for i in range(5)]
        report.add(Row(f"three-way merge of 1,000 + 1,000 additions, {label}", min(times) * 1e3,
                       "ms", merge_ms, more_is_better=False))  # fmt: skip
        report.add(Row(f"its growth in Git, {label}", (git_bytes(path) - before) / 5e3, "kB"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    report.add(Row(f"peak memory of this process so far, {label}", peak / 1e9, "GB"))


def main() -> None:
    report = Report("Diff and merge")
    measure(report, "digits", "50,000 samples", 20, 80)
    if "--small" not in sys.argv:
        measure(report, "tiny", "1,000,000 samples", 700, 1500)
    report.print()


if __name__ == "__main__":
    main()
