"""Writing files so that they survive power loss: write, fsync, rename, fsync the directory."""

from __future__ import annotations

import os
from pathlib import Path


def fsync_path(path: Path | str) -> None:
    """Put a file's bytes, or a directory's entries, on stable storage."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """Create `path` and missing parents, each entry durable."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    fsync_path(path.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Atomically give `path` the content `data`: the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        write_new_file(temporary, data)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def write_new_file(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file that does not exist yet, and put its bytes on stable storage."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_file(path: Path) -> None:
    """Remove `path` if it is there, durably."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    fsync_path(path.parent)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data` at the file's position; a short write is continued."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
