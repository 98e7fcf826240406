"""Writing parcels as packs: a pack first, its index after it, several packs at once."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from ..errors import RemoteError
from .objects import Objects
from .packindex import PACK_ID_SIZE_BYTES, PackIndex
from .packs import Buffer, PackWriter
from .samples import Parcel

PACK_SIZE_BYTES = 64 << 20
_PACKS_AT_ONCE = 2
_SLOW_S = 3600.0


def upload(
    objects: Objects, parcels: Iterable[Parcel], pack_size_bytes: int = PACK_SIZE_BYTES
) -> list[PackIndex]:
    """Store parcels in new packs of about `pack_size_bytes`, and give their indexes.

    An index object makes its pack visible and goes last, so that a cut at any point leaves at most
    packs that nobody looks at. Names are random: nothing is overwritten, whoever else writes.
    """
    done: list[PackIndex] = []
    pending: deque[Future[PackIndex]] = deque()
    pool = ThreadPoolExecutor(_PACKS_AT_ONCE, "hangar-upload")
    try:
        writer = _new()
        for parcel in parcels:
            writer.add(parcel)
            if writer.size_bytes >= pack_size_bytes:
                # One is filled while others travel; more would only fill memory.
                if len(pending) >= _PACKS_AT_ONCE:
                    done.append(pending.popleft().result())
                pending.append(pool.submit(_store, objects, *writer.finish()))
                writer = _new()
        if len(writer):
            pending.append(pool.submit(_store, objects, *writer.finish()))
        while pending:
            done.append(pending.popleft().result())
    finally:
        pool.shutdown(cancel_futures=True)
    return done


def _new() -> PackWriter:
    return PackWriter(secrets.token_bytes(PACK_ID_SIZE_BYTES))


def _store(objects: Objects, pieces: list[Buffer], index: PackIndex) -> PackIndex:
    name, began_s = index.pack_id.hex(), time.time()
    objects.write(f"{name}.pack", pieces)
    objects.write(f"{name}.idx", [index.to_bytes()])
    # A machine that slept in between may wake up after someone has cleared away what seemed to be
    # the rest of a dead upload.
    if time.time() - began_s > _SLOW_S and objects.read(f"{name}.pack", 0, 1) is None:
        raise RemoteError(f"{objects.where}: the upload took too long; try again", retryable=True)
    return index
