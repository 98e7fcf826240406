"""Staged edits as the journal tells them; the samples stay where they are.

What commands look at that change nothing. Apart from the store, which takes long to import.
"""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import FormatError, InvalidInputError
from ..keys import SampleKey, parse_key_text
from ..records.edits import ArraysetEdits, Edits
from ..records.gitrepo import Oid
from ..schema import Schema
from .journal import Journal


class StagedEdits:
    """Edits on top of commit `base`, read from the journal at `path`.

    Attributes
    ----------
    branch, base
        The branch and the commit that the edits are meant for; None while there are none.
    edits
        All staged edits.
    committing
        The ``.hangar`` tree of a commit that was begun; the edits are done with once the branch
        is seen to hold it.
    """

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path)
        self._schemas: dict[str, Schema] = {}
        self.branch: str | None = None
        self.base: Oid | None = None
        self.edits = Edits()
        self.committing: Oid | None = None

    def load(self) -> None:
        """Take up what a former writer staged.

        Raises
        ------
        IntegrityError, FormatError
            The journal is damaged, or of a version unknown to this program.
        """
        for body in self._journal.read():
            at = 0
            while at < len(body):
                end = body.index(b"\n", at)
                operation, *columns = body[at:end].decode().split("\t")
                at = end + 1
                try:
                    size = self._replay(operation, columns, body, at)
                except (KeyError, ValueError, TypeError) as error:
                    raise FormatError(
                        f"staging journal: unknown or malformed {operation!r}: {error}"
                    ) from error
                at += size

    def _replay(self, operation: str, columns: list[str], body: bytes, at: int) -> int:
        """Carry out one line; the size of the data that follows it."""
        match operation, columns:
            case "set", [name, key, digest, *third]:
                value = bytes.fromhex(digest) + "".join(third).encode()
                self._of(name).values[parse_key_text(key)] = value
            case "remove", [name, key]:
                self._remove(name, parse_key_text(key))
            case "data", [name, shape, size]:
                return self._replay_data(name, shape, int(size), body, at)
            case (("create" | "schema"), [name, schema]):
                fresh = operation == "create"
                self._set_schema(name, _schema(schema), fresh=fresh)
            case "schema-of", [name, schema]:
                self._schemas[name] = _schema(schema)
            case "drop", [name, *new]:
                self._drop(name, in_base=not new)
            case "meta", [text]:
                metadata, new_value = json.loads(text)
                self.edits.metadata[metadata] = new_value
            case "base", [branch, commit]:
                self.branch, self.base = branch, Oid(hex=commit) if commit else None
            case "commit", [tree]:
                self.committing = Oid(hex=tree)
            case _:
                raise ValueError("this program does not know it")
        return 0

    def _replay_data(self, name: str, shape_text: str, size: int, body: bytes, at: int) -> int:  # noqa: ARG002
        """Take up a sample that is in the journal; its size."""
        return size

    def _set_schema(self, name: str, schema: Schema, *, fresh: bool) -> None:
        self._schemas[name] = schema
        if fresh:
            self.edits.arraysets[name] = ArraysetEdits(schema, fresh=True)
        else:
            self._of(name).schema = schema

    def _drop(self, name: str, *, in_base: bool) -> None:
        if in_base:
            self.edits.arraysets[name] = None
        else:
            self.edits.arraysets.pop(name, None)

    def _remove(self, name: str, key: SampleKey) -> None:
        edits = self._of(name)
        if edits.fresh:
            edits.values.pop(key, None)
        else:
            edits.values[key] = None

    def _of(self, name: str) -> ArraysetEdits:
        edits = self.edits.arraysets.get(name)
        if edits is None:
            if name in self.edits.arraysets:
                raise InvalidInputError(f"arrayset {name!r} is staged for removal")
            edits = self.edits.arraysets[name] = ArraysetEdits()
        return edits


def _schema(text: str) -> Schema:
    return Schema.from_json(text + "\n", "staging journal")
