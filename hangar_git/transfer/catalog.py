"""What a data remote on plain storage holds: its packs, by one listing and their indexes.

Index objects never change, so each is fetched once and kept in a cache directory; afterwards a look
at the whole remote costs one listing.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..digest import DIGEST_SIZE_BYTES
from ..errors import FormatError, IntegrityError, InvalidInputError
from .objects import Objects
from .packindex import DigestArray, PackIndex, max_index_size_bytes
from .packs import damaged
from .parallel import ordered_map

_NAME = re.compile(r"([0-9a-f]{32})\.(pack|idx|old)")
_FETCHES_AT_ONCE = 16


@dataclass
class PackEntry:
    """What a listing shows of one pack.

    Parameters
    ----------
    pack_size_bytes, index_size_bytes
        Of the two objects; None if one is not there.
    modified_s
        When the newest of its objects was written.
    replaced_s
        When it was marked as replaced by others; None if it was not.
    """

    pack_size_bytes: int | None = None
    index_size_bytes: int | None = None
    modified_s: float = 0.0
    replaced_s: float | None = None

    @property
    def complete(self) -> bool:
        """Whether pack and index are both there."""
        return self.pack_size_bytes is not None and self.index_size_bytes is not None

    def is_whole(self, index: PackIndex) -> bool:
        """Whether both objects are there, and the pack is as long as its index says."""
        return self.complete and self.pack_size_bytes == index.pack_size_bytes


@dataclass(frozen=True)
class Hits:
    """What one pack holds of what is wanted.

    Parameters
    ----------
    index
        Of the pack.
    positions
        In the wanted digests, ordered by frame.
    frames
        Number of the frame that holds each.
    """

    index: PackIndex
    positions: NDArray[np.intp]
    frames: NDArray[np.uint32]


class Catalog:
    """Packs and indexes of one remote, as of the last `refresh`.

    Parameters
    ----------
    objects
        The storage.
    cache
        Directory for indexes, of this remote alone: what is not at the remote any more is removed.
        Made if need be. None keeps them in memory only.
    """

    def __init__(self, objects: Objects, cache: Path | None) -> None:
        self.packs: dict[str, PackEntry] = {}
        self.damaged: dict[str, IntegrityError] = {}
        self.listed = False
        self._objects = objects
        self._cache = cache
        self._indexes: dict[str, PackIndex] = {}

    def refresh(self) -> None:
        """List the remote, and fetch the indexes that are new."""
        packs: dict[str, PackEntry] = {}
        for stored in self._objects.list():
            if match := _NAME.fullmatch(stored.name):
                entry = packs.setdefault(match[1], PackEntry())
                entry.modified_s = max(entry.modified_s, stored.modified_s)
                if match[2] == "pack":
                    entry.pack_size_bytes = stored.size_bytes
                elif match[2] == "idx":
                    entry.index_size_bytes = stored.size_bytes
                else:
                    entry.replaced_s = stored.modified_s
        self.packs = packs
        self.damaged = {}
        self._indexes = {
            name: index
            for name, index in self._indexes.items()
            if name in packs and packs[name].is_whole(index)
        }
        self._prune_cache()
        self._load([name for name, entry in packs.items() if entry.replaced_s is None])
        self.listed = True

    def index(self, name: str) -> PackIndex | None:
        """Of a listed pack; None if it is not to be had, or the pack is not whole."""
        if name not in self._indexes:
            self._load([name])
        return self._indexes.get(name)

    def add(self, index: PackIndex) -> None:
        """Note a pack that was just uploaded, so that its index is not fetched again."""
        name, data = index.pack_id.hex(), index.to_bytes()
        self.packs[name] = PackEntry(index.pack_size_bytes, len(data))
        self._indexes[name] = index
        self._keep(name, data)

    def find(self, wanted: DigestArray) -> tuple[list[Hits], NDArray[np.bool_]]:
        """Where the `wanted` digests, ascending and unique, lie; and which were found.

        Each is found in one pack: in one that is not marked as replaced, if there is one.
        """
        found = np.zeros(len(wanted), np.bool_)
        hits: list[Hits] = []
        # Large packs first: their neighbours are more likely wanted, too.
        order = sorted(
            self.packs.items(),
            key=lambda item: (item[1].replaced_s is not None, -(item[1].pack_size_bytes or 0)),
        )
        for name, _ in order:
            if found.all():
                break
            index = self.index(name)
            if index is None:
                continue
            positions, frames = index.find(wanted)
            new = ~found[positions]
            positions, frames = positions[new], frames[new]
            if len(positions):
                found[positions] = True
                by_frame = np.argsort(frames, kind="stable")
                hits.append(Hits(index, positions[by_frame], frames[by_frame]))
        return hits, found

    def _load(self, names: Collection[str]) -> None:
        wanted = [
            name
            for name in names
            if self.packs[name].complete and name not in self._indexes and name not in self.damaged
        ]
        absent = []
        for name in wanted:
            if (index := self._cached(name)) is not None:
                self._accept(name, index)
            else:
                absent.append(name)
        fetched = ordered_map(self._fetch, absent, _FETCHES_AT_ONCE)
        for name, data in zip(absent, fetched, strict=True):
            if isinstance(data, IntegrityError):
                # Others hold their samples, or they will be sent again: no reason to stop here.
                self.damaged[name] = data
            elif data is not None:
                self._keep(name, data)
                self._accept(name, PackIndex.parse(data, bytes.fromhex(name), self.where(name)))

    def _accept(self, name: str, index: PackIndex) -> None:
        if self.packs[name].is_whole(index):
            self._indexes[name] = index
            return
        size, stated = self.packs[name].pack_size_bytes, index.pack_size_bytes
        self.damaged[name] = damaged(
            self.where(name, "pack"), f"it has {size} bytes, its index says {stated}"
        )

    def _fetch(self, name: str) -> bytes | IntegrityError | None:
        """An index object that parses; None if it was deleted meanwhile."""
        entry, where = self.packs[name], self.where(name)
        size = entry.index_size_bytes or 0
        if size > max_index_size_bytes(entry.pack_size_bytes or 0):
            return damaged(where, f"it is too long for a pack of {entry.pack_size_bytes} bytes")
        # Twice: what is wrong may have been the line.
        failure: IntegrityError | None = None
        for _ in range(2):
            data = self._objects.read(f"{name}.idx", 0, size)
            if data is None:
                return None
            try:
                PackIndex.parse(bytes(data), bytes.fromhex(name), where)
            except IntegrityError as error:
                failure = error
            else:
                return bytes(data)
        return failure

    def where(self, name: str, kind: str = "idx") -> str:
        """A pack's object, for messages."""
        return f"{self._objects.where}: packs/{name}.{kind}"

    def _cached(self, name: str) -> PackIndex | None:
        if self._cache is None:
            return None
        try:
            data = (self._cache / f"{name}.idx").read_bytes()
            return PackIndex.parse(data, bytes.fromhex(name), self.where(name))
        except (OSError, IntegrityError, FormatError):
            return None

    def _keep(self, name: str, data: bytes) -> None:
        # A cache: no fsync, since a torn file fails its checksum and is fetched again; and a disk
        # that is full is no reason to fail.
        if self._cache is None:
            return
        temporary = self._cache / f".{secrets.token_hex(8)}.tmp"
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            temporary.rename(self._cache / f"{name}.idx")
        except OSError:
            with suppress(OSError):
                temporary.unlink()

    def _prune_cache(self) -> None:
        if self._cache is None:
            return
        try:
            for path in self._cache.iterdir():
                match = _NAME.fullmatch(path.name)
                if match and match[1] not in self.packs:
                    path.unlink(missing_ok=True)
        except OSError:
            return


def unique_digests(digests: Collection[bytes]) -> list[bytes]:
    """`digests` once each, in their order; refused unless each has 32 bytes."""
    unique = list(dict.fromkeys(digests))
    if any(len(digest) != DIGEST_SIZE_BYTES for digest in unique):
        raise InvalidInputError(f"a digest has {DIGEST_SIZE_BYTES} bytes")
    return unique


def split_digests(digests: DigestArray) -> Iterator[bytes]:
    """Each digest with all its bytes: items of such an array lose NULs at their end."""
    raw = digests.tobytes()
    for at in range(0, len(raw), DIGEST_SIZE_BYTES):
        yield raw[at : at + DIGEST_SIZE_BYTES]
