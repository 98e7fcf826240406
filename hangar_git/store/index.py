"""The index: digest -> locator, in LMDB. A cache of the containers' own tables.

A locator says where a sample lies: container, byte offset and length of its chunk, its place inside
the decoded chunk, and its checksum. Nothing here is the only copy of anything: an index that is
lost, cut off or unreadable is rebuilt from the containers. Normative text: docs/format.md, "Index".
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import struct
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import lmdb
import numpy as np

from ..digest import Digest
from ..dtypes import canonical_json
from ..durable import make_directory
from ..errors import IntegrityError, StorageError
from .container import ContainerSpec, StoredGroup

log = logging.getLogger(__name__)

LOCATOR = struct.Struct("<BIQQQ")
"""Version, container number, chunk length, chunk offset << 16 | place in the decoded chunk (bytes),
xxh3-64."""
LOCATOR_VERSION = 1

LOCATOR_DTYPE = np.dtype(
    [("version", "u1"), ("container", "<u4"), ("length", "<u8"), ("place", "<u8"), ("xxh3", "<u8")]
)
_VERSION = b"1"
_CONTAINER, _NEXT = b"c", b"next"
_INITIAL_MAP_BYTES = 1 << 30
_MAP_LIMIT_BYTES = 1 << 44
_LOOKUP_S = 1.0
_MAX_READERS = 4096
"""Transactions open at once, over all processes: each checkout that reads has one."""
_NOT_DAMAGE = (
    lmdb.DiskError,
    lmdb.LockError,
    lmdb.MemoryError,
    lmdb.ReadersFullError,
    lmdb.TlsFullError,
)
"""Errors of LMDB that say nothing about the file; nor does the base class, of the system's."""


def locators(container: int, group: StoredGroup) -> list[tuple[Digest, bytes]]:
    """Index entries of all samples of a group of container number `container`."""
    n = len(group.digests)
    rows = np.empty(n, LOCATOR_DTYPE)
    rows["version"] = LOCATOR_VERSION
    rows["container"] = container
    rows["length"] = group.lengths[group.chunks]
    rows["place"] = group.offsets[group.chunks] << np.uint64(16) | group.places
    rows["xxh3"] = group.checksums
    values, digests = rows.tobytes(), group.digests.tobytes()
    size = LOCATOR.size
    return [(digests[i * 32 : i * 32 + 32], values[i * size : i * size + size]) for i in range(n)]


class ContainerRow(NamedTuple):
    """What the index knows of a container: its file's name, and its description."""

    name: str
    spec: ContainerSpec

    def to_bytes(self) -> bytes:
        """As the index stores it."""
        return canonical_json([self.name, self.spec.to_json()]).encode()

    @classmethod
    def parse(cls, data: bytes) -> ContainerRow:
        """Inverse of `to_bytes`; IntegrityError if it is not that."""
        name, spec = _row(data)
        try:
            return cls(name, ContainerSpec.from_json(spec))
        except ValueError as error:
            raise IntegrityError(f"index: malformed row {data[:80]!r}") from error


def _row(data: bytes) -> tuple[str, str]:
    """File name and unparsed description of a container; IntegrityError if malformed."""
    try:
        name, spec = json.loads(data)
        if name != os.path.basename(name) or "\0" in name:  # noqa: PTH119  # of any type
            raise ValueError("not a file name")
        return name, str(spec)
    except (ValueError, TypeError, AttributeError) as error:
        raise IntegrityError(f"index: malformed row {data[:80]!r}") from error


class _Environment:
    """An open LMDB environment with its databases. LMDB allows one per file and process."""

    def __init__(self, path: Path) -> None:
        self._file = file = path / "data.mdb"
        readonly = not all(os.access(p, os.W_OK) for p in (path, file, path / "lock.mdb")
                           if p == path or p.exists())  # fmt: skip
        size = file.stat().st_size if file.exists() else 0
        self.lmdb = lmdb.open(
            str(path),
            map_size=max(_INITIAL_MAP_BYTES, 2 * size),
            max_dbs=2,
            max_readers=_MAX_READERS,
            max_spare_txns=0,  # one kept by LMDB would not survive the closing after a fork
            readonly=readonly,
            lock=not readonly,
            meminit=False,
        )
        try:
            self.lmdb.reader_check()  # slots of killed readers
            # Reading past the end of a file that was cut off would kill the process.
            if size and self._needed_bytes() > size:
                raise ValueError(f"cut off after {size} bytes")
            self.containers = self.lmdb.open_db(b"containers", create=not readonly)
            self.locators = self.lmdb.open_db(b"locators", create=not readonly)
            with self.lmdb.begin(write=not readonly) as txn:
                version = txn.get(b"version", db=self.containers)
                if version is None and not readonly:
                    txn.put(b"version", version := _VERSION, db=self.containers)
                if version != _VERSION:
                    raise ValueError(f"version {version!r}")
        except BaseException:
            self.lmdb.close()
            raise
        self._stat = file.stat()

    def _needed_bytes(self) -> int:
        """Size of the file with all pages that LMDB counts."""
        return int((self.lmdb.info()["last_pgno"] + 1) * self.lmdb.stat()["psize"])

    def extend(self) -> None:
        """Make the file as long as LMDB counts it: pages freed at its end were never written."""
        needed = self._needed_bytes()
        if self._file.stat().st_size < needed:
            os.truncate(self._file, needed)

    def is_current(self) -> bool:
        """Whether the path still leads to the file that is open."""
        try:
            return os.path.samestat(self._file.stat(), self._stat)
        except FileNotFoundError:
            return False


