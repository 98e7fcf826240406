"""The samples of one clone, as a store that transfers read from and write to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..digest import Digest
from ..durable import make_directory
from ..errors import DataNotLocalError, IntegrityError, cannot_write
from ..staging.layout import Layout
from ..store.backends import BACKENDS
from ..store.checking import ScannedContainer, scanned
from ..store.chunks import JOINED_BYTES, EncodedChunk, Loose, chunk_size_bytes, join, joined
from ..store.container import StoredGroup, element_count
from ..store.index import LOCATOR, Index
from ..store.store import Store
from ..transfer.samples import Parcel
from .intake import Intake

_Located: TypeAlias = tuple[Digest, bytes]

_KEPT_TABLES = 64
"""Tables of containers that are kept: 90 bytes a sample, 16 GiB of arrays at most."""
_REGION_BITS = 22
"""Parts of a container that are given to different streams: 4 MiB."""
_WORTH_WHOLE = 0.5
"""A chunk travels as it is if at least this part of its samples is wanted."""


class LocalSamples:
    """A `SampleStore` over the containers below `root`.

    Safe to use from several threads and processes, with readers and a writer at work.

    Parameters
    ----------
    root
        ``<git common dir>/hangar``; made when first needed.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = Lock()
        self._opened: Store | None = None
        self._scanned: dict[str, _Exporter] = {}

    @property
    def _store(self) -> Store:
        with self._lock:
            if self._opened is None:
                try:
                    Layout(self._root).create()
                    for name in ("containers", "tmp", "index"):
                        make_directory(self._root / name)
                except OSError as error:
                    raise cannot_write(self._root, error) from error
                Layout(self._root).check_format()
                self._opened = Store(self._root, writable=False)
            return self._opened

    @property
    def store(self) -> Store:
        """What they are read from."""
        return self._store

    def missing(self, digests: Collection[Digest]) -> list[Digest]:
        """Those of `digests` that are not here, in order; the others are on stable storage."""
        self._store.sync()
        return self._store.missing(digests)

    def sizes(self, digests: Collection[Digest]) -> dict[Digest, int]:
        """Encoded bytes of those of `digests` that are here: of what a transfer would move.

        Samples that share a chunk have a part of it each, as if all were moved.
        """
        sizes: dict[Digest, int] = {}
        for exporter, wanted in self._by_container(digests, allow_missing=True):
            sizes.update(exporter.sizes(wanted))
        return sizes

    def export(self, digests: Collection[Digest]) -> Iterator[Parcel]:
        """Parcels that together hold all of `digests`, read in the order of the files.

        Raises
        ------
        DataNotLocalError
            One of them is not here; before anything is given.
        """
        for exporter, wanted in self._by_container(digests):
            for chunk in exporter.chunks(wanted):
                yield Parcel(chunk.digests, chunk.to_bytes())

    def places(self, digests: Sequence[Digest]) -> list[int]:
        """A number for each of `digests`, which those that lie in one part of a file share."""
        index = self._store.index
        assert index is not None
        found = index.find(sorted(set(digests)))
        regions = {}
        for digest, locator in found.items():
            _, number, _, place, _ = LOCATOR.unpack(locator)
            regions[digest] = number + ((place >> 16) >> _REGION_BITS)  # of where its chunk begins
        return [regions.get(digest, 0) for digest in digests]

    def _by_container(
        self, digests: Collection[Digest], *, allow_missing: bool = False
    ) -> list[tuple[_Exporter, list[_Located]]]:
        try:
            return self._exporters(digests, allow_missing=allow_missing)
        except (IntegrityError, FileNotFoundError):
            # A repack replaced containers between looking up and opening.
            return self._exporters(digests, allow_missing=allow_missing)

    def _exporters(
        self, digests: Collection[Digest], *, allow_missing: bool
    ) -> list[tuple[_Exporter, list[_Located]]]:
        index = self._store.index
        assert index is not None
        found = index.find(sorted(set(digests)))
        if not allow_missing and len(found) < len(set(digests)):
            lost = next(digest for digest in digests if digest not in found)
            raise DataNotLocalError(f"data of digest {lost.hex()} is not on this machine")
        wanted: defaultdict[int, list[_Located]] = defaultdict(list)
        for digest, locator in found.items():
            wanted[LOCATOR.unpack(locator)[1]].append((digest, locator))
        return [(self._exporter(index, number), rows) for number, rows in sorted(wanted.items())]

    def _exporter(self, index: Index, number: int) -> _Exporter:
        row = index.container(number)
        if row is None:
            raise IntegrityError(f"index: container {number} is unknown")
        exporter = self._scanned.pop(row.name, None)
        if exporter is None:
            exporter = _Exporter(scanned(self._store.containers / row.name))
        self._scanned[row.name] = exporter  # the last used are kept
        while len(self._scanned) > _KEPT_TABLES:
            self._scanned.pop(next(iter(self._scanned)), None)
        return exporter

    def receive(self, parcels: Iterable[Parcel]) -> int:
        """Verify and store samples; they are durable when it returns. Gives their number.

        If `parcels` raises, what came before is stored.

        Raises
        ------
        IntegrityError
            A parcel does not hold what it says. What came before it is stored.
        StorageError
            The disk refused.
        """
        with Intake(self._store) as intake:
            for parcel in parcels:
                intake.take(parcel)
        return intake.count


