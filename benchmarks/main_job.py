"""The main job: write, read, iterate, open, commit. `python benchmarks/main_job.py`."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))

from report import Report, Row, best, git_bytes, median, scratch, timed
from workloads import load

from hangar_git import Repository

Array = NDArray[Any]
counter = itertools.count()


def new_repository(root: Path) -> Repository:
    path = root / f"repo{next(counter)}"
    path.mkdir()
    repo = Repository(path, exists=False)
    repo.init("Bench", "bench@example.org")
    return repo


def write_all(repo: Repository, data: Array, name: str = "images") -> str:
    """Write and commit all of `data` inside a context manager; the commit."""
    co = repo.checkout(write=True)
    aset = co.arraysets.init_arrayset(name, prototype=data[0])
    with aset:
        for i, sample in enumerate(data):
            aset[i] = sample
    commit = co.commit("write")
    co.close()
    return commit


def raw_write(path: Path, data: Array) -> None:
    """Floor of writing: hash every sample, write the bytes, fsync."""
    with path.open("wb") as file:
        for sample in data:
            raw = sample.tobytes()
            blake3(raw).digest()
            file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def durable_singles(repo: Repository, data: Array) -> float:
    co = repo.checkout(write=True)
    aset = co.arraysets.init_arrayset("singles", prototype=data[0])

    def run() -> None:
        for i, sample in enumerate(data):
            aset[i] = sample

    seconds = timed(run)
    co.reset_staging_area()
    return seconds


def raw_h5py(root: Path, data: Array) -> Path:
    path = root / "floor.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset(
            "samples", data=data, chunks=(1, *data.shape[1:]), **hdf5plugin.Blosc("lz4", 5, 1)
        )
    return path


def digits(report: Report) -> None:
    data = load("digits")
    n = len(data)
    order = np.random.default_rng(0).permutation(n)[:10_000].tolist()
    with scratch() as root:
        seconds = min(timed(lambda: write_all(new_repository(root), data)) for _ in range(3))
        floor = best(lambda: raw_write(root / "floor", data))
        report.add(Row("write 50,000 x 28x28 in `with`, commit included", n / seconds, "/s", 40_000,
                       n / floor, "hash + one file"))  # fmt: skip

        repo = new_repository(root)
        seconds = min(durable_singles(repo, data[:5_000]) for _ in range(3))
        report.add(
            Row("write one at a time outside `with`, each durable", 5_000 / seconds, "/s", 3_000)
        )

        write_all(repo, data)
        with h5py.File(raw_h5py(root, data)) as file:
            dataset = file["samples"]
            floor = best(lambda: [dataset[i] for i in order])

        def random_reads() -> None:
            aset = repo.checkout()["images"]
            for i in order:
                aset[i]

        report.add(Row("10,000 random single reads, verified, checkout included",
                       10_000 / best(random_reads, 5), "/s", 80_000, 10_000 / floor, "h5py loop"))  # fmt: skip

        def iterate() -> None:
            for _ in repo.checkout()["images"].values():
                pass

        report.add(Row("iterate all 50,000 in order", n / best(iterate, 5), "/s", 120_000))
        seconds, grown = one_change(repo, data)
        report.add(
            Row(
                "commit one changed sample among 50,000",
                seconds * 1e3,
                "ms",
                25,
                more_is_better=False,
            )
        )
        report.add(Row("its growth in Git", grown / 1e3, "kB", 20, more_is_better=False))


def one_change(repo: Repository, data: Array) -> tuple[float, float]:
    """Median seconds, and mean growth of the Git objects, of committing one changed sample."""
    co = repo.checkout(write=True)
    aset = co["images"]
    before = git_bytes(Path(repo.path))
    changes = itertools.count(1)
    times = []

    def commit_one() -> None:
        i = next(changes)
        aset[i * 37] = np.roll(data[i * 37], i) + 1
        co.commit("one change")

    for _ in range(15):
        times.append(timed(commit_one))
    co.close()
    return sorted(times)[len(times) // 2], (git_bytes(Path(repo.path)) - before) / len(times)


def photographs(report: Report) -> None:
    data = load("images")
    with scratch() as root:
        seconds = min(timed(lambda: write_all(new_repository(root), data)) for _ in range(3))
        floor = best(lambda: raw_write(root / "floor", data))
    megabytes = data.nbytes / 1e6
    report.add(Row("write 2,000 x 224x224x3", megabytes / seconds, "MB/s", 400, megabytes / floor,
                   "hash + one file"))  # fmt: skip


def opening(report: Report) -> None:
    data = load("digits")
    with scratch() as root:
        repo = new_repository(root)
        co = repo.checkout(write=True)
        for name, part in (("a", data), ("b", data)):
            aset = co.arraysets.init_arrayset(name, prototype=part[0])
            with aset:
                for i, sample in enumerate(part):
                    aset[i] = sample
        co.commit("two arraysets")
        co.close()
        path = repo.path

        def open_and_read() -> None:
            checkout = Repository(path).checkout()
            checkout["b", 777]
            checkout.close()

        report.add(Row("open a read checkout and read one sample, 100,000 samples",
                       median(open_and_read, 15) * 1e3, "ms", 10, more_is_better=False))  # fmt: skip


_MILLION = """
import resource, sys, time
sys.path.insert(0, sys.argv[2])
import main_job
from hangar_git import Repository
from workloads import load
data = load("tiny")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
repo = Repository(sys.argv[1], exists=False)
repo.init("Bench", "bench@example.org")
start = time.perf_counter()
main_job.write_all(repo, data)
print(time.perf_counter() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024)
"""


def million(report: Report) -> None:
    data = load("tiny")
    with scratch() as root:
        here = str(Path(__file__).parent)
        done = subprocess.run([sys.executable, "-c", _MILLION, str(root), here],
                              capture_output=True, text=True, check=True)  # fmt: skip
        seconds, peak = map(float, done.stdout.split())
        report.add(
            Row("first commit of 1,000,000 8x8 samples", seconds, "s", 30, more_is_better=False)
        )
        report.add(
            Row("its peak memory, the data included", peak / 1e9, "GB", 1.5, more_is_better=False)
        )
        repo = Repository(root)
        seconds, grown = one_change(repo, data)
        report.add(Row("commit one changed sample among 1,000,000", seconds * 1e3, "ms", 100,
                       more_is_better=False))  # fmt: skip
        report.add(Row("its growth in Git ", grown / 1e3, "kB", more_is_better=False))

        def open_and_read() -> None:
            checkout = Repository(root).checkout()
            checkout["images", 777_777]
            checkout.close()

        report.add(Row("open a read checkout and read one sample, 1,000,000 samples",
                       median(open_and_read, 9) * 1e3, "ms", more_is_better=False))  # fmt: skip


def main() -> None:
    report = Report("The main job")
    chosen = sys.argv[1:] or ["digits", "photographs", "opening", "million"]
    for name in chosen:
        globals()[name](report)
    report.print()


if __name__ == "__main__":
    main()
