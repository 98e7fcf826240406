"""Reading chosen frames of packs with few range requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import IntegrityError
from .catalog import Hits
from .objects import Objects
from .packindex import PackIndex
from .packs import Buffer, damaged, parse_frame
from .parallel import ordered_map
from .samples import Parcel

GAP_SIZE_BYTES = 64 << 10
"""Unwanted bytes up to this many are read over: a request costs more than they do."""

SPAN_SIZE_BYTES = 8 << 20
REQUESTS_AT_ONCE = 8
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring wanted frames of one pack, read together.

    Parameters
    ----------
    index
        Of the pack.
    frames
        (start, stop) of each wanted frame, ascending.
    positions
        Of what they hold, in the wanted digests.
    """

    index: PackIndex
    frames: list[tuple[int, int]]
    positions: NDArray[np.intp]

    @property
    def start(self) -> int:
        """Where the first frame begins."""
        return self.frames[0][0]

    @property
    def stop(self) -> int:
        """Where the last frame ends."""
        return self.frames[-1][1]


def spans(hits: Hits) -> Iterator[Span]:
    """The frames of `hits` in groups that one or, for huge frames, several requests read."""
    starts = hits.index.offsets[hits.frames].tolist()
    stops = hits.index.offsets[hits.frames + 1].tolist()
    first, frames = 0, [(starts[0], stops[0])]
    for at in range(1, len(starts)):
        start, stop = starts[at], stops[at]
        if start == frames[-1][0]:
            continue  # another sample of the same frame
        if start - frames[-1][1] > GAP_SIZE_BYTES or stop - frames[0][0] > SPAN_SIZE_BYTES:
            yield Span(hits.index, frames, hits.positions[first:at])
            first, frames = at, []
        frames.append((start, stop))
    yield Span(hits.index, frames, hits.positions[first:])


def fetch(objects: Objects, plan: Iterable[Span]) -> Iterator[tuple[Span, list[Parcel] | None]]:
    """The parcels of each span, in order; None if its pack has been deleted.

    Holds at most `REQUESTS_AT_ONCE` pieces of `SPAN_SIZE_BYTES` ahead of its reader, and the
    largest frame.

    Raises
    ------
    IntegrityError
        What came, three times, is not what was written.
    """
    planned = list(plan)
    requests = (
        (span, start, min(SPAN_SIZE_BYTES, span.stop - start))
        for span in planned
        for start in range(span.start, span.stop, SPAN_SIZE_BYTES)
    )
    answers = ordered_map(lambda request: _read(objects, *request), requests, REQUESTS_AT_ONCE)
    try:
        for span in planned:
            pieces = [next(answers) for _ in range(span.start, span.stop, SPAN_SIZE_BYTES)]
            parcels = _parcels(objects, span, pieces)
            yield span, parcels
    finally:
        answers.close()


def _read(objects: Objects, span: Span, start: int, size_bytes: int) -> Buffer | None:
    return objects.read(f"{span.index.pack_id.hex()}.pack", start, size_bytes)


def _parcels(objects: Objects, span: Span, pieces: list[Buffer | None]) -> list[Parcel] | None:
    for attempt in range(1, _TRIES + 1):
        whole = [piece for piece in pieces if piece is not None]
        if len(whole) < len(pieces):
            return None
        try:
            return _parse(objects.where, span, whole)
        except IntegrityError:
            if attempt == _TRIES:
                raise
        # What is wrong may have been the line: TCP's checksum misses one error in 65,536.
        pieces = [
            _read(objects, span, start, min(SPAN_SIZE_BYTES, span.stop - start))
            for start in range(span.start, span.stop, SPAN_SIZE_BYTES)
        ]
    raise AssertionError("unreachable")


def _parse(remote: str, span: Span, pieces: list[Buffer]) -> list[Parcel]:
    where = f"{remote}: packs/{span.index.pack_id.hex()}.pack"
    view = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
    if len(view) != span.stop - span.start:
        raise damaged(where, "it is cut off")
    return [
        parse_frame(view[start - span.start : stop - span.start], where)
        for start, stop in span.frames
    ]
