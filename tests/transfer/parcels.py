"""Parcels for tests: samples whose digest is the BLAKE3 hash of their bytes."""

from __future__ import annotations

import random
import sys

from blake3 import blake3

from hangar_git.transfer.address import parse_address
from hangar_git.transfer.bucket import open_bucket
from hangar_git.transfer.samples import Parcel


def make_parcels(count: int, seed: int = 0, size: int = 300, each: int = 1) -> list[Parcel]:
    """`count` parcels of `each` samples of about `size` bytes, always the same."""
    rng = random.Random(seed)
    parcels = []
    for _ in range(count):
        samples = [rng.randbytes(rng.randint(size // 2, size)) for _ in range(each)]
        digests = tuple(blake3(sample).digest() for sample in samples)
        lengths = b"".join(len(sample).to_bytes(4, "big") for sample in samples)
        parcels.append(Parcel(digests, lengths + b"".join(samples)))
    return parcels


def digests_of(parcels) -> list[bytes]:
    return [digest for parcel in parcels for digest in parcel.digests]


def check(parcel: Parcel) -> None:
    """Raise unless the parcel holds what it says."""
    at = 4 * len(parcel.digests)
    for number, digest in enumerate(parcel.digests):
        size = int.from_bytes(parcel.data[4 * number : 4 * number + 4], "big")
        assert blake3(parcel.data[at : at + size]).digest() == digest
        at += size
    assert at == len(parcel.data)


def read_all(store, digests) -> dict[bytes, bytes]:
    """Export `digests`, and check each parcel and that none is lacking."""
    found = {}
    for parcel in store.export(digests):
        check(parcel)
        found.update(dict.fromkeys(parcel.digests, parcel.data))
    assert found.keys() >= set(digests)
    return found


def push_forever(address: str, seed: int) -> None:
    """Push batch after batch; print the seed of each once it is acknowledged."""
    store = open_bucket(parse_address(address))
    store._pack_size_bytes = 20_000
    print("ready", flush=True)
    while True:
        parcels = make_parcels(150, seed)
        wanted = set(store.missing(digests_of(parcels)))
        store.receive(parcel for parcel in parcels if not wanted.isdisjoint(parcel.digests))
        print(seed, flush=True)
        seed += 1


def push(address: str, first: int, batches: int) -> None:
    """Push some batches, each of one shared and some own samples; maybe beside others."""
    store = open_bucket(parse_address(address))
    for seed in range(first, first + batches):
        store.receive(make_parcels(3, -seed % 5) + make_parcels(30, seed))


def compact_often(address: str, times: int) -> None:
    """Compact again and again, keeping what was replaced."""
    for _ in range(times):
        open_bucket(parse_address(address)).compact(3600)


if __name__ == "__main__":
    _, name, address, *numbers = sys.argv
    globals()[name](address, *map(int, numbers))
