"""Checkouts: a commit to read, or the staging area of a branch to write."""

from __future__ import annotations

import concurrent.futures.thread  # registers the end of its threads  # noqa: F401
import logging
import threading
import weakref
from contextlib import AbstractContextManager
from typing import Any, Self

from ..errors import HangarError
from ..records.gitrepo import Oid
from ..records.mergecommits import SnapshotOf
from ..records.snapshot import Snapshot
from ..staging.merging import merge
from ..staging.resolving import Chooser, Policy
from ..staging.session import WriteSession
from ..store.store import Store
from .arraysets import Arraysets, ReaderArraysets
from .choices import stored_choices
from .diff import ReaderUserDiff, WriterUserDiff
from .handles import ClosableCheckout
from .metadata import MetadataReader, MetadataWriter
from .selection import assignments, select, split_index

log = logging.getLogger(__name__)

_open_checkouts: weakref.WeakSet[ReaderCheckout | WriterCheckout] = weakref.WeakSet()


def _close_all() -> None:
    for checkout in list(_open_checkouts):
        try:
            checkout.close()
        except HangarError as error:
            log.error("closing a checkout: %s", error)  # noqa: TRY400  # it was raised before


# Closing may write, which takes threads and HDF5: both are shut down before atexit's turn comes.
# What is registered last goes first.
threading._register_atexit(_close_all)  # type: ignore[attr-defined]


class ReaderCheckout(ClosableCheckout):
    """The repository as one commit records it.

    Any number can be open at a time, on any commits, while a writer is at work or not.
    """

    def __init__(
        self, snapshot: Snapshot, snapshot_of: SnapshotOf, store: Store, commit: Oid
    ) -> None:
        self._store = store
        self._diff = ReaderUserDiff(snapshot.git, snapshot_of, commit)
        self._commit = commit
        self._arraysets = ReaderArraysets(snapshot, store)
        for aset in self._arraysets.values():
            aset._revision = str(commit)[:12]
        self._metadata = MetadataReader(snapshot)
        _open_checkouts.add(self)

    def __getitem__(self, index: Any) -> Any:
        """Arraysets and samples by index.

        ``co["images"]`` is an arrayset; ``co["images", "a7"]`` a sample; ``co["images", ["a7",
        "a8"]]`` a list of samples. Over several arraysets, ``co[("images", "labels"), "a7"]`` is a
        named tuple ``ArraysetData(images=..., labels=...)``, and with several samples a list of
        them. ``:`` and ``...`` stand for all arraysets.

        Raises
        ------
        KeyError
            There is no such arrayset, or a sample is missing from one of them.

        Warns
        -----
        UserWarning
            An arrayset's name is not a valid field name; its position is used instead.
        """
        if isinstance(index, str):
            return self.arraysets[index]
        names, samples = split_index(index)
        return select(self.arraysets, names, samples, except_missing=True)

    def get(self, arraysets: Any, samples: Any, *, except_missing: bool = False) -> Any:
        """As `__getitem__`, but None in place of samples that are missing.

        Parameters
        ----------
        arraysets
            Name, list of names, ``...`` or ``slice(None)``.
        samples
            Key, or list of keys.
        except_missing
            Raise KeyError for samples that are missing.
        """
        return select(self.arraysets, arraysets, samples, except_missing=except_missing)

    @property
    def arraysets(self) -> Any:
        """The arraysets."""
        return self._arraysets

    @property
    def metadata(self) -> MetadataReader:
        """The metadata."""
        return self._metadata

    @property
    def diff(self) -> ReaderUserDiff:
        """Compares this commit with others."""
        return self._diff

    @property
    def commit_hash(self) -> str:
        """Oid of the commit."""
        return str(self._commit)

    def to_zarr(self) -> Any:
        """The commit as a read-only Zarr store, for `zarr.open` and what builds on it.

        At its root is an array for each arrayset, of shape ``(n, *shape)``, in the order of `keys`,
        and the keys. Chunks are read when they are asked for.
        """
        from ..views.zarrstore import CommitStore

        return CommitStore.of(self.commit_hash, list(self._arraysets.values()))

    def to_xarray(self) -> Any:
        """The commit as a lazy `xarray.Dataset`: a variable for each arrayset, along its keys.

        Needs dask. Arraysets of kind str and bytes are left out; those whose shape varies are
        padded with zeros.
        """
        from ..views.lazy import to_xarray

        return to_xarray(self.commit_hash, list(self._arraysets.values()))

    def __enter__(self) -> Self:
        self._commit  # noqa: B018  # a closed checkout is refused
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __repr__(self) -> str:
        return (
            "Hangar ReaderCheckout\n"
            "    Writer       : False\n"
            f"    Commit Hash  : {self.commit_hash}\n"
            f"    Num Arraysets: {len(self._arraysets)}\n"
            f"    Num Metadata : {len(self._metadata)}\n"
        )

    def close(self) -> None:
        """Release files. Everything obtained from this checkout ends with it.

        Closing again does nothing.
        """
        if not self.__dict__:
            return
        self._arraysets._die()
        self._metadata._die()
        self._diff._die()
        self._store.close()
        _open_checkouts.discard(self)
        self._die()


