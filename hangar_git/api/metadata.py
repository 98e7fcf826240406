"""Metadata as users hold it: small texts by key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from ..errors import InvalidInputError, NotFoundError
from ..keys import SampleKey, key_text, metadata_key, sorted_keys
from ..records.snapshot import Snapshot
from ..staging.session import WriteSession
from .handles import Handle


class MetadataReader(Handle):
    """Metadata of one commit; looks and acts like a read-only mapping of str."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    @property
    def iswriteable(self) -> bool:
        """Whether metadata can be added and removed."""
        self._require_open()
        return False

    def get(self, key: SampleKey) -> str:
        """The value of `key`.

        Raises
        ------
        ValueError
            Not a valid key.
        KeyError
            There is none.
        """
        key = metadata_key(key)
        if key not in self._keys():
            raise NotFoundError(f"no metadata {key!r} in this checkout")
        return self._value(key)

    def __getitem__(self, key: SampleKey) -> str:
        """As `get`."""
        return self.get(key)

    def __contains__(self, key: object) -> bool:
        """Whether there is metadata of this key."""
        try:
            return metadata_key(key) in self._keys()
        except InvalidInputError:
            return False

    def __len__(self) -> int:
        """Number of keys."""
        return len(self._keys())

    def __iter__(self) -> Iterator[SampleKey]:
        """As `keys`."""
        return self.keys()

    def keys(self) -> Iterator[SampleKey]:
        """All keys: integers by value, then strings by text."""
        return iter(sorted_keys(list(self._keys())))

    def values(self) -> Iterator[str]:
        """All values, in the order of `keys`."""
        return (self._value(key) for key in self.keys())

    def items(self) -> Iterator[tuple[SampleKey, str]]:
        """Key and value of each, in the order of `keys`."""
        return ((key, self._value(key)) for key in self.keys())

    def __enter__(self) -> Self:
        self._require_open()
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __repr__(self) -> str:
        return (
            f"Hangar Metadata\n    Writeable: {self.iswriteable}\n    Number of Keys: {len(self)}\n"
        )

    def _ipython_key_completions_(self) -> list[SampleKey]:
        return list(self.keys())

    def _keys(self) -> set[SampleKey]:
        return set(self._snapshot.metadata_files)

    def _value(self, key: SampleKey) -> str:
        return self._snapshot.metadata(key)


class MetadataWriter(MetadataReader):
    """Metadata of a writer checkout: the commit's, with the staged changes."""

    def __init__(self, session: WriteSession) -> None:
        self._session = session

    @property
    def iswriteable(self) -> bool:
        """Whether metadata can be added and removed."""
        self._require_open()
        return True

    def add(self, key: SampleKey, value: str) -> SampleKey:
        """Stage a piece of metadata; one of the same key is replaced.

        Returns
        -------
        SampleKey
            The key.

        Raises
        ------
        ValueError
            A key that is not valid, or a value that is not ASCII text.
        """
        key = metadata_key(key)
        if not isinstance(value, str) or not value.isascii():
            raise InvalidInputError(
                f"the value of metadata {key!r} must be a str of ASCII text, got {value!r:.80}"
            )
        twin = next((k for k in self._keys() if k != key and _folded(k) == _folded(key)), None)
        if twin is not None:
            raise InvalidInputError(f"metadata key {key!r} differs from {twin!r} by case only")
        self._session.check()
        self._session.area.set_metadata(key, value)
        return key

    def __setitem__(self, key: SampleKey, value: str) -> SampleKey:
        """As `add`."""
        return self.add(key, value)

    def remove(self, key: SampleKey) -> SampleKey:
        """Remove a piece of metadata from the next commit; earlier commits keep it.

        Raises
        ------
        KeyError
            There is none of this key.
        """
        key = metadata_key(key)
        if key not in self._keys():
            raise NotFoundError(f"no metadata {key!r} in this checkout")
        self._session.check()
        self._session.area.set_metadata(key, None)
        return key

    def __delitem__(self, key: SampleKey) -> SampleKey:
        """As `remove`."""
        return self.remove(key)

    def __enter__(self) -> Self:
        self._session.check()
        return self

    def _keys(self) -> set[SampleKey]:
        keys = set(self._session.base.metadata_files)
        for key, value in self._session.area.edits.metadata.items():
            keys.add(key) if value is not None else keys.discard(key)
        return keys

    def _value(self, key: SampleKey) -> str:
        staged = self._session.area.edits.metadata.get(key)
        return staged if staged is not None else self._session.base.metadata(key)


def _folded(key: SampleKey) -> str:
    return key_text(key).lower()
