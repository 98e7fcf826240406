"""A model of a disk that loses power: what was not fsynced is gone.

`Disk` replays a trace of writes, renames and fsyncs. It keeps what programs see, and what would be
found after a power loss: of each file the bytes at its last fsync, of each directory the names at
its last fsync. `names_survive` is the other extreme that real file systems show: every rename is
kept, and the bytes behind it are not.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Step(NamedTuple):
    """One line of a trace."""

    operation: str
    path: str
    other: str
    offset: int
    data: bytes
    flags: int


def read_trace(path: Path) -> Iterator[Step]:
    data = path.read_bytes()
    at = 0
    while at < len(data):
        end = data.index(b"\n", at)
        operation, one, two, offset, size, flags = data[at:end].decode().split("\t")
        at = end + 1 + int(size)
        yield Step(operation, one, two, int(offset), data[end + 1 : at], int(flags))


@dataclass
class Node:
    """A file or directory, as programs see it and as it is on stable storage."""

    is_directory: bool
    data: bytearray = field(default_factory=bytearray)
    names: dict[str, Node] = field(default_factory=dict)
    durable_data: bytes = b""
    durable_names: dict[str, Node] = field(default_factory=dict)
    executable: bool = False

    def sync(self) -> None:
        self.durable_data = bytes(self.data)
        self.durable_names = dict(self.names)


class Disk:
    """A directory tree, beginning with a copy of `root`, all of it durable."""

    def __init__(self, root: Path, traced_as: str) -> None:
        self._prefix = traced_as
        self.top = self._load(root)

    def _load(self, path: Path) -> Node:
        node = Node(path.is_dir())
        if node.is_directory:
            node.names = {name: self._load(path / name) for name in sorted(os.listdir(path))}  # noqa: PTH208
        else:
            node.data = bytearray(path.read_bytes())
            node.executable = os.access(path, os.X_OK)
        node.sync()
        return node

    def _find(self, path: str) -> tuple[Node, str]:
        """The directory that `path` is in, and its name there."""
        *parents, name = os.path.normpath(path).removeprefix(self._prefix).strip("/").split("/")
        node = self.top
        for parent in parents:
            node = node.names[parent]
        return node, name

    def _node(self, path: str) -> Node:
        if os.path.normpath(path) == self._prefix:
            return self.top
        directory, name = self._find(path)
        return directory.names[name]

    def play(self, step: Step) -> bool:
        """Carry out one step; whether it may have changed what survives."""
        directory, name = self._find(step.path)
        if step.operation == "open":
            node = directory.names.setdefault(name, Node(is_directory=False))
            if step.flags & os.O_TRUNC:
                node.data.clear()
        elif step.operation == "write":
            # A file that was unlinked while open has no name to write to, and no future.
            if " (deleted)" in step.path or name not in directory.names:
                return False
            node = directory.names[name]
            end = step.offset + len(step.data)
            node.data.extend(bytes(max(0, end - len(node.data))))
            node.data[step.offset : end] = step.data
            if step.flags & os.O_DSYNC:
                node.durable_data = bytes(node.data)
                return True
            return False
        elif step.operation == "truncate":
            node = directory.names[name]
            del node.data[step.offset :]
            node.data.extend(bytes(step.offset - len(node.data)))
        elif step.operation == "mkdir":
            directory.names[name] = Node(is_directory=True)
        elif step.operation == "unlink":
            directory.names.pop(name, None)
        elif step.operation in ("rename", "link"):
            target, new_name = self._find(step.other)
            target.names[new_name] = directory.names[name]
            if step.operation == "rename":
                del directory.names[name]
        elif step.operation == "fsync":
            self._node(step.path).sync()
        return True

    def survivors(self, target: Path, *, names_survive: bool) -> None:
        """Write what a power loss now would leave into directory `target`, made anew."""
        shutil.rmtree(target, ignore_errors=True)
        self._write(self.top, target, names_survive, {})

    def _write(self, node: Node, path: Path, names_survive: bool, written: dict[int, Path]) -> None:
        if not node.is_directory:
            if id(node) in written:
                os.link(written[id(node)], path)
                return
            written[id(node)] = path
            path.write_bytes(node.durable_data)
            if node.executable:
                path.chmod(0o755)
            return
        path.mkdir()
        for name, child in (node.names if names_survive else node.durable_names).items():
            self._write(child, path / name, names_survive, written)

    def fingerprint(self, *, names_survive: bool) -> int:
        """Equal for equal survivors."""
        return hash(self._print(self.top, names_survive))

    def _print(self, node: Node, names_survive: bool) -> object:
        if not node.is_directory:
            return node.durable_data
        names = node.names if names_survive else node.durable_names
        return tuple((name, self._print(names[name], names_survive)) for name in sorted(names))
