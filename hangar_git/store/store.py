"""The side store: arrays by digest, in container files below ``<git common dir>/hangar``.

Layout: ``containers/`` holds closed, immutable containers; ``tmp/`` those being written; ``index/``
the LMDB index. A container is written whole under a temporary name, fsynced, renamed, and only then
indexed, so that a crash leaves at most a file in ``tmp/`` or one that is not indexed yet.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from ..digest import Digest
from ..durable import fsync_path, make_directory
from ..errors import (
    DataNotLocalError,
    IntegrityError,
    ReadOnlyError,
    StorageError,
    cannot_write,
)
from ..failpoints import failpoint
from ..schema import Schema
from .backends import BACKENDS
from .bulkreading import BulkReader
from .checking import containers_of, scanned
from .container import ContainerSpec, Group, StoredGroup
from .containerfile import ContainerFile
from .encoded import common_form, read_encoded
from .index import LOCATOR, ContainerRow, Index
from .reading import SampleReader
from .sharding import Selection
from .storelock import StoreLock
from .unsynced import UnsyncedList
from .writing import SampleWriter

log = logging.getLogger(__name__)

FLUSH_BYTES = 64 << 20
"""A store that holds this much makes containers of it: containers stay small enough to scan and
repack, and large enough that their number does not matter."""


class Store:
    """Samples by digest.

    Parameters
    ----------
    path
        ``<git common dir>/hangar``.
    writable
        Whether samples will be put; only the holder of the writer lock may.

    Attributes
    ----------
    containers
        The directory of the containers.
    lost
        Containers of staged samples that a loss of power damaged; they are here until `settle`.
    lost_samples
        What the index says was in them; None if it does not know them all any more.
    streams
        Whether what is missing comes from a remote when it is read.
    """

    streams = False

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.containers = path / "containers"
        self._tmp = path / "tmp"
        self._writable = writable
        if writable:
            try:
                for directory in (self.containers, self._tmp, path / "index"):
                    make_directory(directory)
            except OSError as error:
                raise cannot_write(path, error) from error
        elif self.containers.is_dir() and os.access(path, os.W_OK):
            with suppress(OSError):  # it was lost, and can be made again
                (path / "index").mkdir(exist_ok=True)
        self._index = Index(path / "index") if (path / "index").is_dir() else None
        self._reader = SampleReader(self.containers, self._index) if self._index else None
        self._lock = StoreLock(path / "store.lock")
        self._unsynced = UnsyncedList(path / "unsynced", self.containers)
        self.lost: list[str] = []
        self.lost_samples: set[Digest] | None = None
        self._writers: dict[str, SampleWriter] = {}
        self._pending: dict[Digest, bytes] = {}
        if writable:
            self._recover()
        elif self._index is not None and self._index.is_empty():
            self._index_anew()

    # -- reading -------------------------------------------------------------------------------

    def missing(self, digests: Collection[Digest]) -> list[Digest]:
        """Those of `digests` whose data is not on this machine."""
        found = self._index.find(digests) if self._index is not None else {}
        if self._index is not None and not self.lost and self._unsynced.is_doubtful():
            found = self._unsynced.without_doubtful(self._index, found)
        return [d for d in digests if d not in found and d not in self._pending]

    def get(self, digest: Digest, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """The sample of `digest`: a fresh, writable, C-contiguous array, verified.

        Raises
        ------
        DataNotLocalError
            The sample is not on this machine.
        IntegrityError
            The stored bytes are not what was stored; names file, offset and digest.
        """
        if digest in self._pending:
            return np.frombuffer(self._pending[digest], dtype).reshape(shape).copy()
        if self._reader is None:
            raise DataNotLocalError(f"data of digest {digest.hex()} is not on this machine")
        return self._reader.read(digest, dtype, shape)

    def get_part(
        self, digest: Digest, dtype: np.dtype[Any], shape: tuple[int, ...], index: object
    ) -> NDArray[Any]:
        """What `index` (ints, slices, one ellipsis) selects of a sample, as `get`.

        Of a sample in chunks, those alone are read and verified that it touches.
        """
        selection = Selection.of(index, shape)
        if digest in self._pending or self._reader is None:
            part = self.get(digest, dtype, shape)[selection.slices]
            return np.array(part[selection.after], order="C")
        return self._reader.read_part(digest, dtype, shape, selection)

    def get_many(
        self,
        digests: Sequence[Digest],
        dtype: np.dtype[Any],
        shapes: Sequence[tuple[int, ...]],
        threads: int = 1,
    ) -> list[NDArray[Any]]:
        """As `get`, for many samples: read in the order of the file, by `threads` threads."""
        if self._pending and any(digest in self._pending for digest in digests):
            return [self.get(d, dtype, shape) for d, shape in zip(digests, shapes, strict=True)]
        return self._bulk().read_many(digests, dtype, shapes, threads)

    def get_stacked(
        self,
        digests: Sequence[Digest],
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        threads: int = 1,
    ) -> NDArray[Any]:
        """As `get_many`, for samples of one shape: one array of shape (n, *shape)."""
        if self._pending and any(digest in self._pending for digest in digests):
            found = [self.get(digest, dtype, shape) for digest in digests]
            return np.array(found, dtype).reshape(len(digests), *shape)
        return self._bulk().read_stacked(digests, dtype, shape, threads)

    def common_form(
        self, digests: Sequence[Digest], dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> ContainerSpec | None:
        """How samples are encoded, if each has a chunk of its own, and all are encoded alike."""
        return None if self._index is None else common_form(self._index, digests, dtype, shape)

    def get_encoded(
        self, digest: Digest, start: int | None = None, stop: int | None = None
    ) -> bytes:
        """The bytes of a sample, or a slice of them, as `common_form` says; not verified."""
        reader = self._bulk().reader
        try:
            return read_encoded(reader, digest, start, stop)
        except (IntegrityError, DataNotLocalError):
            return reader.again(lambda: read_encoded(reader, digest, start, stop))

    def _bulk(self) -> BulkReader:
        if self._reader is None:
            raise DataNotLocalError("no data is on this machine")
        return BulkReader(self._reader)

    def close(self) -> None:
        """Release files; a store that was closed opens them again when used."""
        if self._reader is not None:
            self._reader.forget()
        if self._index is not None:
            self._index.forget_lookup()

    # -- writing -------------------------------------------------------------------------------

    def writer(self, schema: Schema) -> SampleWriter:
        """Where samples of `schema` are put; they are held in memory until `flush`."""
        if not self._writable:
            raise ReadOnlyError("this store was opened for reading")
        key = schema.to_json()
        if key not in self._writers:
            assert self._index is not None
            find = self._index.find
            self._writers[key] = SampleWriter(schema, self._pending, self.is_stored, find)
        return self._writers[key]

    def held(self, digest: Digest) -> bytes | None:
        """The bytes of a sample that is held in memory and in no container yet."""
        return self._pending.get(digest)

    def is_stored(self, digest: Digest) -> bool:
        """Whether `digest` is in a container."""
        assert self._index is not None
        return self._index.get(digest) is not None

    def flush(self, *, durable: bool = True) -> None:
        """Put everything held into containers.

        Parameters
        ----------
        durable
            Against loss of power when it returns; else only against the death of the process, and
            against loss of power from the next `sync` on.

        Raises
        ------
        StorageError
            The disk refused; everything is still held, and flushing again may succeed.
        """
        if not self._pending:
            return
        assert self._index is not None
        made: list[tuple[ContainerRow, list[StoredGroup]]] = []
        durable = durable or not self._unsynced.can_defer
        with self._lock.shared():
            try:
                for writer in self._writers.values():
                    for spec, groups in writer.take():
                        made.append(self.make_container(spec, groups, durable=durable))
            except BaseException:
                # They will be made again, and until then a full disk has better uses.
                for row, _ in made:
                    (self.containers / row.name).unlink(missing_ok=True)
                raise
            self._index.add(made)
        failpoint("store.index-written")
        self.drop_held()

    def drop_held(self) -> None:
        """Forget everything held."""
        self._pending.clear()
        for writer in self._writers.values():
            writer.discard()

    def sync(self) -> None:
        """Put on stable storage what `flush` left to the system.

        Raises
        ------
        StorageError
            The disk refused; syncing again may succeed.
        """
        if not self._unsynced.names() or self._unsynced.is_doubtful():
            return
        self._unsynced.sync()
        failpoint("store.synced")
        with self._lock.exclusive():
            self._unsynced.sync()  # what came meanwhile; the rest takes no time now
            self._unsynced.clear()

    def make_container(
        self, spec: ContainerSpec, groups: list[Group], *, durable: bool = True
    ) -> tuple[ContainerRow, list[StoredGroup]]:
        """Write a container under its name, but not in the index yet.

        It is on stable storage or, if not `durable`, in the list of those that are not.
        """
        backend = BACKENDS[spec.backend]
        name = f"{spec.backend}-{secrets.token_hex(8)}{backend.suffix}"
        temporary, final = self._tmp / name, self.containers / name
        try:
            with ContainerFile(temporary) as file:
                backend.write(cast("BinaryIO", file), spec, groups)
                failpoint("store.container-written")
                file.finish(durable=durable)
            if not durable:
                self._unsynced.add(name)
            failpoint("store.container-synced")
            stored = backend.scan(temporary)
            # Rename last: readers trust any file with a final name.
            temporary.chmod(0o444)
            temporary.rename(final)
            if durable:
                fsync_path(self.containers)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StorageError.of(error, f"writing container {final}") from error
        failpoint("store.container-renamed")
        return ContainerRow(name, spec), stored[1]

    def take_in(self, parts: Iterable[tuple[ContainerSpec, list[Group]]]) -> None:
        """Make containers of samples that came encoded, and index them; durable when it returns.

        Others may write and read meanwhile, in this process or another.
        """
        assert self._index is not None
        with self._lock.shared():
            self._index.add([self.make_container(spec, groups) for spec, groups in parts])

    def replace_containers(
        self,
        names: Collection[str],
        made: Sequence[tuple[ContainerRow, list[StoredGroup]]],
        samples: Collection[Digest],
    ) -> None:
        """Index new containers, as `make_container` gave them, in place of old ones; remove these.

        `names` are the file names of the old ones, `samples` all that they hold.
        """
        assert self._index is not None
        with self._lock.exclusive():
            self._index.add(made, instead_of=names, dropped=samples)
            failpoint("upkeep.indexed")
            for name in names:
                (self.containers / name).unlink(missing_ok=True)
            fsync_path(self.containers)
        self.close()

    @property
    def index(self) -> Index | None:
        """The index; None before anything was stored."""
        return self._index

    # -- recovery ------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Remove what a killed writer left half-written, and index what it left unindexed."""
        with self._lock.exclusive(wait=False) as held:
            if held:  # others add at this moment: what they write is not left
                for left in self._tmp.iterdir():
                    left.unlink()
        if self._unsynced.is_doubtful():
            self.lost = self._unsynced.damaged()
            if self.lost:
                self._forget(self.lost)
            else:
                self.settle()
        self.refresh()

    def _forget(self, names: Collection[str]) -> None:
        """Take containers out of the index."""
        assert self._index is not None
        numbers = {number for number, name in self._index.names().items() if name in names}
        samples = {digest for digest, row in self._index.all() if LOCATOR.unpack(row)[1] in numbers}
        self.lost_samples = samples if len(numbers) == len(names) else None
        self._index.add([], instead_of=names, dropped=samples)

    def settle(self) -> None:
        """End the recovery from a loss of power: what is `lost` is named nowhere any more."""
        for name in self.lost:
            (self.containers / name).unlink(missing_ok=True)
        self.lost = []
        self._unsynced.sync()
        self._unsynced.clear()

    def _index_anew(self) -> None:
        """For a reader whose index was lost: make it again, if that can be done here."""
        try:
            self.refresh()
        except (OSError, IntegrityError) as error:
            log.warning("the index of %s cannot be made: %s", self.containers, error)

    def refresh(self) -> None:
        """Bring the index into line with the containers; damaged ones are left alone."""
        assert self._index is not None
        known = self._index.containers()
        paths = containers_of(self.containers)
        if known - {path.name for path in paths}:
            # Samples of a container that is gone must not count as stored when put again.
            self._index.clear()
            known = set()
        new = []
        for path in paths:
            if path.name in known or path.name in self.lost:
                continue
            try:
                container = scanned(path)
            except IntegrityError as error:
                log.warning("not indexed: %s", error)
                continue
            new.append((ContainerRow(path.name, container.spec), container.groups))
        if new:
            self._index.add(new)

    def rebuild_index(self) -> None:
        """Make the index anew from the containers alone."""
        assert self._index is not None
        assert self._reader is not None
        self._reader.forget()
        self._index.clear()
        self.refresh()
