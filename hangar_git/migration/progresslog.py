"""What a migration has done, so that it can be gone on with: interrupted, or with new commits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from blake3 import blake3

from ..durable import replace_file
from ..records.gitrepo import Oid


class Done(NamedTuple):
    """A step that was migrated.

    Parameters
    ----------
    commit
        What was made of it.
    data
        Name of the step whose files its data is of: itself or, of one that was skipped, an
        earlier one; empty if there were none yet.
    """

    commit: Oid
    data: str


class ProgressLog:
    """Of one source and arrayset, in a file below ``<git common dir>/hangar``.

    Parameters
    ----------
    directory
        Of the logs.
    source, arrayset
        What is migrated, and to what.

    Attributes
    ----------
    name
        Of the file, without extension.
    """

    def __init__(self, directory: Path, source: str, arrayset: str) -> None:
        self.name = blake3(json.dumps([source, arrayset]).encode()).hexdigest(8)
        self._path = directory / f"{self.name}.json"

    def _document(self) -> dict[str, Any]:
        try:
            document = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}

    def settings(self) -> dict[str, Any]:
        """What the last migration was told; nothing if there was none."""
        found = self._document().get("settings")
        return found if isinstance(found, dict) else {}

    def read(self, settings: dict[str, Any]) -> dict[str, Done]:
        """The steps done so far, in order, if the migration was told the same."""
        document = self._document()
        if document.get("settings") != settings:
            return {}
        try:
            return {step: Done(Oid(hex=made), data) for step, made, data in document["steps"]}
        except (KeyError, ValueError, TypeError):
            return {}

    def write(self, settings: dict[str, Any], done: dict[str, Done]) -> None:
        """Put `done` in place of what was written before; once all of it is on disk."""
        self._path.parent.mkdir(exist_ok=True)
        rows = [[step, str(one.commit), one.data] for step, one in done.items()]
        replace_file(self._path, json.dumps({"settings": settings, "steps": rows}).encode())
