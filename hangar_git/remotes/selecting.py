"""Which samples of which commits: by arrayset, key, history, stratified subset, byte budget."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

from blake3 import blake3

from ..digest import DIGEST_SIZE_BYTES, Digest
from ..errors import InvalidInputError, NotFoundError, did_you_mean
from ..keys import SampleKey, key_text, sorted_keys
from ..records.counts import RecordCounts
from ..records.gitprogram import run_git
from ..records.gitrepo import HANGAR_DIR, GitRepository, Oid
from ..records.recordfile import RecordValue
from ..records.refs import resolve
from ..records.snapshot import ArraysetRecords, Snapshot, Snapshots
from ..schema import Schema
from ..staging.layout import Layout

_RECORD_PATH = re.compile(rf"{re.escape(HANGAR_DIR)}/arraysets/([^/]+)/(schema\.json|records/.+)")
_LINE = re.compile(rb"^([0-9a-f]{8})\t([^\t\n]+)\t([0-9a-f]{64})(?:\t([0-9,]*))?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Stratify:
    """A subset in which each value of one arrayset has the share that it has in the whole.

    Parameters
    ----------
    arrayset
        Whose samples tell the strata apart: equal samples are one stratum. Their data is not read.
    count
        How many keys; or
    fraction
        what part of them, above 0 and up to 1.
    seed
        Another seed gives another subset; the same one the same subset on every machine.
    """

    arrayset: str
    count: int | None = None
    fraction: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.count is None) == (self.fraction is None):
            raise InvalidInputError("a stratified subset takes either a count or a fraction")
        if self.count is not None and self.count < 1:
            raise InvalidInputError(f"a subset of {self.count} samples is none")
        if self.fraction is not None and not 0 < self.fraction <= 1:
            raise InvalidInputError(f"fraction {self.fraction} is not above 0 and up to 1")


@dataclass(frozen=True, slots=True)
class Selection:
    """What is wanted.

    Parameters
    ----------
    arraysets
        Names; None: all.
    samples
        Keys or, of str, globs; None: all. ``int:7`` is the key 7. Of nested samples, the name of
        a sample means all its subsamples, ``name/subname`` one.
    stratify
        A subset of the keys.
    max_bytes
        No more than this, counted as arrays, before compression.
    """

    arraysets: Sequence[str] | None = None
    samples: Sequence[SampleKey] | None = None
    stratify: Stratify | None = None
    max_bytes: int | None = None


@dataclass
class Chosen:
    """The samples that a selection means.

    Parameters
    ----------
    commits
        Whose samples they are.
    sizes
        Digest -> bytes as an array; in the order in which they are wanted.
    left_out, left_out_bytes
        Samples, with their bytes, that the byte budget has no room for.
    not_in_subset
        Names that are not in the stratified subset.
    """

    commits: list[Oid]
    sizes: dict[Digest, int] = field(default_factory=dict)
    left_out: int = 0
    left_out_bytes: int = 0
    not_in_subset: int = 0

    @property
    def size_bytes(self) -> int:
        """Of all of them."""
        return sum(self.sizes.values())


def commits_of(git: GitRepository, revision: str, *, whole_history: bool = False) -> list[Oid]:
    """The commits that a revision or a range ``A..B`` means, newest first.

    Raises
    ------
    RevisionNotFoundError
        There is no such revision.
    """
    if ".." not in revision:
        tip = resolve(git, revision)
        if not whole_history:
            return [tip]
        listed = run_git("rev-list", str(tip), git_dir=git.git_dir)
    else:
        start, _, end = revision.partition("..")
        if end.startswith("."):
            raise InvalidInputError(f"{revision!r}: a range is written A..B")
        ends = resolve(git, end or "HEAD"), resolve(git, start or "HEAD")
        stop = [] if whole_history else ["--not", str(ends[1])]
        listed = run_git("rev-list", str(ends[0]), *stop, git_dir=git.git_dir)
    return [Oid(hex=line) for line in listed.stdout.decode().split()]


_Row = tuple[str, str, Digest, int]
"""Arrayset, key as written, digest, bytes as an array."""


def choose(
    git: GitRepository,
    commits: list[Oid],
    selection: Selection,
    is_here: Callable[[Sequence[Digest]], Iterable[Digest]] = lambda digests: digests,
) -> Chosen:
    """The samples of `commits` that a selection means.

    Parameters
    ----------
    commits
        Newest first; a subset is drawn from the first.
    is_here
        Those of some digests that need not be fetched: the budget is for what is.

    Raises
    ------
    NotFoundError
        An arrayset or sample that is named is in none of the commits.
    """
    chosen = Chosen(commits)
    if not commits:
        return chosen
    snapshots = Snapshots(git, RecordCounts(Layout.of(git).counts))
    first = snapshots(commits[0])
    rows: Iterable[_Row]
    if len(commits) == 1:
        rows = _rows_of(first, selection.arraysets)
    else:
        rows = _rows_of_history(git, commits, selection.arraysets)
    if selection.arraysets is not None:
        rows = listed = list(rows)
        found = {row[0] for row in listed} | set(first.arrayset_trees)
        for name in selection.arraysets:
            if name not in found:
                hint = did_you_mean(name, found)
                raise NotFoundError(f"no arrayset {name!r} in the commits asked for{hint}")
    if selection.samples is not None:
        rows = _matching(rows, selection.samples)
    if selection.stratify is not None:
        subset = _subset(first, selection.stratify)
        everything = list(rows)
        rows = [row for row in everything if row[1] in subset or row[1].split("/")[0] in subset]
        chosen.not_in_subset = len(everything) - len(rows)
    wanted: dict[Digest, int] = {}
    for _, _, digest, size in rows:
        wanted.setdefault(digest, size)
    chosen.sizes = wanted
    if selection.max_bytes is not None:
        _keep_within(chosen, selection.max_bytes, set(is_here(list(wanted))))
    return chosen


def _rows_of(snapshot: Snapshot, names: Sequence[str] | None) -> Iterator[_Row]:
    """Every sample of one commit: arraysets by name, keys in their order."""
    for name in sorted(snapshot.arrayset_trees):
        if names is not None and name not in names:
            continue
        records = snapshot.arrayset(name)
        loaded = records.load_all()
        size_of = _sizes(records.schema)
        for key in sorted_keys(list(loaded)):
            value = loaded[key]
            yield name, key_text(key), value[:DIGEST_SIZE_BYTES], size_of(value)


def _sizes(schema: Schema) -> Callable[[RecordValue], int]:
    """What tells the bytes of a sample from its record."""
    itemsize = schema.dtype.itemsize
    if not schema.variable_shape:
        whole = prod(schema.shape) * itemsize
        return lambda _: whole

    def varying(value: RecordValue) -> int:
        text = value[DIGEST_SIZE_BYTES:].decode()
        return (prod(map(int, text.split(","))) if text else 1) * itemsize

    return varying


def _rows_of_history(
    git: GitRepository, commits: Sequence[Oid], names: Sequence[str] | None
) -> Iterator[_Row]:
    """Every sample that some of the commits name, newest first; each record file is read once."""
    listed = run_git(
        "rev-list", "--objects", "--no-walk=unsorted", "--stdin", git_dir=git.git_dir,
        stdin="".join(f"{commit}\n" for commit in commits).encode(),
    )  # fmt: skip
    schemas: dict[bytes, Callable[[RecordValue], int]] = {}
    files: list[tuple[str, Oid]] = []
    for line in listed.stdout.decode(errors="surrogateescape").splitlines():
        oid, _, path = line.partition(" ")
        match = _RECORD_PATH.fullmatch(path)
        if match is None or (names is not None and match[1] not in names):
            continue
        if match[2] == "schema.json":
            schema = Schema.from_json(git.read_blob(Oid(hex=oid)).decode(), path)
            schemas[schema.tag(match[1]).encode()] = _sizes(schema)
        else:
            files.append((match[1], Oid(hex=oid)))
    for name, blob in files:
        if git.pygit2[blob].type_str != "blob":
            continue
        for tag, key, digest, more in _LINE.findall(git.read_blob(blob)):
            value = bytes.fromhex(digest.decode())
            yield name, key.decode(), value, schemas[tag](value + more)


def _matching(rows: Iterable[_Row], samples: Sequence[SampleKey]) -> list[_Row]:
    """Those rows whose key one of `samples` names; each must name one."""
    exact: dict[str, SampleKey] = {}
    globs: list[tuple[re.Pattern[str], str]] = []
    for sample in samples:
        text = _pattern(sample)
        if isinstance(sample, str) and re.search(r"[*?\[]", text):
            globs.append((re.compile(fnmatch.translate(text)), sample))
        else:
            exact[text] = sample
    used: set[object] = set()
    found: list[_Row] = []
    for row in rows:
        key = row[1]
        name = key if key in exact else key.partition("/")[0]
        if name in exact:
            used.add(exact[name])
        for pattern, sample in globs:
            if pattern.match(key):
                used.add(sample)
                break
        else:
            if name not in exact:
                continue
        found.append(row)
    for sample in samples:
        if sample not in used:
            raise NotFoundError(f"no sample {sample!r} in the arraysets and commits asked for")
    return found


def _pattern(sample: SampleKey) -> str:
    if isinstance(sample, str):
        kind, colon, name = sample.partition(":")
        return {"int": f"#{name}", "str": name}.get(kind, sample) if colon else sample
    return key_text(sample)


def _subset(snapshot: Snapshot, stratify: Stratify) -> set[str]:
    """Keys, as written, of a stratified subset: by largest remainder, in the order of a hash."""
    records: ArraysetRecords = snapshot.arrayset(stratify.arrayset)
    strata: dict[bytes, list[str]] = {}
    for key, value in records.load_all().items():
        strata.setdefault(value[:DIGEST_SIZE_BYTES], []).append(key_text(key))
    total = sum(map(len, strata.values()))
    wanted = stratify.count if stratify.count is not None else round(
        (stratify.fraction or 0) * total
    )  # fmt: skip
    wanted = min(max(wanted, 1), total)
    shares = {digest: len(keys) * wanted / total for digest, keys in strata.items()}
    counts = {digest: int(share) for digest, share in shares.items()}
    left = wanted - sum(counts.values())
    for digest in sorted(shares, key=lambda d: (counts[d] - shares[d], d))[:left]:
        counts[digest] += 1
    found: set[str] = set()
    for digest, keys in strata.items():
        keys.sort(key=lambda key: blake3(f"{stratify.seed}\0{key}".encode()).digest())
        found.update(keys[: counts[digest]])
    return found


def _keep_within(chosen: Chosen, max_bytes: int, here: set[Digest]) -> None:
    """Leave out what does not fit, from the first that does not."""
    if max_bytes < 0:
        raise InvalidInputError(f"{max_bytes} bytes is no budget")
    used = 0
    kept: dict[Digest, int] = {}
    full = False
    for digest, size in chosen.sizes.items():
        if digest in here:
            kept[digest] = size
            continue
        full = full or used + size > max_bytes
        if full:
            chosen.left_out += 1
            chosen.left_out_bytes += size
        else:
            used += size
            kept[digest] = size
    chosen.sizes = kept