class _Exporter:
    """Reads encoded chunks of one container."""

    def __init__(self, container: ScannedContainer) -> None:
        self._container = container
        self._spec = container.spec
        self._joins = container.spec.codec.complib == "none" and container.spec.chunks is None
        self._groups = [(group, *_by_chunk(group)) for group in container.groups]

    def sizes(self, wanted: Sequence[_Located]) -> dict[Digest, int]:
        found = {}
        for digest, group, row in self._rows(wanted):
            chunk = int(group.chunks[row])
            _, _, firsts = next(g for g in self._groups if g[0] is group)
            found[digest] = int(group.lengths[chunk]) // int(firsts[chunk + 1] - firsts[chunk])
        return found

    def _rows(self, wanted: Sequence[_Located]) -> Iterator[tuple[Digest, StoredGroup, int]]:
        """Group of each wanted sample, and its row there."""
        for digest, locator in sorted(wanted, key=lambda row: LOCATOR.unpack(row[1])[3]):
            _, _, _, place, _ = LOCATOR.unpack(locator)
            group, order, firsts, chunk = self._chunk_at(place >> 16)
            rows = order[firsts[chunk] : firsts[chunk + 1]]
            row = next((int(r) for r in rows if group.digests[r].tobytes() == digest), None)
            if row is None:
                raise IntegrityError(f"index: sample {digest.hex()} is not where it says")
            yield digest, group, row

    def _chunk_at(self, offset: int) -> tuple[StoredGroup, NDArray[Any], NDArray[Any], int]:
        for group, order, firsts in self._groups:
            chunk = int(np.searchsorted(group.offsets, np.uint64(offset)))
            if chunk < len(group.offsets) and int(group.offsets[chunk]) == offset:
                return group, order, firsts, chunk
        raise IntegrityError(f"index: no chunk at byte {offset} of {self._container.path}")

    def chunks(self, wanted: Sequence[_Located]) -> Iterator[EncodedChunk]:
        """Chunks that together hold the samples."""
        with self._container.path.open("rb", buffering=0) as file:
            if self._joins:
                yield from joined(self._spec, self._plain(file, wanted))
                return
            needed: dict[int, set[Digest]] = {}
            for digest, locator in wanted:
                needed.setdefault(LOCATOR.unpack(locator)[3] >> 16, set()).add(digest)
            parts: list[Loose] = []
            size = 0
            for offset in sorted(needed):
                whole = self._chunk(file, offset)
                if len(needed[offset]) >= _WORTH_WHOLE * len(whole.digests):
                    yield whole
                    continue
                loose = _loose(whole, needed[offset])
                length = sum(len(data) for _, _, data in loose)
                if parts and size + length > JOINED_BYTES:
                    yield self._encoded(parts)
                    parts, size = [], 0
                parts += loose
                size += length
            if parts:
                yield self._encoded(parts)

    def _chunk(self, file: FileIO, offset: int) -> EncodedChunk:
        group, order, firsts, number = self._chunk_at(offset)
        rows = order[firsts[number] : firsts[number + 1]]
        digests = tuple(group.digests[row].tobytes() for row in rows)
        shapes = tuple(tuple(shape) for shape in group.shapes[rows].tolist())
        places = tuple(group.places[rows].tolist())
        itemsize = self._spec.dtype.itemsize
        end = max(
            place + element_count(shape) * itemsize
            for place, shape in zip(places, shapes, strict=True)
        )
        size = chunk_size_bytes(self._spec, shapes, end)
        if not BACKENDS[self._spec.backend].paged and len(firsts) == number + 2 > 2:
            size = samples_per_chunk_bytes(group, firsts, itemsize)
        file.seek(offset)
        data = file.read(int(group.lengths[number]))
        return EncodedChunk(self._spec, digests, shapes, places, size, data)

    def _encoded(self, parts: Sequence[Loose]) -> EncodedChunk:
        """Samples out of several chunks, encoded together."""
        plain = join(self._spec, parts)
        encode = self._spec.codec.encoder(self._spec.dtype.itemsize)
        return replace(plain, data=encode(bytes(plain.data)))

    def _plain(self, file: FileIO, wanted: Sequence[_Located]) -> Iterator[Loose]:
        """Samples that are not encoded."""
        itemsize = self._spec.dtype.itemsize
        for digest, group, row in self._rows(wanted):
            shape = tuple(group.shapes[row].tolist())
            file.seek(int(group.offsets[int(group.chunks[row])]) + int(group.places[row]))
            yield digest, shape, file.read(element_count(shape) * itemsize)


def _by_chunk(group: StoredGroup) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows in the order of their chunks, and where each chunk's rows begin among them."""
    order = np.argsort(group.chunks, kind="stable")
    return order, np.searchsorted(group.chunks[order], np.arange(len(group.offsets) + 1))


def samples_per_chunk_bytes(group: StoredGroup, firsts: NDArray[Any], itemsize: int) -> int:
    """Decoded size of a group's last chunk, which is padded to be as large as the first."""
    size = int(element_count(group.shapes[0].tolist())) * itemsize
    return int(firsts[1] - firsts[0]) * size


def _loose(whole: EncodedChunk, wanted: set[Digest]) -> list[Loose]:
    """The wanted samples of a chunk, decoded."""
    decoded = whole.decoded()
    return [
        (digest, whole.shapes[number], whole.payload(decoded, number))
        for number, digest in enumerate(whole.digests)
        if digest in wanted
    ]
