"""The data of the repositories that a server serves: beside each, or all in one bucket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from ..errors import InvalidInputError
from ..transfer.address import Address
from ..transfer.bucket import BucketStore, open_bucket
from ..transfer.samples import Parcel, SampleStore
from .intake import opened
from .localstore import LocalSamples
from .receiving import PushChecks

_DEFAULT_NAME = ".default"
_IDLE_STORES = 2


class Served:
    """What a server needs of its repositories' data; a context manager.

    Parameters
    ----------
    store
        Directory or bucket where the data of all repositories is, each below its name; None: it
        lies in the repositories.
    root, default
        Where the repositories are.

    Attributes
    ----------
    git_options, git_environment
        What the git programs of the server have to be given, so that pushes are checked; the
        options for the repository at a path.

    Raises
    ------
    InvalidInputError
        `store` is a server.
    RemoteError
        The bucket cannot be read.
    """

    def __init__(self, store: Address | None, root: Path | None, default: Path | None) -> None:
        self._address = store
        self._root = root.resolve() if root is not None else None
        self._default = default.resolve() if default is not None else None
        self._stores: dict[Path, SampleStore] = {}
        self._lock = threading.Lock()
        if store is not None:
            if store.is_server:
                raise InvalidInputError(
                    f"{store} is a server; --store takes a bucket or a directory"
                )
            # Now is when a mistake in the address can be told to who made it.
            open_bucket(store, create=True).missing([])
        self._checks = PushChecks(self.open_store)
        self.git_options = self._checks.git_options
        self.git_environment = self._checks.git_environment

    def open_store(self, git_dir: Path) -> SampleStore:
        """The samples of the repository at `git_dir`, for many threads."""
        git_dir = git_dir.resolve()
        with self._lock:
            if git_dir not in self._stores:
                self._stores[git_dir] = self._open(git_dir)
            return self._stores[git_dir]

    def _open(self, git_dir: Path) -> SampleStore:
        if self._address is None:
            return LocalSamples(git_dir / "hangar")
        address = self._address
        # Names of repositories neither begin with a dot nor end so: no two share a directory.
        path = "/".join(part for part in (address.path, f"{self._name(git_dir)}.git") if part)
        own = Address(address.scheme, address.host, address.port, path)
        cache = git_dir / "hangar-bucket-index"
        return SharedBucket(lambda: open_bucket(own, cache, create=True))

    def _name(self, git_dir: Path) -> str:
        if self._root is None or git_dir == self._default:
            return _DEFAULT_NAME
        return git_dir.relative_to(self._root).as_posix().removesuffix(".git")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._checks.close()


class SharedBucket:
    """A `SampleStore` on a directory or bucket, for many threads; it verifies what it takes.

    Parameters
    ----------
    open_one
        Opens the bucket, for one thread.
    """

    def __init__(self, open_one: Callable[[], BucketStore]) -> None:
        self._open = open_one
        self._idle: list[BucketStore] = []

    @contextmanager
    def _one(self) -> Iterator[BucketStore]:
        try:
            # The last one that was used has seen the most. Lists are safe among threads.
            store = self._idle.pop()
        except IndexError:
            store = self._open()
        yield store
        # Not after an error: it may have been left in the midst of something.
        if len(self._idle) < _IDLE_STORES:
            self._idle.append(store)

    def missing(self, digests: Collection[bytes]) -> list[bytes]:
        """Those of `digests` that are not there."""
        with self._one() as store:
            return store.missing(digests)

    def places(self, digests: Sequence[bytes]) -> list[int]:
        """A number for each of `digests`, which those that lie in one part of a pack share."""
        with self._one() as store:
            return store.places(digests)

    def export(self, digests: Collection[bytes]) -> Iterator[Parcel]:
        """Parcels that together hold all of `digests`."""
        with self._one() as store:
            yield from store.export(digests)

    def receive(self, parcels: Iterable[Parcel]) -> int:
        """Verify and store samples; they are durable when it returns. Gives their number."""
        with self._one() as store:
            return store.receive(verified(parcels))


def verified(parcels: Iterable[Parcel]) -> Iterator[Parcel]:
    """`parcels`, each once its samples are known to be those that it says it holds.

    Raises
    ------
    IntegrityError
        One does not hold what it says.
    """
    for parcel in parcels:
        opened(parcel)
        yield parcel
