"""Keeping a data remote tidy: few packs instead of many small ones, and nothing of dead pushes.

There is no lock, for there is no server to hold it. So nothing is deleted that somebody may still
be about to read: what has been replaced is marked, by an object of its name with the suffix
``.old``, and deleted by a later run, when the mark is older than the grace period and what the pack
holds still lies in packs that are not marked. However many run at once, a sample always stays.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import IntegrityError
from .catalog import Catalog, split_digests
from .objects import Objects
from .packindex import PackIndex
from .packs import damaged, parse_pack
from .parallel import ordered_map
from .samples import Parcel
from .uploading import upload

GRACE_S = 7 * 24 * 3600.0
_READS_AT_ONCE = 3


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What a compaction did.

    Parameters
    ----------
    merged, made
        Packs that were replaced, and packs that replace them.
    deleted
        Packs replaced earlier, now gone.
    leftovers
        Objects of pushes that never finished, now gone.
    damaged
        What is wrong with packs that were left as they are.
    """

    merged: int
    made: int
    deleted: int
    leftovers: int
    damaged: tuple[str, ...]


def compact(
    objects: Objects, catalog: Catalog, pack_size_bytes: int, grace_s: float
) -> CompactionReport:
    """Merge packs of less than a quarter of `pack_size_bytes`; clear away what is long out of use.

    Safe beside readers, pushes and other compactions that take less than `grace_s`.
    """
    catalog.refresh()
    before_s = time.time() - grace_s
    deleted = _delete_replaced(objects, catalog, before_s)
    leftovers = _delete_leftovers(objects, catalog, before_s)
    small = {
        name: index
        for name, index in _live(catalog).items()
        if index.pack_size_bytes < pack_size_bytes // 4
    }
    replaced: list[str] = []
    made: list[PackIndex] = []
    if len(small) > 1:
        made = upload(objects, _parcels(objects, catalog, small, replaced), pack_size_bytes)
        for index in made:
            _read_back(objects, catalog, index)
            catalog.add(index)
    else:
        replaced = _redundant(_live(catalog))
    # Only now: the new packs are there, with their indexes.
    for name in replaced:
        objects.write(f"{name}.old", [b""])
    failures = tuple(map(str, catalog.damaged.values()))
    catalog.refresh()
    return CompactionReport(len(replaced), len(made), deleted, leftovers, failures)


def _live(catalog: Catalog) -> dict[str, PackIndex]:
    """Indexes of the packs that are whole and not marked."""
    names = [name for name, entry in catalog.packs.items() if entry.replaced_s is None]
    indexes = {name: catalog.index(name) for name in names}
    return {name: index for name, index in indexes.items() if index is not None}


def _parcels(
    objects: Objects, catalog: Catalog, packs: dict[str, PackIndex], taken: list[str]
) -> Iterator[Parcel]:
    """Parcels of small packs, each sample once; names of the packs that gave all go to `taken`."""

    def read(name: str) -> list[Parcel] | IntegrityError | None:
        where = catalog.where(name, "pack")
        data = objects.read(f"{name}.pack", 0, packs[name].pack_size_bytes)
        if data is None:
            return None
        try:
            return list(parse_pack(data, bytes.fromhex(name), where))
        except IntegrityError as error:
            return error

    seen: set[bytes] = set()
    for name, parcels in zip(packs, ordered_map(read, packs, _READS_AT_ONCE), strict=True):
        if isinstance(parcels, IntegrityError):
            catalog.damaged[name] = parcels
        elif parcels is not None and set(split_digests(packs[name].digests)).issubset(
            digest for parcel in parcels for digest in parcel.digests
        ):
            taken.append(name)
            for parcel in parcels:
                if not seen.issuperset(parcel.digests):
                    seen.update(parcel.digests)
                    yield parcel


def _read_back(objects: Objects, catalog: Catalog, index: PackIndex) -> None:
    """Refuse a pack that did not arrive as it was sent: older copies are deleted on its account."""
    name = index.pack_id.hex()
    data = objects.read(f"{name}.pack", 0, index.pack_size_bytes)
    where = catalog.where(name, "pack")
    held: set[bytes] = set()
    for parcel in parse_pack(data or b"", index.pack_id, where):
        held.update(parcel.digests)
    if not held.issuperset(split_digests(index.digests)):
        raise damaged(where, "it does not hold what its index says")


def _redundant(packs: dict[str, PackIndex]) -> list[str]:
    """Packs whose samples all lie in others that are kept, as after two compactions at once."""
    if not packs:
        return []
    digests, counts = np.unique(
        np.concatenate([index.digests for index in packs.values()]), return_counts=True
    )
    redundant = []
    for name, index in sorted(packs.items(), key=lambda item: (item[1].pack_size_bytes, item[0])):
        at = np.searchsorted(digests, index.digests)
        if (counts[at] > 1).all():
            counts[at] -= 1
            redundant.append(name)
    return redundant


def _delete_replaced(objects: Objects, catalog: Catalog, before_s: float) -> int:
    live = list(_live(catalog).values())
    unneeded: list[str] = []
    needed: list[str] = []
    for name, entry in catalog.packs.items():
        if entry.replaced_s is None or entry.replaced_s >= before_s or not entry.complete:
            continue
        index = catalog.index(name)
        if index is None:
            continue  # damaged: nobody can say what it holds
        found = np.zeros(len(index.digests), np.bool_)
        for other in live:
            positions, _ = other.find(index.digests)
            found[positions] = True
        (unneeded if found.all() else needed).append(name)
    # Indexes first: nobody who lists from now on counts on the packs.
    for suffix in ("idx", "pack", "old"):
        objects.delete([f"{name}.{suffix}" for name in unneeded])
    for name in unneeded:
        del catalog.packs[name]
    # What had replaced these was itself replaced meanwhile.
    objects.delete([f"{name}.old" for name in needed])
    for name in needed:
        catalog.packs[name].replaced_s = None
    return len(unneeded)


def _delete_leftovers(objects: Objects, catalog: Catalog, before_s: float) -> int:
    names = [
        f"{name}.{suffix}"
        for name, entry in catalog.packs.items()
        if not entry.complete and entry.modified_s < before_s
        for suffix, there in (
            ("idx", entry.index_size_bytes is not None),
            ("pack", entry.pack_size_bytes is not None),
            ("old", entry.replaced_s is not None),
        )
        if there
    ]
    objects.delete(names)
    return len(names) + objects.remove_leftovers(before_s)
