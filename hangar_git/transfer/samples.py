"""The contract between stores of samples, here or at a remote: what is missing, give, take."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable


class Parcel(NamedTuple):
    """Some samples as they travel.

    Parameters
    ----------
    digests
        32-byte digest of each sample inside.
    data
        Opaque, self-describing encoded bytes: from 100 bytes to hundreds of MiB.
    """

    digests: tuple[bytes, ...]
    data: bytes


@runtime_checkable
class Placing(Protocol):
    """What a store may be able to do beyond: tell which of its samples travel together."""

    def places(self, digests: Sequence[bytes]) -> list[int]:
        """A number for each of `digests`; those that share bytes that are read have the same."""
        ...


def share_of(store: SampleStore, digests: Sequence[bytes], share: int, shares: int) -> list[bytes]:
    """Part `share` of `shares` of `digests`: what travels together is in one of them."""
    if isinstance(store, Placing):
        places: Iterable[int] = store.places(digests)
    else:
        places = (number * shares // len(digests) for number in range(len(digests)))
    return [d for d, place in zip(digests, places, strict=True) if place % shares == share]


class SampleSource(Protocol):
    """Where samples come from."""

    def export(self, digests: Collection[bytes]) -> Iterator[Parcel]:
        """Parcels that together hold all of `digests`; they may hold others, too.

        Raises
        ------
        DataNotLocalError
            One of them is not here.
        """
        ...


class SampleStore(SampleSource, Protocol):
    """A place that holds samples by digest."""

    def missing(self, digests: Collection[bytes]) -> list[bytes]:
        """Those of `digests` that this store lacks."""
        ...

    def receive(self, parcels: Iterable[Parcel]) -> int:
        """Verify and store samples; they are durable when it returns. Gives their number.

        Raises
        ------
        IntegrityError
            A parcel does not hold what it says. Nothing unverified is stored; parcels before it
            may be.
        """
        ...
