"""Remotes: push, clone, fetch-data and streaming over a server on loopback, as whole commands.

``python benchmarks/remotes.py [digits images clients million]`` runs those parts, or all. Set PYTHONPATH
to the source tree if it is not installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import grpc
import numpy as np
import workloads
from report import Report, Row, best, scratch, timed
from store import filled

from hangar_git import Repository

# Installed programs have their bytecode beside them.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
IDENTITY = ("--name", "Bench", "--email", "bench@example.org")
MESSAGE_BYTES = 1 << 21
SERVER = """
import sys
from hangar_git.cli.server import server_command
from hangar_git.remotes.localstore import LocalSamples
server_command(lambda path: LocalSamples(path / "hangar"))(sys.argv[1:], standalone_mode=False)
"""


def hangar(*arguments: str, cwd: Path) -> float:
    """Seconds of one command, Python's start included."""
    command = [sys.executable, "-m", "hangar_git.cli.main", *arguments]
    return timed(
        lambda: subprocess.run(
            command, cwd=cwd, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT
        )
    )


class Server:
    """A server of one empty repository, in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, "--ip", "127.0.0.1", "--port", "0",
             "--default", str(directory)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=ENVIRONMENT | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.address = "localhost:" + line.split(":")[1].split(";")[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def memory_mb(self) -> float:
        """The most that it ever had."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        peak = next(line for line in lines if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1000


BARE = """
import sys
from concurrent.futures import ThreadPoolExecutor
import grpc

def up(messages, context):
    yield str(sum(map(len, messages))).encode()

handler = grpc.stream_stream_rpc_method_handler(up)
server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bare", {"up": handler})])
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
sys.stdin.read()
"""


@contextmanager
def bare_stream():
    """A function: seconds in which a bare gRPC stream carries so many bytes."""
    process = subprocess.Popen(
        [sys.executable, "-c", BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:

        def carry(size_bytes: int) -> float:
            messages = [bytes(MESSAGE_BYTES)] * -(-size_bytes // MESSAGE_BYTES)
            return best(lambda: list(channel.stream_stream("/bare/up")(iter(messages))), 5)

        yield carry
    process.communicate("")


def digits(report: Report) -> None:
    data = workloads.load("digits")
    with scratch() as directory, Server(directory / "served") as server:
        repo = filled(directory / "repo", data)
        path, clone = Path(repo.path), directory / "clone"
        branch = repo.list_branches()[0]
        repo.remote.add("origin", server.address)
        row(report, "push 50,000 digits", hangar("push", "origin", branch, cwd=path), 2.0)
        changes = []
        for number in range(5):
            co = repo.checkout(write=True)
            co["data", number] = np.full((28, 28), number, np.uint8)
            co.commit(f"change {number}")
            co.close()
            changes.append(hangar("push", "origin", branch, cwd=path))
        imports = "import click, pygit2, numpy, grpc, lmdb"
        command = [sys.executable, "-c", imports]
        started = best(lambda: subprocess.run(command, check=True, env=ENVIRONMENT), 5)
        report.add(Row("push after one change", min(changes), "s", 0.25, started,
                       "Python imports click, pygit2, numpy, grpc, lmdb", more_is_better=False))  # fmt: skip
        clone.mkdir()
        cloning = hangar("clone", server.address, *IDENTITY, cwd=clone)
        row(report, "clone of 50,000 records", cloning, 0.5)
        streaming(report, Repository(clone), len(data))
        for what, target in (("50,000 digits", 2.0), ("nothing", None)):
            fetching = hangar("fetch-data", "origin", branch, cwd=clone)
            row(report, f"fetch-data of {what}", fetching, target)


def images(report: Report) -> None:
    """Bytes are those that travel; the bare stream carries as many."""
    data = workloads.load("images")
    with scratch() as directory, Server(directory / "served") as server, bare_stream() as carry:
        repo = filled(directory / "repo", data)
        repo.remote.add("origin", server.address)
        branch = repo.list_branches()[0]
        stored = (directory / "repo" / ".git" / "hangar" / "containers").iterdir()
        size = sum(path.stat().st_size for path in stored)
        floor = size / 1e6 / carry(size)
        work = (("push", Path(repo.path)), ("fetch-data", directory / "clone"))
        for command, path in work:
            if command == "fetch-data":
                path.mkdir()
                hangar("clone", server.address, *IDENTITY, cwd=path)
            seconds = hangar(command, "origin", branch, cwd=path)
            report.add(Row(f"{command} of 2,000 images, {size / 1e6:.0f} MB encoded",
                           size / 1e6 / seconds, "MB/s", floor / 2, floor, "bare gRPC stream"))  # fmt: skip


def clients(report: Report) -> None:
    """Sixteen at once, each a process that pushes a branch of its own."""
    with scratch() as directory, Server(directory / "served") as server:
        repos = []
        for number in range(16):
            rng = np.random.default_rng(number)
            repo = filled(
                directory / f"repo{number}", rng.integers(0, 256, (500, 28, 28), np.uint8)
            )
            branch = repo.list_branches()[0]
            subprocess.run(["git", "branch", "-m", branch, f"b{number}"], cwd=repo.path, check=True)
            repo.remote.add("origin", server.address)
            repos.append((f"b{number}", Path(repo.path)))
        start = time.perf_counter()
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda r: hangar("push", "origin", r[0], cwd=r[1]), repos))
        row(report, "16 clients push 500 samples each", time.perf_counter() - start, None)


def million(report: Report) -> None:
    data = workloads.load("tiny")
    with scratch() as directory, Server(directory / "served") as server:
        repo = filled(directory / "repo", data)
        path, clone = Path(repo.path), directory / "clone"
        branch = repo.list_branches()[0]
        repo.remote.add("origin", server.address)
        row(report, "push of 1,000,000 samples", hangar("push", "origin", branch, cwd=path), None)
        clone.mkdir()
        cloning = hangar("clone", server.address, *IDENTITY, cwd=clone)
        row(report, "clone of 1,000,000 records", cloning, 5.0)
        times = []
        for number in range(3):
            rng = np.random.default_rng(number)
            new = rng.integers(0, 256, (1000, *data.shape[1:]), np.uint8)
            co = Repository(clone).checkout(write=True)
            co["data"].add_batch(range(2_000_000 + 1000 * number, 2_001_000 + 1000 * number), new)
            co.commit(f"1,000 more, {number}")
            co.close()
            times.append(hangar("push", "origin", branch, cwd=clone))
        row(report, "push of 1,000 new samples among 1,000,000", min(times), 1.0)
        memory = server.memory_mb()
        report.add(Row("memory of its server", memory, "MB", 500, more_is_better=False))


PARTS = {"digits": digits, "images": images, "clients": clients, "million": million}


def main() -> None:
    report = Report("Remotes")
    for name in sys.argv[1:] or PARTS:
        PARTS[name](report)
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
