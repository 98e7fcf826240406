"""Arraysets whose samples are mappings of subsamples: ``aset["patient-7"]["ct"]``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import DataNotLocalError, InvalidInputError, NotFoundError
from ..keys import NestedKey, SampleKey, SimpleKey, nested_key, sample_key, sorted_keys
from ..records.recordfile import Records, RecordValue
from ..records.snapshot import ArraysetRecords
from ..schema import Schema
from ..staging.session import WriteSession
from ..store.store import Store
from ..threads import cpu_count
from .arrayset import Array, ArraysetBase
from .arraysetwriter import WriterBase
from .handles import Handle


class NestedArraysetReader(ArraysetBase):
    """Samples with subsamples in one commit; looks and acts like a read-only mapping of mappings.

    A sample is a `Subsamples`. Pairs of names reach through: ``aset["patient-7", "ct"]``.
    """

    def __init__(self, records: ArraysetRecords, store: Store) -> None:
        super().__init__(records, store)
        self._outer: dict[SimpleKey, dict[SimpleKey, RecordValue]] = {}
        self._files_seen: set[str] = set()

    # -- samples -------------------------------------------------------------------------------

    def get(self, name: Any, *, slices: Any = None) -> Any:
        """The sample called `name`; or, if `name` is a pair of names, the subsample.

        Parameters
        ----------
        name
            Of the sample, or a tuple of its name and the subsample's.
        slices
            With a pair: reads a part, as `ArraysetDataReader.get` does.

        Raises
        ------
        KeyError
            There is no such sample, or subsample.
        FileNotFoundError, IntegrityError, IndexError
            As `ArraysetDataReader.get`.
        """
        if isinstance(name, tuple):
            value = self._require(name)
            try:
                return self._sample(value) if slices is None else self._part(value, slices)
            except DataNotLocalError as error:
                raise self._not_local(name) from error
        if slices is not None:
            raise InvalidInputError("slices are of a subsample: give a pair of names")
        if not self._inner(name):
            raise NotFoundError(f"arrayset {self._name!r} has no sample {name!r}")
        return self._view(name)

    def __getitem__(self, key: Any) -> Any:
        """As `get`; ``aset[name, subname, 10:20]`` reads a part of a subsample."""
        if isinstance(key, tuple) and len(key) > 2:  # a pair of names, and slices
            return self.get(key[:2], slices=key[2:])
        return self.get(key)

    def get_batch(
        self, names: Iterable[NestedKey], *, n_cpus: int | None = None, start_method: str = "spawn"
    ) -> list[Any]:
        """The subsamples of these pairs of names; see `ArraysetDataReader.get_batch`."""
        if start_method not in ("spawn", "fork", "forkserver"):
            raise InvalidInputError(f"unknown start_method {start_method!r}")
        threads = n_cpus if n_cpus is not None else cpu_count() // 2
        return self._samples([self._require(name) for name in names], threads)

    def __contains__(self, key: object) -> bool:
        """Whether there is a sample of this name, or a subsample of this pair of names."""
        if isinstance(key, tuple):
            return self._record(key) is not None
        return bool(self._inner(key))

    def __len__(self) -> int:
        """Number of samples."""
        return len({_pair(key)[0] for key in self._all()})

    @property
    def num_subsamples(self) -> int:
        """Number of subsamples, of all samples."""
        return len(self._all())

    def __iter__(self) -> Iterator[SimpleKey]:
        """As `keys`."""
        return self.keys()

    def keys(self, local: bool = False) -> Iterator[SimpleKey]:
        """Names of all samples; with `local` those that have a subsample on this machine."""
        keys = self._local_keys(self._all(), local=local)
        return iter(sorted_keys(list({_pair(key)[0] for key in keys})))

    def values(self, local: bool = False) -> Iterator[Subsamples]:
        """All samples, in the order of `keys`."""
        return (self._view(name) for name in self.keys(local))

    def items(self, local: bool = False) -> Iterator[tuple[SimpleKey, Subsamples]]:
        """Name and sample of each, in the order of `keys`."""
        return ((name, self._view(name)) for name in self.keys(local))

    @property
    def remote_reference_keys(self) -> list[SampleKey]:
        """Pairs of names of the subsamples whose data is not on this machine."""
        return self._remote_keys(self._all())

    def _ipython_key_completions_(self) -> list[SimpleKey]:
        return list(self.keys())

    # -- records -------------------------------------------------------------------------------

    def _key(self, name: object) -> NestedKey:
        if not isinstance(name, tuple) or len(name) != 2:
            raise InvalidInputError(f"{name!r} is not a pair of names")
        return nested_key(*name)

    def _view(self, name: object) -> Subsamples:
        return Subsamples(self, sample_key(name))

    def _inner(self, name: object) -> Mapping[SimpleKey, RecordValue]:
        """Record of each subsample of a sample; those of one sample lie in one record file."""
        try:
            outer = sample_key(name)
        except InvalidInputError:
            return {}
        prefix = self._base.format.prefix_of((outer, 0))
        if prefix not in self._files_seen:
            for key, value in self._base.read_file(prefix).items():
                self._outer.setdefault(_pair(key)[0], {})[_pair(key)[1]] = value
            self._files_seen.add(prefix)
        return self._outer.get(outer, {})


class Subsamples(Handle, Mapping[SimpleKey, Any]):
    """One sample of a nested arrayset: a mapping from names to subsamples."""

    def __init__(self, aset: NestedArraysetReader, sample: SimpleKey) -> None:
        self._aset = aset
        self._sample = sample

    @property
    def sample(self) -> SimpleKey:
        """Name of the sample."""
        return self._sample

    @property
    def arrayset(self) -> str:
        """Name of the arrayset."""
        return self._aset.name

    @property
    def data(self) -> dict[SimpleKey, Any]:
        """All subsamples, read at once."""
        records = self._records()
        values = [records[(self._sample, key)] for key in self]
        return dict(zip(self, self._aset._samples(values, cpu_count()), strict=True))

    def get(  # type: ignore[override]  # no default: as other samples
        self, name: Any, *, slices: Any = None
    ) -> Any:
        """The subsample called `name`, or the part of it that `slices` select.

        Raises
        ------
        KeyError
            There is none.
        """
        return self._aset.get((self._sample, name), slices=slices)

    def __getitem__(self, key: Any) -> Any:
        """As `get`; ``sample[name, 10:20]`` reads a part."""
        if isinstance(key, tuple) and key:
            return self.get(key[0], slices=key[1:])
        return self.get(key)

    def __contains__(self, key: object) -> bool:
        """Whether there is a subsample of this name."""
        return (self._sample, key) in self._aset

    def __len__(self) -> int:
        """Number of subsamples."""
        return len(self._aset._inner(self._sample))

    def __iter__(self) -> Iterator[SimpleKey]:
        """Names of the subsamples: integers by value, then strings by text."""
        return iter(sorted_keys(list(self._aset._inner(self._sample))))

    @property
    def contains_remote_references(self) -> bool:
        """Whether the data of some subsample is not on this machine."""
        return bool(self._aset._missing(self._records()))

    @property
    def remote_reference_keys(self) -> list[SimpleKey]:
        """Names of the subsamples whose data is not on this machine."""
        return [_pair(key)[1] for key in self._aset._remote_keys(self._records())]

    def _records(self) -> Records:
        inner = self._aset._inner(self._sample)
        return {(self._sample, key): value for key, value in inner.items()}

    def __repr__(self) -> str:
        return (
            f"Hangar {type(self).__name__}\n"
            f"    Arrayset Name        : {self.arrayset}\n"
            f"    Sample Name          : {self.sample}\n"
            f"    Number of Subsamples : {len(self)}\n"
        )

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


class NestedArraysetWriter(WriterBase, NestedArraysetReader):
    """A nested arrayset of a writer checkout: the commit's samples, with the staged changes.

    A sample comes to be with its first subsample: ``aset["patient-8"]["ct"] = array``.
    """

    def __init__(self, records: ArraysetRecords, session: WriteSession) -> None:
        super().__init__(records, session)
        self._start_over()

    def _start_over(self) -> None:
        self._outer, self._files_seen = {}, set()
        self._staged_inner: defaultdict[SimpleKey, set[SimpleKey]] = defaultdict(set)
        for key in self._staged()[0]:
            self._note(key)

    def _note(self, key: SampleKey) -> None:
        """Remember that an edit of `key` is staged, for its sample's mapping."""
        outer, inner = _pair(key)
        self._staged_inner[outer].add(inner)

    def _rebase(self, records: ArraysetRecords, schema: Schema) -> None:
        super()._rebase(records, schema)
        self._start_over()

    def _inner(self, name: object) -> Mapping[SimpleKey, RecordValue]:
        values, fresh = self._staged()
        inner = {} if fresh else dict(super()._inner(name))
        try:
            outer = sample_key(name)
        except InvalidInputError:
            return {}
        for key in self._staged_inner.get(outer, ()):
            value = values.get((outer, key))
            if value is None:
                inner.pop(key, None)
            else:
                inner[key] = value
        return inner

    def _view(self, name: object) -> SubsamplesWriter:
        return SubsamplesWriter(self, sample_key(name))

    def __getitem__(self, key: Any) -> Any:
        """As `get`; a sample that is not there yet is an empty one, to put subsamples into."""
        return super().__getitem__(key) if isinstance(key, tuple) else self._view(key)

    # -- changing ------------------------------------------------------------------------------

    def add(self, data: Any, name: NestedKey) -> NestedKey:
        """Store one subsample, called by the pair `name`; one of the same name is replaced.

        Raises
        ------
        ValueError
            As `ArraysetDataWriter.add`; a name that is no pair of names.
        """
        key = self._key(name)
        self._note(key)
        self._put(key, self._schema.accept(data, self._name, key))
        return key

    def __setitem__(self, key: Any, value: Any) -> None:
        """Store a subsample by its pair of names; or by a sample's name, a mapping of subsamples.

        Subsamples that are not in the mapping stay.
        """
        self._put_all(self._accepted(key, value))

    def update(
        self, other: Mapping[Any, Any] | Iterable[tuple[Any, Any]] = (), **kwargs: Any
    ) -> None:
        """Store many samples: each a mapping of subsamples, or with a pair of names a subsample.

        All of them are stored or, if one is not right, none.
        """
        rows = [
            row
            for name, data in {**dict(other), **kwargs}.items()
            for row in self._accepted(name, data)
        ]
        self._put_all(rows)

    def _put_all(self, rows: Sequence[tuple[SampleKey, Array]]) -> None:
        for key, _ in rows:
            self._note(key)
        super()._put_all(rows)

    def _accepted(self, name: object, data: object) -> list[tuple[SampleKey, Array]]:
        accept, arrayset = self._schema.accept, self._name
        if isinstance(name, tuple):
            key = self._key(name)
            return [(key, accept(data, arrayset, key))]
        if not isinstance(data, Mapping):
            raise InvalidInputError(
                f"sample {name!r} of arrayset {arrayset!r} is set from a mapping of subsamples,"
                f" not {type(data).__name__}"
            )
        keys = [nested_key(name, inner) for inner in data]
        return [
            (key, accept(one, arrayset, key)) for key, one in zip(keys, data.values(), strict=True)
        ]

    def remove(self, name: Any) -> Any:
        """Remove a sample with all its subsamples; or, by a pair of names, one subsample.

        Raises
        ------
        KeyError
            There is no such sample or subsample.
        """
        if isinstance(name, tuple):
            self._require(name)
            keys = [self._key(name)]
        else:
            outer = sample_key(name)
            keys = [(outer, inner) for inner in self._inner(outer)]
            if not keys:
                raise NotFoundError(f"arrayset {self._name!r} has no sample {name!r}")
        with self._session.area.deferring():
            for key in keys:
                self._note(key)
                self._remove(key)
        return name

    def __delitem__(self, key: Any) -> None:
        """As `remove`."""
        self.remove(key)


class SubsamplesWriter(Subsamples):
    """One sample of a nested arrayset in a writer checkout; subsamples are set and deleted."""

    _aset: NestedArraysetWriter

    def add(self, data: Any, name: SimpleKey) -> SimpleKey:
        """Store one subsample; one of the same name is replaced."""
        return self._aset.add(data, (self._sample, name))[1]

    def __setitem__(self, key: SimpleKey, value: Any) -> None:
        """As `add`."""
        self.add(value, key)

    def update(
        self, other: Mapping[Any, Any] | Iterable[tuple[Any, Any]] = (), **kwargs: Any
    ) -> None:
        """Store many subsamples: all of them or, if one is not right, none."""
        self._aset[self._sample] = {**dict(other), **kwargs}

    def remove(self, name: SimpleKey) -> SimpleKey:
        """Remove a subsample; with the last one, the sample is gone.

        Raises
        ------
        KeyError
            There is none.
        """
        self._aset.remove((self._sample, name))
        return name

    def __delitem__(self, key: SimpleKey) -> None:
        """As `remove`."""
        self.remove(key)


def _pair(key: SampleKey) -> NestedKey:
    assert isinstance(key, tuple)
    return key
