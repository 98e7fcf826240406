"""A data remote on plain storage: a directory or a bucket, without any server of ours.

Samples lie in packs with an index beside each; docs/bucket.md is the normative layout. Anyone may
read, push and compact at any time without asking the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import DataNotLocalError, IntegrityError, InvalidInputError
from .address import Address
from .catalog import Catalog, Hits, split_digests, unique_digests
from .compaction import GRACE_S, CompactionReport, compact
from .directory import DirectoryObjects, make_data_directory
from .fetching import Span, fetch, spans
from .objects import Objects
from .objectstore import BucketObjects
from .packindex import DigestArray, digest_array
from .packs import damaged
from .samples import Parcel, SampleStore
from .uploading import PACK_SIZE_BYTES, upload

_REGION_BITS = 22
"""Parts of a pack that are given to different streams: 4 MiB."""


class BucketStore(SampleStore):
    """A `SampleStore` of packs on plain storage. Not for use by several threads at once.

    BLAKE3 digests are not checked here: samples are opaque, and the store at either end checks
    them. Checksums of what is stored are, on every read.

    Parameters
    ----------
    objects
        The storage.
    cache
        Directory where indexes of this remote, and of no other, are kept between runs; made if
        need be. None keeps them in memory.
    pack_size_bytes
        When a pack is full.
    """

    def __init__(
        self, objects: Objects, cache: Path | None = None, pack_size_bytes: int = PACK_SIZE_BYTES
    ) -> None:
        self._objects = objects
        self._catalog = Catalog(objects, cache)
        self._pack_size_bytes = pack_size_bytes

    @property
    def where(self) -> str:
        """The remote's address."""
        return self._objects.where

    def missing(self, digests: Collection[bytes]) -> list[bytes]:
        """Those of `digests` that the remote lacks. Asks it anew: one listing, and new indexes.

        What lies in a damaged pack counts as missing, so that a push mends it.
        """
        wanted = unique_digests(digests)
        self._catalog.refresh()
        array = digest_array(wanted)
        order = np.argsort(array)
        _, found = self._catalog.find(array[order])
        here = np.empty(len(wanted), np.bool_)
        here[order] = found
        return [digest for digest, known in zip(wanted, here.tolist(), strict=True) if not known]

    def export(self, digests: Collection[bytes]) -> Iterator[Parcel]:
        """Parcels that hold all of `digests`, by few range requests, several at once.

        Lists the remote only if it has not been listed, or something is not found.

        Raises
        ------
        DataNotLocalError
            The remote lacks one of them; raised before anything is given.
        IntegrityError
            What it holds is damaged. Parcels before it are right.
        RemoteError
            The connection failed; what is left can be asked for again.
        """
        remaining = np.sort(digest_array(unique_digests(digests)))
        while len(remaining):
            left = np.ones(len(remaining), np.bool_)
            gone: set[str] = set()
            plan = (span for hits in self._find(remaining) for span in spans(hits))
            for span, parcels in fetch(self._objects, plan):
                if parcels is None:
                    gone.add(span.index.pack_id.hex())
                    continue
                self._check(span, remaining[span.positions], parcels)
                left[span.positions] = False
                yield from parcels
            remaining = remaining[left]
            if gone:
                self._look_again(gone)

    def places(self, digests: Sequence[bytes]) -> list[int]:
        """A number for each of `digests`, which those that lie in one part of a pack share."""
        wanted = np.sort(digest_array(unique_digests(digests)))
        found: dict[bytes, int] = {}
        for hits in self._find(wanted):
            pack = int.from_bytes(hits.index.pack_id[:4], "little")
            regions = pack + (hits.index.offsets[hits.frames].astype(np.int64) >> _REGION_BITS)
            names = split_digests(wanted[hits.positions])
            found.update(zip(names, regions.tolist(), strict=True))
        return [found[digest] for digest in digests]

    def receive(self, parcels: Iterable[Parcel]) -> int:
        """Store parcels in new packs; they are durable when it returns. Gives the samples' number.

        Asks for nothing: what is there already is stored again, so send what is `missing`.

        Raises
        ------
        RemoteError
            The storage refused, or the connection failed; whole packs before that are stored.
        """
        indexes = upload(self._objects, parcels, self._pack_size_bytes)
        for index in indexes:
            self._catalog.add(index)
        return sum(len(index.digests) for index in indexes)

    def compact(self, grace_s: float = GRACE_S) -> CompactionReport:
        """Merge small packs, and delete what was replaced, or left by dead pushes, long ago.

        Parameters
        ----------
        grace_s
            How long ago, in seconds: longer than any push or fetch may take.
        """
        return compact(self._objects, self._catalog, self._pack_size_bytes, grace_s)

    def _find(self, wanted: DigestArray) -> list[Hits]:
        hits: list[Hits] = []
        found = np.zeros(len(wanted), np.bool_)
        if self._catalog.listed:
            hits, found = self._catalog.find(wanted)
        if not found.all():
            self._catalog.refresh()
            hits, found = self._catalog.find(wanted)
        if not found.all():
            for error in self._catalog.damaged.values():
                raise error
            absent = wanted[~found]
            first = next(split_digests(absent)).hex()
            raise DataNotLocalError(f"{self.where} lacks {len(absent)} samples: {first[:16]}...")
        return hits

    def _look_again(self, gone: set[str]) -> None:
        """List the remote anew: packs were deleted since, for they had been replaced long ago."""
        self._catalog.refresh()
        for name in gone:
            if name in self._catalog.packs and self._catalog.packs[name].complete:
                where = self._catalog.where(name, "pack")
                raise IntegrityError(f"{where} is listed, but cannot be read", where=where)

    def _check(self, span: Span, wanted: DigestArray, parcels: list[Parcel]) -> None:
        held = {digest for parcel in parcels for digest in parcel.digests}
        if not held.issuperset(split_digests(wanted)):
            where = self._catalog.where(span.index.pack_id.hex(), "pack")
            raise damaged(where, "it does not hold what its index says")


def open_bucket(
    address: Address, cache: Path | None = None, *, anonymous: bool = False, create: bool = False
) -> BucketStore:
    """The data remote at a directory or bucket.

    Parameters
    ----------
    address
        ``file``, ``s3``, ``gs`` or ``az``.
    cache
        As in `BucketStore`.
    anonymous
        Send no credentials: for addresses that were committed and not confirmed.
    create
        Make the directory if it does not exist. Buckets are never made.

    Raises
    ------
    InvalidInputError
        The address is of a server.
    RemoteAuthenticationError
        No credentials are found.
    """
    if address.scheme == "file":
        root = Path(address.directory)
        if create:
            make_data_directory(root)
        return BucketStore(DirectoryObjects(root), cache)
    if address.is_bucket:
        return BucketStore(BucketObjects(address, anonymous=anonymous), cache)
    raise InvalidInputError(f"{address} is a server, not a directory or bucket")
