"""Sending samples that a remote needs and may lack."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from ..digest import Digest
from ..errors import DataNotLocalError
from ..records.gitrepo import GitRepository
from ..staging.layout import Layout
from ..transfer.copying import Copied, copy_samples
from ..transfer.samples import Parcel, SampleStore
from .needed import NAMED_AT_MOST, Lacking, NeededDigests


def send_samples(
    git: GitRepository,
    needed: NeededDigests,
    target: SampleStore,
    where: str,
    progress: Callable[[int, int, int], object] = lambda _done, _total, _bytes: None,
) -> Copied:
    """Bring what `target` lacks of the needed samples; nothing is sent if one is nowhere.

    Raises
    ------
    DataNotLocalError
        A sample is neither here nor there.
    """
    from .localstore import LocalSamples

    asked = _AskedOnce(target)
    lacking = asked.missing(list(needed))
    if not lacking:
        return Copied(0, 0, len(needed))
    local = LocalSamples(Layout.of(git).root)
    nowhere = local.missing(lacking)
    if nowhere:
        lost = Lacking(len(nowhere), tuple(needed[digest] for digest in nowhere[:NAMED_AT_MOST]))
        raise DataNotLocalError(
            f"the commits name data that is neither here nor at {where}: {lost};"
            " get it from where it is with 'git hangar fetch-data', then push again"
        )
    done = 0

    def advance(samples: int, size: int) -> None:
        nonlocal done
        done = min(done + samples, len(lacking))
        progress(done, len(lacking), size)

    copied = copy_samples(local, asked, lacking, progress=advance)
    return Copied(copied.samples, copied.size_bytes, len(needed) - len(lacking))


class _AskedOnce:
    """A store that remembers its first answer for the question that follows it."""

    def __init__(self, store: SampleStore) -> None:
        self._store = store
        self._answer: list[Digest] | None = None

    def missing(self, digests: Collection[Digest]) -> list[Digest]:
        if self._answer is not None and self._answer is digests:
            self._answer = None
            return list(digests)
        self._answer = self._store.missing(digests)
        return self._answer

    def export(self, digests: Collection[Digest]) -> Iterator[Parcel]:
        return self._store.export(digests)

    def receive(self, parcels: Iterable[Parcel]) -> int:
        return self._store.receive(parcels)
