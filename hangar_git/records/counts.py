"""How many records a tree holds, remembered locally, since counting reads every record file.

A cache below ``<git common dir>/hangar``: losing it costs time only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_KEPT = 256


class RecordCounts:
    """``records/`` tree oid -> number of records."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._counts: dict[str, int] | None = None

    def get(self, tree: str) -> int | None:
        """The remembered count of `tree`, or None."""
        if self._counts is None:
            self._counts = self._read()
        return self._counts.get(tree)

    def put(self, new: Mapping[str, int]) -> None:
        """Remember these counts; the oldest of many are forgotten."""
        if all(self.get(tree) == count for tree, count in new.items()):
            return
        kept = {tree: count for tree, count in self._read().items() if tree not in new}
        self._counts = dict(list((kept | dict(new)).items())[-_KEPT:])
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        # A repository we may not write to, or a full disk: count again next time.
        with suppress(OSError):
            temporary.write_text(json.dumps(self._counts))
            temporary.replace(self._path)

    def _read(self) -> dict[str, int]:
        try:
            counts = json.loads(self._path.read_text())
            return {str(tree): int(count) for tree, count in counts.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}
