"""Small stores of samples, for tests of what lies between stores."""

from __future__ import annotations

import errno
import os
import struct
import threading
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from blake3 import blake3

from hangar_git.errors import DataNotLocalError, IntegrityError, StorageError
from hangar_git.transfer.samples import Parcel


def digest_of(payload: bytes) -> bytes:
    return blake3(payload).digest()


def encode(payloads: list[bytes]) -> bytes:
    lengths = struct.pack(f"<{len(payloads) + 1}I", len(payloads), *map(len, payloads))
    return lengths + b"".join(payloads)


def decode(data: bytes) -> list[bytes]:
    try:
        (count,) = struct.unpack_from("<I", data)
        lengths = struct.unpack_from(f"<{count}I", data, 4)
    except struct.error as error:
        raise IntegrityError("a parcel is malformed") from error
    payloads, place = [], 4 + 4 * count
    for length in lengths:
        payloads.append(data[place : place + length])
        place += length
    return payloads


class MemoryStore:
    """Samples in memory. `parcel_samples` of them share a parcel."""

    def __init__(self, payloads: Iterable[bytes] = (), parcel_samples: int = 1) -> None:
        self.samples = {digest_of(payload): payload for payload in payloads}
        self.parcel_samples = parcel_samples
        self.received = 0  # counting those that were there
        self._lock = threading.Lock()

    def missing(self, digests: Collection[bytes]) -> list[bytes]:
        return [digest for digest in digests if digest not in self.samples]

    def export(self, digests: Collection[bytes]) -> Iterator[Parcel]:
        wanted = list(digests)
        for start in range(0, len(wanted), self.parcel_samples):
            some = wanted[start : start + self.parcel_samples]
            for digest in some:
                if digest not in self.samples:
                    raise DataNotLocalError(f"sample {digest.hex()[:12]} is not here")
            yield Parcel(tuple(some), encode([self.samples[digest] for digest in some]))

    def receive(self, parcels: Iterable[Parcel]) -> int:
        found: dict[bytes, bytes] = {}
        count = 0
        try:
            for parcel in parcels:
                payloads = decode(parcel.data)
                digests = tuple(map(digest_of, payloads))
                if digests != parcel.digests:
                    raise IntegrityError("a parcel does not hold what it says")
                count += len(digests)
                found.update(zip(digests, payloads, strict=True))
        finally:
            with self._lock:
                self.received += count
                self.keep(found)
                self.samples |= found
        return count

    def keep(self, found: dict[bytes, bytes]) -> None:
        """Make `found` durable."""


class DirectoryStore(MemoryStore):
    """The same, durable in ``hangar-test/`` of a directory: a file for each `receive`."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._directory = path / "hangar-test"
        self._directory.mkdir(exist_ok=True)
        for file in self._directory.glob("*.batch"):
            self.samples |= {digest_of(payload): payload for payload in decode(file.read_bytes())}

    def keep(self, found: dict[bytes, bytes]) -> None:
        if not found:
            return
        name = self._directory / next(iter(found)).hex()
        with Path(f"{name}.tmp").open("wb") as file:
            file.write(encode(list(found.values())))
            file.flush()
            os.fsync(file.fileno())
        Path(f"{name}.tmp").rename(f"{name}.{os.urandom(4).hex()}.batch")


class FullStore(DirectoryStore):
    """On a disk without space."""

    def keep(self, found: dict[bytes, bytes]) -> None:
        raise StorageError.of(OSError(errno.ENOSPC, "No space left on device"), "storing")


class NullStore:
    """Takes everything, keeps nothing, and exports samples of one size: for measurements."""

    def __init__(self, path: Path) -> None:
        self._data = os.urandom(int(os.environ.get("TEST_PARCEL_BYTES", "784")))

    def missing(self, digests: Collection[bytes]) -> list[bytes]:
        return list(digests)

    def export(self, digests: Collection[bytes]) -> Iterator[Parcel]:
        return (Parcel((digest,), self._data) for digest in digests)

    def receive(self, parcels: Iterable[Parcel]) -> int:
        return sum(len(parcel.digests) for parcel in parcels)
