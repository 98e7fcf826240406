"""Beyond one machine: a commit read and written by two Dask processes, over a server on loopback.

``python benchmarks/workers.py`` runs all. Floors are one process with a clone. Processes,
server and driver share the processors of this machine, which they would not elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import dask.array as da
import numpy as np
import workloads
from distributed import Client, LocalCluster
from remotes import Server
from report import Report, Row, best, scratch, timed
from store import filled, repository

import hangar_git.dask
from hangar_git import Repository

REPEATS = 3


def main() -> None:
    report = Report("Beyond one machine")
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        client.run(lambda: __import__("hangar_git.dask").dask)  # imports are not what is measured
        for name in ("digits", "images"):
            reading(report, name)
            writing(report, name)
    report.print()


def reading(report: Report, name: str) -> None:
    """The sum of all samples: each is read once, and little comes back."""
    data = workloads.load(name)
    n, expected = len(data), int(data.sum(dtype=np.int64))
    with scratch() as directory, Server(directory / "served") as server:
        repo = filled(directory / "repo", data)
        branch = repo.list_branches()[0]
        repo.remote.add("origin", server.address)
        repo.remote.push("origin", branch)
        clone = directory / "clone"
        clone.mkdir()
        here = Repository(clone, exists=False)
        here.clone("Bench", "bench@example.org", server.address)

        def streamed() -> None:
            co = here.checkout(stream="origin", stream_cache_bytes=0)
            keys = list(co["data"].keys())
            step = max(1, (32 << 20) // data[0].nbytes)
            parts = (co["data"].get_batch(keys[at : at + step]) for at in range(0, n, step))
            assert sum(int(np.sum(part, dtype=np.int64)) for part in parts) == expected
            co.close()

        def by_workers() -> None:
            co = here.checkout()
            # Two parts for each process, of the arrayset as it is.
            size = min(-(-n // 4), (32 << 20) // data[0].nbytes)
            found = hangar_git.dask.from_checkout(co, "data", partition_size=size)
            assert int(found.sum(dtype=np.int64).compute()) == expected
            co.close()

        floor, value = best(streamed, REPEATS), best(by_workers, REPEATS)
        report.add(
            Row(f"read {n:,} {name}, 2 processes", n / value, "samples/s", None, n / floor,
                "one streaming checkout")
        )  # fmt: skip


def writing(report: Report, name: str) -> None:
    """Workers read the samples from a file, so that they need not travel from the driver."""
    data = workloads.load(name)
    n, file = len(data), workloads.DATA / f"{name}.npy"
    chunks = (-(-n // 8), *data.shape[1:])

    def rows(block_info: object = None) -> np.ndarray:
        (first, last), *_ = block_info[None]["array-location"]  # type: ignore[index]
        return np.load(file, mmap_mode="r")[first:last]

    array = da.map_blocks(
        rows, chunks=da.core.normalize_chunks(chunks, data.shape), dtype=data.dtype
    )

    def by_workers(repo: Repository) -> None:
        co = repo.checkout(write=True)
        hangar_git.dask.write({"data": array}, co, "data", keys=range(n))
        co.close()

    def alone(repo: Repository) -> None:
        co = repo.checkout(write=True)
        co["data"].add_batch(range(n), data)
        co.commit("data")
        co.close()
        repo.remote.push("origin", repo.list_branches()[0])

    floor, value = (once(function, data) for function in (alone, by_workers))
    report.add(
        Row(f"write {n:,} {name}, 2 processes, one commit, pushed", n / value, "samples/s", None,
            n / floor, "add_batch, commit, push")
    )  # fmt: skip


def once(write: Callable[[Repository], None], data: np.ndarray) -> float:
    """Seconds of the fastest of several writes, each to a repository and server of its own."""
    seconds = []
    for _ in range(REPEATS):
        with scratch() as directory, Server(directory / "served") as server:
            repo = repository(directory / "repo")
            co = repo.checkout(write=True)
            co.arraysets.init_arrayset("data", data.shape[1:], data.dtype)
            co.commit("arrayset")
            co.close()
            repo.remote.add("origin", server.address)
            seconds.append(timed(lambda repo=repo: write(repo)))
            assert len(repo.checkout()["data"]) == len(data)
    return min(seconds)


if __name__ == "__main__":
    main()
