"""Folders that Git LFS tracks; pointers and objects as git-lfs's docs/spec.md has them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from ..errors import IntegrityError
from ..records.gitprogram import run_git
from ..records.gitrepo import Oid
from .sources import Content, GitSource, State, Step, own_objects

_POINTER_BYTES = 1024
"""No pointer is larger."""
_POINTER = re.compile(
    rb"version https?://(?:git-lfs\.github\.com/spec/v1|hawser\.github\.com/spec/v1"
    rb"|git-media\.io/v/2)\n(?:ext-\d-[^\n]*\n)*oid sha256:([0-9a-f]{64})\nsize (\d+)\n?"
)


def pointer_oid(data: bytes) -> str | None:
    """The SHA-256 that a pointer names; None of what is no pointer."""
    found = _POINTER.fullmatch(data) if len(data) <= _POINTER_BYTES else None
    return found[1].decode() if found else None


class LfsSource(GitSource):
    """A folder whose files are pointers, or plain files where Git LFS does not track them.

    Parameters
    ----------
    path, revision
        As for `GitSource`.
    objects
        Where else objects are.
    """

    fetching = "git lfs fetch --all"

    def __init__(self, path: Path, revision: str, objects: tuple[Path, ...] = ()) -> None:
        super().__init__(path, revision)
        self.identity = f"lfs {self.git.common_dir} {self.inside}"
        self._objects = [*own_objects(objects), self._storage() / "objects"]
        self._contents: dict[Oid, Content] = {}

    def _storage(self) -> Path:
        common = self.git.common_dir
        said = run_git("config", "--type=path", "lfs.storage", git_dir=self.git.git_dir,
                       check=False).stdout.decode().strip()  # fmt: skip
        return common / (said or "lfs")

    def state_id(self, step: Step) -> str:
        """As `Source.state_id`: kind and oid of the folder, or the file."""
        root = self.git.commit(Oid(hex=step.name)).tree_id
        if not self.inside:
            return f"tree {root}"
        parent, _, name = self.inside.rpartition("/")
        above: Oid | None = root
        for part in parent.split("/") if parent else ():
            entry = self.git.read_tree(above).get(part)
            if entry is None or not entry.is_tree:
                return ""
            above = entry.oid
        entry = self.git.read_tree(above).get(name)
        if entry is None or not (entry.is_tree or entry.is_file):
            return ""
        return f"{'tree' if entry.is_tree else 'file'} {entry.oid}"

    def state(self, state_id: str) -> State:
        """As `Source.state`."""
        if not state_id:
            return {}
        kind, _, oid = state_id.partition(" ")
        found: dict[str, Content] = {}
        if kind == "tree":
            self._collect(Oid(hex=oid), "", found)
        else:
            found[self.folder] = self._content(Oid(hex=oid))
        return found

    def _collect(self, tree: Oid, prefix: str, found: dict[str, Content]) -> None:
        for name, entry in self.git.read_tree(tree).items():
            if entry.is_tree:
                self._collect(entry.oid, f"{prefix}{name}/", found)
            elif entry.is_file:
                found[prefix + name] = self._content(entry.oid)

    def _content(self, blob: Oid) -> Content:
        if blob not in self._contents:
            oid = pointer_oid(self.git.read_blob(blob))
            content = Content(f"git:{blob}")
            if oid is not None:
                places = [one / oid[:2] / oid[2:4] / oid for one in self._objects]
                there = next((one for one in places if one.is_file()), places[-1])
                content = Content(f"sha256:{oid}", there)
            self._contents[blob] = content
        return self._contents[blob]

    def read(self, content: Content) -> bytes:
        """As `Source.read`: a blob of Git's."""
        return self.git.read_blob(Oid(hex=content.id.removeprefix("git:")))

    def check(self, content: Content, path: Path) -> None:
        """As `Source.check`."""
        if content.path is not None:
            expected = content.id.removeprefix("sha256:")
            check_digest(path, "sha256", {expected}, content.path)


def check_digest(path: Path, algorithm: str, expected: set[str], shown: Path) -> None:
    """Raise IntegrityError if no digest in `expected` is that of the file."""
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, algorithm).hexdigest()
    if actual not in expected:
        raise IntegrityError(
            f"{shown}: this object is damaged: its {algorithm} is {actual[:16]}..., not what its"
            f" name says; remove it and fetch it again",
            expected=min(expected), actual=actual, where=str(shown),
        )  # fmt: skip
