"""Which files an import has staged, so that one that was interrupted can be gone on with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from blake3 import blake3

from ..keys import SampleKey, key_text, parse_key_text

Stamp = tuple[int, int]


class ImportLog:
    """A line for each file that was staged: path, size, time of change, keys.

    Lines are written after their samples are durable, and only those of finished files; the log
    is removed once the whole import is done. It is a convenience: without it files are read again.
    """

    def __init__(self, directory: Path, identity: Sequence[object]) -> None:
        name = blake3(json.dumps(identity).encode()).hexdigest(16)
        self._path = directory / f"{name}.jsonl"
        self._noted: list[tuple[Path, Stamp, Sequence[SampleKey]]] = []

    def read(self) -> dict[str, tuple[Stamp, list[SampleKey]]]:
        """Stamp and keys of each file by its path; a line that was cut off is left out."""
        try:
            lines = self._path.read_text().splitlines()
        except FileNotFoundError:
            return {}
        found: dict[str, tuple[Stamp, list[SampleKey]]] = {}
        for line in lines:
            try:
                path, size, time, keys = json.loads(line)
                found[path] = ((size, time), [parse_key_text(key) for key in keys])
            except (ValueError, TypeError):
                continue
        return found

    def note(self, path: Path, stamp: Stamp, keys: Sequence[SampleKey]) -> None:
        """Remember a file whose samples are all staged; `write` makes it last."""
        self._noted.append((path, stamp, keys))

    def write(self) -> None:
        """Append what was noted."""
        if self._noted:
            self._path.parent.mkdir(exist_ok=True)
            rows = [[str(path.absolute()), *stamp, [*map(key_text, keys)]]
                    for path, stamp, keys in self._noted]  # fmt: skip
            with self._path.open("a") as file:
                file.write("".join(f"{json.dumps(row)}\n" for row in rows))
            self._noted.clear()

    def remove(self) -> None:
        """Forget all of it."""
        self._noted.clear()
        self._path.unlink(missing_ok=True)
