"""The side store: bulk writes and reads, images, volumes, slices, disk, fsck, reading while repacking.

``python benchmarks/store.py [NAME ...]`` runs all, or those named.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import workloads
import zarr
from blake3 import blake3
from report import Report, Row, best, git_bytes, scratch, timed
from xxhash import xxh3_64_intdigest

from hangar_git import Repository
from hangar_git.threads import cpu_count


def repository(path: Path) -> Repository:
    path.mkdir()
    repo = Repository(path, exists=False)
    repo.init("Bench", "bench@example.org")
    return repo


def add_batch(report: Report) -> None:
    digits = workloads.load("digits")

    def run() -> float:
        with scratch() as directory:
            co = repository(directory / "repo").checkout(write=True)
            aset = co.arraysets.init_arrayset("digits", digits.shape[1:], digits.dtype)
            seconds = timed(lambda: aset.add_batch(range(len(digits)), digits))
            co.close()
            return seconds

    seconds = min(run() for _ in range(4))
    with scratch() as directory:
        floor = best(lambda: _raw_file(directory / "raw", digits.tobytes()))
    report.add(
        Row("`add_batch` 50,000 x 28x28, durable", len(digits) / seconds, "/s", 150_000,
            len(digits) / floor, "one raw file, fsync")
    )  # fmt: skip


def _raw_file(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def get_batch(report: Report) -> None:
    digits = workloads.load("digits")
    with scratch() as directory:
        repo = filled(directory / "repo", digits)
        co = repo.checkout()
        aset = co["data"]
        rng = np.random.default_rng(1)
        batches = [rng.integers(0, len(digits), 256).tolist() for _ in range(200)]
        aset.get_batch(batches[0])
        first = timed(lambda: [aset.get_batch(batch) for batch in batches])
        again = best(lambda: [aset.get_batch(batch) for batch in batches])
        floor = best(lambda: [digits[batch] for batch in batches])
        n = 256 * len(batches)
        report.add(
            Row("`get_batch` of 256 random digits, repeated", n / again, "samples/s", 150_000,
                n / floor, "NumPy fancy index in memory")
        )  # fmt: skip
        report.add(Row("the same, batches not read before", n / first, "samples/s"))
        co.close()


def filled(path: Path, data: np.ndarray, **arguments: object) -> Repository:
    """A repository with the rows of `data` committed, keys 0 to n - 1."""
    repo = repository(path)
    co = repo.checkout(write=True)
    aset = co.arraysets.init_arrayset("data", data.shape[1:], data.dtype, **arguments)
    aset.add_batch(range(len(data)), data)
    co.commit("data")
    co.close()
    return repo


def images(report: Report) -> None:
    data = workloads.load("images")
    with scratch() as directory:
        repo = filled(directory / "repo", data)
        co = repo.checkout()
        aset = co["data"]
        order = np.random.default_rng(1).permutation(len(data)).tolist()
        parts = [order[at : at + 64] for at in range(0, len(order), 64)]

        def one_by_one() -> None:
            for key in order:
                aset[key]

        def in_batches(threads: int) -> None:
            for part in parts:
                aset.get_batch(part, n_cpus=threads)

        one = best(one_by_one, 5)
        rates = {}
        for threads in (1, 2):
            rates[threads] = data.nbytes / best(lambda t=threads: in_batches(t), 5)
        floor = data.nbytes / best(data.copy)
        report.add(
            Row("2,000 images in random order, one by one", data.nbytes / one / 1e9, "GB/s", 2,
                floor / 1e9, "memcpy")
        )  # fmt: skip
        report.add(
            Row(
                "the same in batches of 64, 1 thread",
                rates[1] / 1e9,
                "GB/s",
                2,
                floor / 1e9,
                "memcpy",
            )
        )
        raw = _raw_reads(directory / "raw", data)
        report.add(
            Row("2 threads, of 1 thread", rates[2] / rates[1], "x", 1.7, raw, "raw pread + xxh3")
        )  # fmt: skip
        co.close()
        repo.maintenance.repack(codec={"complib": "zstd"})
        co = repo.checkout()
        aset = co["data"]
        seconds = [best(lambda t=t: in_batches(t)) for t in (1, 2)]
        report.add(Row("2 threads, of 1 thread, zstd", seconds[0] / seconds[1], "x", 1.7))
        co.close()


def _raw_reads(path: Path, data: np.ndarray) -> float:
    """How much faster two threads read and check images from one file than one does."""
    path.write_bytes(data.tobytes())
    size = data[0].nbytes
    fd = os.open(path, os.O_RDONLY)

    def read(numbers: range) -> None:
        for number in numbers:
            image = np.empty(size, np.uint8)
            os.preadv(fd, [image], number * size)
            xxh3_64_intdigest(image.data)

    def run(threads: int) -> None:
        parts = [range(i, len(data), threads) for i in range(threads)]
        workers = [threading.Thread(target=read, args=(part,)) for part in parts]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    ratio = best(lambda: run(1), 5) / best(lambda: run(2), 5)
    os.close(fd)
    return ratio


def volumes(report: Report) -> None:
    """20 volumes of 128x256x256 float32: smooth, with noise in the last bits, as scans are."""
    rng = np.random.default_rng(1)
    base = np.cumsum(rng.normal(size=(21, 128, 256, 256)).astype("f4"), axis=1)
    data = np.round(base[:20], 1)
    shape, chunks = data.shape[1:], (8, 128, 256)
    codec = hdf5plugin.Blosc(cname="lz4", clevel=9, shuffle=1)  # as ours
    slab = slice(48, 64)
    with scratch() as directory:

        def write_h5(name: str) -> Path:
            path = directory / name
            with h5py.File(path, "w") as file:
                dataset = file.create_dataset("v", data.shape, "f4", chunks=(1, *chunks), **codec)
                for number, volume in enumerate(data):
                    dataset[number] = volume
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
            return path

        floors = [timed(lambda i=i: write_h5(f"{i}.h5")) for i in range(2)]
        times = []
        for number in range(2):
            repo = repository(directory / f"r{number}")
            co = repo.checkout(write=True)
            aset = co.arraysets.init_arrayset("data", shape, "f4")
            assert aset.backend == "20"

            def write(aset=aset, co=co) -> None:
                with aset:
                    for key, volume in enumerate(data):
                        aset[key] = volume
                co.commit("volumes")

            times.append(timed(write))
            co.close()
        gb = data.nbytes / 1e9
        ratio_row(report, "20 volumes: write and commit", min(times), min(floors), gb)
        co = repo.checkout()
        aset = co["data"]
        with h5py.File(directory / "0.h5") as file:
            whole = best(lambda: [aset[key] for key in range(20)])
            whole_h5 = best(lambda: [file["v"][key] for key in range(20)])
            ratio_row(report, "20 volumes: read whole", whole, whole_h5, gb)
            part = best(lambda: [aset[key, slab] for key in range(20)])
            part_h5 = best(lambda: [file["v"][key, slab] for key in range(20)])
            ratio_row(report, "20 volumes: read 16 slices of each", part, part_h5, gb / 8)
        read = bytes_read(lambda: [aset[key, slab] for key in range(20)])
        encoded = sum(p.stat().st_size for p in Path(repo.path, ".git/hangar/containers").iterdir())
        report.add(
            Row("bytes read for the slabs, of their own encoded bytes", read / (encoded / 8), "x",
                1.5, more_is_better=False)
        )  # fmt: skip
        co.close()
        store = zarr.create_array(directory / "z", shape=data.shape, chunks=(1, *chunks),
                                  shards=(1, *shape), dtype="f4")  # fmt: skip
        store[0] = data[0]
        report.add(Row("zarr-python, one 16-slice slab", best(lambda: store[0, slab]) * 1e3, "ms"))
        report.add(Row("ours, one 16-slice slab", part / 20 * 1e3, "ms"))


def ratio_row(report: Report, work: str, seconds: float, floor: float, gb: float) -> None:
    report.add(Row(f"{work}, of raw h5py's time", seconds / floor, "x", 1.3, more_is_better=False))
    print(f"    {gb / seconds:.2f} GB/s against {gb / floor:.2f}")


def bytes_read(work: Callable[[], object]) -> int:
    total, pread = 0, os.pread

    def counting(fd: int, size: int, offset: int) -> bytes:
        nonlocal total
        data = pread(fd, size, offset)
        total += len(data)
        return data

    os.pread = counting
    try:
        work()
    finally:
        os.pread = pread
    return total


def disk(report: Report) -> None:
    digits = workloads.load("digits")
    with scratch() as directory:
        repo = filled(directory / "repo", digits)
        git = Path(repo.path, ".git")
        total = sum(file.stat().st_size for file in git.rglob("*") if file.is_file())
        parts = {
            name: sum(f.stat().st_size for f in (git / "hangar" / name).rglob("*") if f.is_file())
            for name in ("containers", "index")
        }
        print(f"    containers {parts['containers'] / 1e6:.1f}, index {parts['index'] / 1e6:.1f},"
              f" Git objects {git_bytes(Path(repo.path)) / 1e6:.1f} MB")  # fmt: skip
        report.add(
            Row("disk for 50,000 digits, all of .git", total / 1e6, "MB", 18, more_is_better=False)
        )


def fsck(report: Report) -> None:
    data = np.concatenate([workloads.load("images") ^ np.uint8(i) for i in range(4)])
    with scratch() as directory:
        repo = filled(directory / "repo", data)
        raw = data[:2000].tobytes()
        one_core = len(raw) / best(lambda: blake3(raw).digest())
        rate = data.nbytes / best(lambda: repo.maintenance.fsck(full=True))
        floor = one_core * cpu_count()
        report.add(
            Row("fsck --full of 8,000 images, of BLAKE3 on all cores", rate / floor, "x", 0.7,
                floor / 1e9, "GB/s of BLAKE3")
        )  # fmt: skip
        print(f"    {rate / 1e9:.2f} GB/s")


def repacking(report: Report) -> None:
    digits = workloads.load("digits")[:20_000]
    with scratch() as directory:
        repo = filled(directory / "repo", digits)
        co = repo.checkout()
        aset = co["data"]
        rng = np.random.default_rng(1)

        def latencies(until: Callable[[int], bool]) -> np.ndarray:
            taken: list[float] = []
            while not until(len(taken)):
                key = int(rng.integers(0, len(digits)))
                start = time.perf_counter()
                array = aset[key]
                taken.append(time.perf_counter() - start)
                assert array[14, 14] == digits[key, 14, 14]
            return np.array(taken)

        latencies(lambda n: n > 20_000)
        alone = latencies(lambda n: n > 50_000)
        process = subprocess.Popen(
            [sys.executable, "-m", "hangar_git.cli.main", "repack", "--codec", "zstd"],
            cwd=repo.path, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        done = threading.Event()
        threading.Thread(target=lambda: (process.wait(), done.set()), daemon=True).start()
        during = latencies(lambda _: done.is_set())
        assert process.returncode == 0
        p99 = [float(np.quantile(x, 0.99)) for x in (alone, during)]
        print(f"    p99 alone {p99[0] * 1e6:.0f} us, while repacking {p99[1] * 1e6:.0f} us")
        report.add(
            Row("p99 of a read while `repack` runs, of alone", p99[1] / p99[0], "x", 3,
                more_is_better=False)
        )  # fmt: skip
        co.close()


ALL = {f.__name__: f for f in (add_batch, get_batch, images, volumes, disk, fsck, repacking)}


def main() -> None:
    report = Report("Side store")
    for name in sys.argv[1:] or ALL:
        ALL[name](report)
    report.print()


if __name__ == "__main__":
    main()