class WriterCheckout(ClosableCheckout):
    """The staging area of a branch. One can be open at a time, in all worktrees.

    Staged changes last beyond `close`, until they are committed or reset.
    """

    def __init__(self, session: WriteSession) -> None:
        self._session = session
        self._arraysets = Arraysets(session)
        self._metadata = MetadataWriter(session)
        self._diff = WriterUserDiff(session)
        self._blocks: list[AbstractContextManager[None]] = []
        _open_checkouts.add(self)

    __getitem__ = ReaderCheckout.__getitem__
    get = ReaderCheckout.get

    def __setitem__(self, index: Any, value: Any) -> None:
        """Add samples by index.

        ``co["images", "a7"] = array``; ``co["images", ["a7", "a8"]] = [array, array]``;
        ``co[["images", "labels"], "a7"] = [image, label]``. All are accepted, or none is added.

        Raises
        ------
        KeyError
            There is no such arrayset.
        ValueError
            As `ArraysetDataWriter.add`, or not as many samples as places.
        TypeError
            A slice, or several places without a list of samples.
        """
        accepted = [
            (aset, aset._accepted(key, data))
            for aset, key, data in assignments(self.arraysets, index, value)
        ]
        self._session.check()
        with self._session.area.deferring():
            for aset, rows in accepted:
                aset._put_all(rows)

    @property
    def arraysets(self) -> Arraysets:
        """The arraysets, with the staged changes."""
        return self._arraysets

    @property
    def metadata(self) -> MetadataWriter:
        """The metadata, with the staged changes."""
        return self._metadata

    @property
    def branch_name(self) -> str:
        """The branch that is written to."""
        return self._session.branch

    @property
    def commit_hash(self) -> str:
        """Oid of the commit that changes are staged on; empty before the first."""
        return str(self._session.area.base or "")

    @property
    def diff(self) -> WriterUserDiff:
        """Compares the branch with others, and with what is staged."""
        return self._diff

    def merge(
        self, message: str, dev_branch: str, *, resolve: Policy | str | Chooser | None = None
    ) -> str:
        """Merge a branch into this one; arrays need not be on this machine.

        Parameters
        ----------
        message
            Of the merge commit; a fast-forward makes none.
        dev_branch
            The branch to merge, or any Git revision.
        resolve
            Settles conflicts: ``"ours"``, ``"theirs"``, ``"base"`` or ``"newest"`` for all of
            them; or a callable that is given each `Conflict`, and returns one of these, an array
            (or a str for metadata) to take instead, or None to leave it.

        Returns
        -------
        str
            Oid of the commit that this branch is at then.

        Raises
        ------
        ValueError
            There is no such branch; or conflicts (`ConflictError`, whose `conflicts` lists them).
            Nothing was changed.
        RuntimeError
            Changes are staged, or the histories are unrelated.
        """
        choose = stored_choices(self._session, resolve) if callable(resolve) else resolve
        commit = merge(self._session, dev_branch, message, choose)
        self._arraysets._refresh()
        return str(commit)

    def commit(self, commit_message: str) -> str:
        """Commit the staged changes; durable against power loss once it returns.

        Returns
        -------
        str
            Oid of the new commit.

        Raises
        ------
        RuntimeError
            Nothing is staged, or the branch's data moved meanwhile.
        """
        commit = self._session.commit(commit_message)
        self._arraysets._refresh()
        return str(commit)

    def reset_staging_area(self) -> str:
        """Drop all staged changes for good, and close this checkout.

        Returns
        -------
        str
            Oid of the commit that the branch is at; empty before the first.

        Raises
        ------
        RuntimeError
            Nothing is staged.
        """
        tip = self._session.reset()
        self.close()
        return str(tip or "")

    def __enter__(self) -> Self:
        self._session.check()
        block = self._session.area.deferring()
        block.__enter__()
        self._blocks.append(block)
        return self

    def __exit__(self, *error: object) -> None:
        if self.__dict__:  # it may have been closed inside the block
            self._session.check()
            self._blocks.pop().__exit__(None, None, None)

    def __repr__(self) -> str:
        return (
            "Hangar WriterCheckout\n"
            "    Writer       : True\n"
            f"    Base Branch  : {self.branch_name}\n"
            f"    Num Arraysets: {len(self._arraysets)}\n"
            f"    Num Metadata : {len(self._metadata)}\n"
        )

    def close(self) -> None:
        """Release the writer lock. What is staged stays staged.

        Everything obtained from this checkout ends with it. Closing again does nothing, so that
        code may close what `reset_staging_area` has closed.
        """
        if not self.__dict__:
            return
        session = self._session
        self._arraysets._die()
        self._metadata._die()
        self._diff._die()
        _open_checkouts.discard(self)
        self._die()
        session.close()
