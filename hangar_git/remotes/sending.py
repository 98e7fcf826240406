"""What a push must bring: the samples that its commits name and the remote may lack."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ..digest import Digest
from ..errors import DataNotLocalError
from ..records.gitprogram import run_git
from ..records.gitrepo import HANGAR_DIR, GitRepository, Oid
from ..records.reachable import RecordFile, named_samples
from ..staging.layout import Layout
from ..transfer.copying import Copied, copy_samples
from ..transfer.samples import Parcel, SampleStore

_RECORD_PATH = re.compile(rf"{re.escape(HANGAR_DIR)}/arraysets/([^/]+)/records/.+")
_NAMED_AT_MOST = 3


@dataclass
class Named:
    """Samples by digest, with where one of its names is.

    Parameters
    ----------
    places
        Digest -> arrayset and key, as written.
    """

    places: dict[Digest, tuple[str, str]] = field(default_factory=dict)

    def describe(self, digests: Sequence[Digest]) -> str:
        """The first of `digests`, as a user knows them."""
        shown = [f"{a}/{k}" for a, k in (self.places[d] for d in digests[:_NAMED_AT_MOST])]
        more = f" and {len(digests) - len(shown):,} more" if len(digests) > len(shown) else ""
        return ", ".join(shown) + more


def named_by(git: GitRepository, tips: Iterable[str], known: Iterable[str] = ()) -> Named:
    """Samples named by commits that lead to `tips` and not to `known`, at the cost of what changed.

    Parameters
    ----------
    tips
        Revisions.
    known
        What `git rev-list` may stop at: oids, or options such as ``--remotes=origin``.
    """
    stops = list(known)
    listed = run_git(
        "rev-list", "--objects", "--boundary", *tips, *(["--not", *stops] if stops else []),
        git_dir=git.git_dir,
    )  # fmt: skip
    files: list[RecordFile] = []
    boundary: list[str] = []
    for line in listed.stdout.decode(errors="surrogateescape").splitlines():
        if line.startswith("-"):
            boundary.append(line[1:].split(" ")[0])
            continue
        oid, _, path = line.partition(" ")
        if match := _RECORD_PATH.fullmatch(path):
            files.append(RecordFile(match[1], path, Oid(hex=oid)))
    found = Named()
    for file in files:
        for key, digest in named_samples(git, file):
            found.places.setdefault(digest, (file.arrayset, key))
    for file in _before(git, boundary[:4], files):
        for _, digest in named_samples(git, file):
            found.places.pop(digest, None)
    return found


def _before(
    git: GitRepository, boundary: Sequence[str], files: Sequence[RecordFile]
) -> list[RecordFile]:
    """The same files in commits that the remote has: what these name, it has."""
    paths = sorted({file.path for file in files})
    if not boundary or not paths:
        return []
    wanted = "".join(f"{commit}:{path}\n" for commit in boundary for path in paths)
    done = run_git(
        "cat-file", "--batch-check=%(objecttype) %(objectname)", git_dir=git.git_dir,
        stdin=wanted.encode(errors="surrogateescape"),
    )  # fmt: skip
    rows = (line.split(" ") for line in done.stdout.decode(errors="replace").splitlines())
    oids = {row[1] for row in rows if len(row) == 2 and row[0] == "blob"}
    return [RecordFile("", "", Oid(hex=oid)) for oid in oids]


def send_samples(
    git: GitRepository,
    named: Named,
    target: SampleStore,
    where: str,
    progress: Callable[[int, int, int], object] = lambda _done, _total, _bytes: None,
) -> Copied:
    """Bring what `target` lacks of the named samples; nothing is sent if one is nowhere.

    Raises
    ------
    DataNotLocalError
        A sample is neither here nor there.
    """
    from .localstore import LocalSamples

    asked = _AskedOnce(target)
    lacking = asked.missing(list(named.places))
    if not lacking:
        return Copied(0, 0, len(named.places))
    local = LocalSamples(Layout.of(git).root)
    nowhere = local.missing(lacking)
    if nowhere:
        raise DataNotLocalError(
            f"the commits name data that is neither here nor at {where}: {named.describe(nowhere)};"
            " get it from where it is with 'git hangar fetch-data', then push again"
        )
    done = 0

    def advance(samples: int, size: int) -> None:
        nonlocal done
        done = min(done + samples, len(lacking))
        progress(done, len(lacking), size)

    copied = copy_samples(local, asked, lacking, progress=advance)
    return Copied(copied.samples, copied.size_bytes, len(named.places) - len(lacking))


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