_open_environments: dict[Path, _Environment] = {}
_opening = threading.RLock()


def _close_after_fork() -> None:
    global _opening  # noqa: PLW0603  # a thread of the parent may have held it
    _opening = threading.RLock()
    # Transactions first: ended by closing, they would end in the parent, too.
    for index in list(_indexes):
        index._forget_parent()
    for environment in _open_environments.values():
        environment.lmdb.close()
    _open_environments.clear()


os.register_at_fork(after_in_child=_close_after_fork)


_indexes: weakref.WeakSet[Index] = weakref.WeakSet()


class Index:
    """The LMDB environment with the locators and the list of containers.

    Parameters
    ----------
    path
        Its directory, which exists. One that is damaged is made anew, empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        self._lookup: Callable[[Digest], Any] | None = None
        self._lookup_until = 0.0
        self._lookup_lock = threading.Lock()
        _indexes.add(self)
        self._close_if_replaced()

    @property
    def _env(self) -> _Environment:
        environment = _open_environments.get(self._path)
        if environment is None:
            with _opening:
                environment = _open_environments.get(self._path)
                if environment is None:
                    environment = _open_environments[self._path] = self._open()
        return environment

    def _open(self) -> _Environment:
        try:
            return _Environment(self._path)
        except (lmdb.Error, ValueError) as error:
            if type(error) is lmdb.Error or isinstance(error, _NOT_DAMAGE):
                raise
            if not os.access(self._path, os.W_OK):
                raise IntegrityError(
                    f"index {self._path} is damaged: {error}; the next writer rebuilds it",
                    where=str(self._path),
                ) from error
            log.warning("index %s is damaged (%s); starting a new one", self._path, error)
            self.clear()
            return _Environment(self._path)

    def _close_if_replaced(self) -> None:
        environment = _open_environments.get(self._path)
        if environment is not None and not environment.is_current():
            self.close()  # the directory was removed and made again

    def _forget_parent(self) -> None:
        """In a process just forked: what the parent's threads held is not held here."""
        self._lookup = None
        self._lookup_lock = threading.Lock()

    def close(self) -> None:
        """Close the environment, for all that use it in this process; it reopens when used."""
        self._lookup = None
        environment = _open_environments.pop(self._path, None)
        if environment is not None:
            environment.lmdb.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """LMDB's errors become ours; MapFullError passes, for `add` to try again."""
        try:
            yield
        except lmdb.MapFullError:
            raise
        except lmdb.DiskError as error:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise StorageError.of(full, f"writing index {self._path}") from error
        except lmdb.Error as error:
            if type(error) is lmdb.Error or isinstance(error, _NOT_DAMAGE):
                raise StorageError(f"index {self._path} cannot be used: {error}") from error
            raise IntegrityError(
                f"index {self._path} is damaged: {error}; remove the directory, and it is rebuilt",
                where=str(self._path),
            ) from error

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[lmdb.Transaction]:
        with self._errors(), self._begin(write=write) as txn:
            yield txn

    def _begin(self, *, write: bool = False) -> lmdb.Transaction:
        try:
            return self._env.lmdb.begin(write=write)
        except lmdb.MapResizedError:
            self._env.lmdb.set_mapsize(0)  # another process has grown it
            return self._env.lmdb.begin(write=write)

    # -- reading -------------------------------------------------------------------------------

    def find(self, digests: Iterable[Digest]) -> dict[Digest, bytes]:
        """Locators of those of `digests` that are known."""
        with self._transaction() as txn:
            get, db = txn.get, self._env.locators
            return {d: bytes(row) for d in digests if (row := get(d, db=db)) is not None}

    def get(self, digest: Digest) -> bytes | None:
        """Locator of one digest, or None; sees what others added up to a second ago, at least."""
        with self._lookup_lock:
            now = monotonic()
            if self._lookup is None or now > self._lookup_until:
                self._renew_lookup(now)
            try:
                return self._lookup(digest)  # type: ignore[misc, no-any-return]
            except lmdb.Error:
                # The environment was closed under the transaction: a fork, or a rebuild.
                self._renew_lookup(now)
                with self._errors():
                    return self._lookup(digest)  # type: ignore[misc, no-any-return]

    def _renew_lookup(self, now: float) -> None:
        # One transaction serves many look-ups, but a long one would keep LMDB from reusing pages.
        self._close_if_replaced()
        with self._errors():
            txn = self._begin()
            self._lookup = partial(txn.get, db=self._env.locators)
        self._lookup_until = now + _LOOKUP_S

    def is_empty(self) -> bool:
        """Whether no container is indexed, as in an index just made."""
        with self._transaction() as txn:
            return txn.get(_NEXT, db=self._env.containers) is None

    def forget_lookup(self) -> None:
        """Let the next `get` see everything that has been added."""
        self._lookup = None

    def containers(self) -> set[str]:
        """File names of all containers that are indexed."""
        return set(self.names().values())

    def container(self, number: int) -> ContainerRow | None:
        """What is known of container `number`."""
        with self._transaction() as txn:
            row = txn.get(_CONTAINER + b"%d" % number, db=self._env.containers)
            return None if row is None else ContainerRow.parse(bytes(row))

    def names(self) -> dict[int, str]:
        """File name of every container, by its number."""
        with self._transaction() as txn:
            return {
                int(bytes(key)[1:]): _row(bytes(row))[0]
                for key, row in txn.cursor(db=self._env.containers)
                if bytes(key).startswith(_CONTAINER)
            }

    def all(self) -> Iterator[tuple[Digest, bytes]]:
        """Digest and locator of every sample."""
        with self._transaction() as txn:
            for digest, locator in txn.cursor(db=self._env.locators):
                yield bytes(digest), bytes(locator)

    def clear(self) -> None:
        """Forget everything, by starting a new file."""
        self.close()
        shutil.rmtree(self._path, ignore_errors=True)
        make_directory(self._path)

    # -- writing -------------------------------------------------------------------------------

    def add(
        self,
        containers: Sequence[tuple[ContainerRow, list[StoredGroup]]],
        *,
        instead_of: Collection[str] = (),
        dropped: Iterable[Digest] = (),
    ) -> None:
        """Take in what new containers hold; all or nothing, durable when it returns.

        Parameters
        ----------
        containers
            Their rows, and what they hold.
        instead_of
            File names of containers to forget.
        dropped
            Samples to forget, unless they lie in a container that is not forgotten.
        """
        while True:
            try:
                self._add(containers, set(instead_of), dropped)
                self._env.extend()
                self._lookup = None
                return
            except lmdb.MapFullError:
                size = self._env.lmdb.info()["map_size"] * 4
                if size > _MAP_LIMIT_BYTES:
                    raise StorageError(f"index {self._path} would pass {size} bytes") from None
                self._env.lmdb.set_mapsize(size)

    def _add(
        self,
        containers: Sequence[tuple[ContainerRow, list[StoredGroup]]],
        instead_of: Collection[str],
        dropped: Iterable[Digest],
    ) -> None:
        names = self.names().items() if instead_of else ()
        forgotten = {number for number, name in names if name in instead_of}
        with self._transaction(write=True) as txn:
            for old in forgotten:
                txn.delete(_CONTAINER + b"%d" % old, db=self._env.containers)
            for digest in dropped:
                locator = txn.get(digest, db=self._env.locators)
                if locator is not None and LOCATOR.unpack(locator)[1] in forgotten:
                    txn.delete(digest, db=self._env.locators)
            number = int(txn.get(_NEXT, b"0", db=self._env.containers))
            rows: dict[Digest, bytes] = {}
            for row, groups in containers:
                txn.put(_CONTAINER + b"%d" % number, row.to_bytes(), db=self._env.containers)
                for group in groups:
                    rows.update(locators(number, group))
                number += 1
            txn.put(_NEXT, b"%d" % number, db=self._env.containers)
            # Sorted insertion leaves B-tree pages full, and appending fuller still.
            digests = sorted(rows)
            with txn.cursor(db=self._env.locators) as cursor:
                append = bool(digests) and (not cursor.last() or bytes(cursor.key()) < digests[0])
                cursor.putmulti([(d, rows[d]) for d in digests], append=append)
