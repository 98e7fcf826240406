"""Clones with data, and their pushes and fetches by the parts that commands are made of."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from repositories import Git, make_repository

from hangar_git import Repository
from hangar_git.records.gitrepo import GitRepository, Oid
from hangar_git.remotes.localstore import LocalSamples
from hangar_git.remotes.needed import NeededDigests, needed_digests
from hangar_git.transfer.client import GrpcStore
from hangar_git.transfer.copying import Copied, copy_samples
from hangar_git.transfer.samples import SampleStore
from hangar_git.transfer.serveraddress import ServerAddress


def sample(number: int, size: int = 16) -> np.ndarray:
    """An array that no other number gives, and that does not compress."""
    return np.random.default_rng(number).integers(0, 256, size, np.uint8)


class Clone:
    """A clone, and the remote ``origin`` of it."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.url = url
        self.git = Git(path)

    @classmethod
    def made(cls, path: Path, url: str) -> Clone:
        """A repository with an arrayset, and nothing pushed yet."""
        repo = make_repository(path)
        co = repo.checkout(write=True)
        co.arraysets.init_arrayset("a", shape=(16,), dtype=np.uint8)
        co.commit("arrayset")
        co.close()
        clone = cls(path, url)
        clone.git("branch", "-M", "main")
        clone.git("remote", "add", "origin", url)
        return clone

    @classmethod
    def cloned(cls, path: Path, url: str) -> Clone:
        """History from `url`, without data."""
        subprocess.run(
            ["git", "clone", "--quiet", url, str(path)],
            check=True,
            timeout=120,
            capture_output=True,
        )
        return cls(path, url)

    @property
    def repository(self) -> Repository:
        return Repository(self.path)

    @property
    def samples(self) -> LocalSamples:
        return LocalSamples(self.path / ".git/hangar")

    def commit(self, numbers: Iterable[int], message: str = "more") -> str:
        """Commit `sample` of each number under that key; the commit."""
        co = self.repository.checkout(write=True)
        with co["a"] as aset:
            for number in numbers:
                aset[number] = sample(number)
        commit = co.commit(message)
        co.close()
        return commit

    def tip(self, ref: str = "HEAD") -> str:
        return self.git("rev-parse", "--verify", "-q", ref, check=False)

    def needed(self, ref: str = "HEAD", *known: str) -> NeededDigests:
        """What history up to `ref` needs."""
        oids = [Oid(hex=self.tip(name)) for name in known]
        return needed_digests(GitRepository(self.path), [Oid(hex=self.tip(ref))], oids)

    def push_data(self, ref: str = "HEAD", store: SampleStore | None = None) -> Copied:
        """Send what the remote lacks of it."""
        if store is not None:
            return copy_samples(self.samples, store, list(self.needed(ref)))
        with GrpcStore(ServerAddress.parse(self.url)) as remote:
            return copy_samples(self.samples, remote, list(self.needed(ref)))

    def push_data_of_new(self, *known: str) -> Clone:
        """Send what the remote lacks of what is new since `known`."""
        with GrpcStore(ServerAddress.parse(self.url)) as remote:
            copy_samples(self.samples, remote, list(self.needed("HEAD", *known)))
        return self

    def push(self, *options: str, branch: str = "main") -> subprocess.CompletedProcess[str]:
        """Data, then refs."""
        self.push_data()
        return self.push_refs(*options, branch=branch)

    def push_refs(self, *options: str, branch: str = "main") -> subprocess.CompletedProcess[str]:
        return self.git.run("push", *options, "origin", f"HEAD:refs/heads/{branch}")

    def fetch(self, branch: str = "main") -> None:
        """History, and all its data."""
        self.git("fetch", "--quiet", "origin")
        with GrpcStore(ServerAddress.parse(self.url)) as remote:
            copy_samples(remote, self.samples, list(self.needed(f"origin/{branch}")))


def assert_whole(path: Path) -> None:
    """`git fsck`, and ours of every sample, find nothing wrong in the repository at `path`."""
    Git(path)("fsck", "--strict", "--connectivity-only")
    report = Repository(path).maintenance.fsck(full=True)
    assert not report.problems, report.problems[:5]
