"""Repositories as DVC and Git LFS leave them, made by their documented formats."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from repositories import Git

AUTHOR = {
    "GIT_AUTHOR_NAME": "Grace Hopper",
    "GIT_AUTHOR_EMAIL": "grace@example.org",
    "GIT_AUTHOR_DATE": "2021-03-04T05:06:07+0230",
}


def npy(value: int, shape=(2, 3), dtype="u1") -> bytes:
    from io import BytesIO

    file = BytesIO()
    np.save(file, np.full(shape, value, dtype))
    return file.getvalue()


class Folder:
    """A Git repository with a folder ``data`` that another tool keeps; `files` is what it holds."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True)
        self.path = path
        self.data = path / "data"
        self.git = Git(path)
        self.git("init", "-q", "-b", "main", ".")
        self.git("config", "user.name", "Linus")
        self.git("config", "user.email", "linus@example.org")

    def write(self, files: dict[str, bytes]) -> None:
        raise NotImplementedError

    def commit(self, files: dict[str, bytes] | None, message: str, code: str | None = None) -> str:
        """Commit `files` as the whole content of the folder, and a file of code."""
        if files is not None:
            self.write(files)
        if code is not None:
            (self.path / "train.py").write_text(code)
        self.git("add", "-A", ".")
        self.git("commit", "-q", "-m", message, **AUTHOR)
        return self.git("rev-parse", "HEAD")

    def state(self) -> list[tuple[str, bytes, int]]:
        """Everything there is, to see that it stays as it is."""
        return sorted(
            (str(path), path.read_bytes(), path.stat().st_mtime_ns)
            for path in self.path.rglob("*") if path.is_file()
        )  # fmt: skip


class DvcFolder(Folder):
    """With ``data.dvc``, and a cache of the layout ``files/md5/aa/bb...`` or ``aa/bb...``."""

    def __init__(self, path: Path, layout: str = "files/md5") -> None:
        super().__init__(path)
        (path / ".dvc").mkdir()
        (path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
        (path / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
        (path / ".gitignore").write_text("/data\n")
        self.cache = path / ".dvc" / "cache" / layout

    def put(self, data: bytes, suffix: str = "") -> str:
        digest = hashlib.md5(data).hexdigest() + suffix
        place = self.cache / digest[:2] / digest[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return digest

    def object(self, data: bytes) -> Path:
        digest = hashlib.md5(data).hexdigest()
        return self.cache / digest[:2] / digest[2:]

    def manifest(self, files: dict[str, bytes]) -> str:
        rows = [{"md5": self.put(data), "relpath": name} for name, data in sorted(files.items())]
        return self.put(json.dumps(rows).encode(), ".dir")

    def write(self, files: dict[str, bytes]) -> None:
        size = sum(map(len, files.values()))
        (self.path / "data.dvc").write_text(
            f"outs:\n- md5: {self.manifest(files)}\n  size: {size}\n  nfiles: {len(files)}\n"
            f"  hash: md5\n  path: data\n"
        )


class LfsFolder(Folder):
    """With pointers in ``data``, and the objects below ``.git/lfs/objects``."""

    def object(self, data: bytes) -> Path:
        digest = hashlib.sha256(data).hexdigest()
        return self.path / ".git" / "lfs" / "objects" / digest[:2] / digest[2:4] / digest

    def write(self, files: dict[str, bytes]) -> None:
        for path in sorted(self.data.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        for name, data in files.items():
            place = self.object(data)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            (self.data / name).parent.mkdir(parents=True, exist_ok=True)
            (self.data / name).write_text(
                "version https://git-lfs.github.com/spec/v1\n"
                f"oid sha256:{place.name}\nsize {len(data)}\n"
            )
