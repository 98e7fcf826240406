"""Histories of records without arrays: any bytes do as digests where no array is read."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from hangar_git.records.commit import write_commit
from hangar_git.records.counts import RecordCounts
from hangar_git.records.edits import ArraysetEdits, Edits, build_tree
from hangar_git.records.gitrepo import GitRepository, ObjectWriter, Oid
from hangar_git.records.snapshot import Snapshots
from hangar_git.schema import Schema

SCHEMA = Schema(np.dtype("u1"), (2, 3))


class History:
    """Makes commits of records in a repository at `path`, which is made."""

    def __init__(self, path: Path, seed: int = 0) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.git = GitRepository.discover(path) if (path / ".git").exists() else None
        self.git = self.git or GitRepository.create(path)
        self.snapshots = Snapshots(self.git, RecordCounts(path / ".git" / "counts"))
        self.random = random.Random(seed)

    def digest(self) -> bytes:
        return self.random.randbytes(32)

    def commit(
        self,
        edits: Edits,
        parents: tuple[Oid, ...] = (),
        branch: str | None = None,
        message: str = "records",
    ) -> Oid:
        base = self.snapshots(parents[0] if parents else None)
        writer = ObjectWriter(self.git)
        tree = build_tree(base, edits, writer).oid
        commit = write_commit(self.git, writer, tree, message, list(parents))
        if branch is not None:
            self.git.pygit2.references.create(f"refs/heads/{branch}", commit, force=True)
        return commit

    def first(self, n: int, branch: str = "main", schema: Schema = SCHEMA) -> Oid:
        """A commit of arrayset "images" with samples 0 to n - 1."""
        values = {key: self.digest() for key in range(n)}
        return self.commit(new("images", values, schema), branch=branch)

    def records(self, commit: Oid, name: str = "images") -> dict:
        return dict(self.snapshots(commit).arrayset(name).load_all())


def new(name: str, values: dict, schema: Schema = SCHEMA) -> Edits:
    return Edits({name: ArraysetEdits(schema, fresh=True, values=values)})


def change(values: dict, name: str = "images") -> Edits:
    return Edits({name: ArraysetEdits(values=values)})
