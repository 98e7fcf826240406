"""Arraysets as users hold them: read samples by key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..digest import DIGEST_SIZE_BYTES, Digest
from ..errors import DataNotLocalError, IntegrityError, InvalidInputError, NotFoundError, StateError
from ..keys import SampleKey, sample_key, sorted_keys
from ..records.recordfile import Records, RecordValue, shape_of
from ..records.snapshot import ArraysetRecords
from ..schema import Schema
from ..store.backends import Storage
from ..store.container import element_count
from ..store.store import Store
from ..threads import cpu_count
from .arrayviews import ArrayViews
from .handles import Handle
from .notlocal import not_local
from .pickling import pickled

Array = NDArray[Any]
_START_METHODS = ("spawn", "fork", "forkserver")
_ITERATED_BYTES = 4 << 20
_ITERATED_SAMPLES = 1024
"""Iteration reads this much at once, so that neighbours in a file take one system call."""


class ArraysetBase(Handle, ArrayViews, ABC):
    """What arraysets have in common, whether a sample has one key or two."""

    _revision = ""
    """The commit, to name it in errors; empty if it is staged changes."""

    def __init__(self, records: ArraysetRecords, store: Store) -> None:
        self._name = records.name
        self._store = store
        self._base = records
        self._loaded = records.loaded
        self._use(records.schema)

    def _use(self, schema: Schema) -> None:
        self._schema = schema
        self._dtype = schema.dtype
        self._fixed_shape = None if schema.variable_shape else schema.shape
        self._is_text = schema.kind != "array"

    # -- what it is ----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the arrayset."""
        return self._name

    @property
    def kind(self) -> str:
        """What samples are: ``array``, ``str`` or ``bytes``."""
        return self._schema.kind

    @property
    def dtype(self) -> Any:
        """Dtype of the samples; for kinds str and bytes these types."""
        return {"str": str, "bytes": bytes}.get(self._schema.kind, self._dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the samples or, where it varies, the largest size of each dimension."""
        return () if self._is_text else self._schema.shape

    @property
    def variable_shape(self) -> bool:
        """Whether samples may be smaller than `shape`."""
        return self._schema.variable_shape

    @property
    def named_samples(self) -> bool:
        """Whether samples are given names, rather than having them made up."""
        return self._schema.named_samples

    @property
    def contains_subsamples(self) -> bool:
        """Whether a sample is a mapping of subsamples."""
        return self._schema.nested

    @property
    def iswriteable(self) -> bool:
        """Whether samples can be added and removed."""
        self._require_open()
        return False

    @property
    def backend(self) -> str:
        """Format code of the backend that new samples go to."""
        return Storage.of(self._schema).backend.code

    @property
    def backend_opts(self) -> dict[str, Any]:
        """Codec options that new samples are encoded with."""
        return Storage.of(self._schema).options()

    @property
    def contains_remote_references(self) -> bool:
        """Whether the data of some sample is not on this machine."""
        return bool(self._missing(self._all()))

    def __enter__(self) -> Self:
        self._require_open()
        return self

    def __exit__(self, *error: object) -> None:
        return None

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    def __reduce__(self) -> tuple[Any, ...]:
        self._require_open()
        if self.iswriteable:
            raise StateError(f"arrayset {self._name!r} of a writer checkout cannot be pickled")
        return pickled(self)

    def __repr__(self) -> str:
        dtype = self.dtype
        datatype = dtype.type if isinstance(dtype, np.dtype) and not dtype.names else dtype
        return (
            f"Hangar {type(self).__name__}\n"
            f"    Arrayset Name            : {self._name}\n"
            f"    Schema Hash              : {self._schema.hash}\n"
            f"    Variable Shape           : {self.variable_shape}\n"
            f"    (max) Shape              : {self.shape}\n"
            f"    Datatype                 : {datatype}\n"
            f"    Named Samples            : {self.named_samples}\n"
            f"    Access Mode              : {'a' if self.iswriteable else 'r'}\n"
            f"    Number of Samples        : {len(self)}\n"
            f"    Partial Remote Data Refs : {self.contains_remote_references}\n"
        )

    # -- records -------------------------------------------------------------------------------

    def _all(self) -> Records:
        """Record of every sample."""
        return self._base.load_all()

    def _key(self, name: object) -> SampleKey:
        """`name` as a key of this arrayset; InvalidInputError if it cannot be one."""
        return sample_key(name)

    def _record(self, name: object) -> RecordValue | None:
        """Record of one sample, or None."""
        try:
            return self._base.get(self._key(name))
        except InvalidInputError:
            return None

    def _require(self, name: object) -> RecordValue:
        value = self._record(name)
        if value is None:
            raise NotFoundError(f"arrayset {self._name!r} has no sample {name!r}")
        return value

    def _missing(self, records: Records) -> list[Digest]:
        """Digests of those `records` whose data is not on this machine."""
        return self._store.missing({value[:DIGEST_SIZE_BYTES] for value in records.values()})

    def _local_keys(self, records: Records, *, local: bool) -> list[SampleKey]:
        """Keys of `records`, in the order users see; with `local` those on this machine."""
        keys = sorted_keys(list(records))
        missing = set(self._missing(records)) if local else ()
        if not missing:
            return keys
        return [k for k in keys if records[k][:DIGEST_SIZE_BYTES] not in missing]

    def _remote_keys(self, records: Records) -> list[SampleKey]:
        """Keys of those `records` whose data is not on this machine."""
        missing = set(self._missing(records))
        return [k for k in sorted_keys(list(records)) if records[k][:DIGEST_SIZE_BYTES] in missing]

    def _not_local(self, key: object = None) -> DataNotLocalError:
        """The error for a sample that is not on this machine."""
        return not_local(self._base.git, self._name, self._revision, key)

    # -- samples of records --------------------------------------------------------------------

    def _sample(self, value: RecordValue) -> Any:
        """The sample of a record."""
        shape = shape_of(value) if self._fixed_shape is None else self._fixed_shape
        try:
            array = self._store.get(value[:DIGEST_SIZE_BYTES], self._dtype, shape)
        except DataNotLocalError as error:
            raise self._not_local() from error
        return self._schema.value(array) if self._is_text else array

    def _part(self, value: RecordValue, index: object) -> Array:
        """What `index` selects of the sample of a record."""
        if self._is_text:
            raise InvalidInputError(f"samples of kind {self.kind!r} are read whole, then sliced")
        shape = shape_of(value) if self._fixed_shape is None else self._fixed_shape
        return self._store.get_part(value[:DIGEST_SIZE_BYTES], self._dtype, shape, index)

    def _samples(self, values: Sequence[RecordValue], threads: int) -> list[Any]:
        """The samples of many records."""
        size = DIGEST_SIZE_BYTES
        if self._fixed_shape is not None:
            return self._store.get_many(
                values, self._dtype, [self._fixed_shape] * len(values), threads
            )
        shapes = [shape_of(value) for value in values]
        found = self._store.get_many([v[:size] for v in values], self._dtype, shapes, threads)
        return [self._schema.value(array) for array in found] if self._is_text else found

    def _iterate(self, values: Sequence[RecordValue], *, read_ahead: bool) -> Iterator[Any]:
        """The samples of many records, read in batches; with `read_ahead` while others are used."""
        shape = self._fixed_shape or (1,)
        size = element_count(shape) * self._dtype.itemsize if self._fixed_shape else 64 << 10
        step = max(1, min(_ITERATED_SAMPLES, _ITERATED_BYTES // size))
        parts = [values[at : at + step] for at in range(0, len(values), step)]
        threads = cpu_count() if read_ahead else 1
        if not read_ahead or len(parts) < 2:
            for part in parts:
                yield from self._batch(part, threads)
            return
        with ThreadPoolExecutor(1, "hangar-read-ahead") as pool:
            coming = pool.submit(self._batch, parts[0], threads)
            for part in [*parts[1:], []]:
                batch, coming = coming.result(), pool.submit(self._batch, part, threads)
                yield from batch

    def _batch(self, values: Sequence[RecordValue], threads: int) -> Iterable[Any]:
        try:
            return self._samples(values, threads)
        except (DataNotLocalError, IntegrityError):
            return map(self._sample, values)  # so that those before the bad one are given


class ArraysetDataReader(ArraysetBase):
    """Samples of one arrayset in one commit; looks and acts like a read-only mapping.

    Safe to read from several threads, and in processes forked from this one.
    """

    def get(self, name: SampleKey, *, slices: Any = None) -> Any:
        """The sample called `name`: a fresh, writable, C-contiguous array; or a str or bytes.

        Parameters
        ----------
        name
            Of the sample.
        slices
            An index of ints, slices and ``...``, to read a part; of samples in backend ``20``,
            only the chunks that it touches are read.

        Raises
        ------
        KeyError
            There is no such sample.
        FileNotFoundError
            It exists, but its data is not on this machine.
        IntegrityError
            The stored bytes are damaged; names file, offset and digest.
        IndexError
            An int in `slices` is beyond the sample's shape.
        """
        # Only of these two types are equal keys the same key: True == 1, and 1.0 == 1.
        if type(name) is int or type(name) is str:
            value = self._loaded.get(name) or self._require(name)
        else:
            value = self._require(name)
        try:
            if slices is not None:
                return self._part(value, slices)
            if self._fixed_shape is not None:
                return self._store.get(value, self._dtype, self._fixed_shape)
            return self._sample(value)
        except DataNotLocalError as error:
            raise self._not_local(name) from error

    def __getitem__(self, key: Any) -> Any:
        """As `get`; ``aset[name, 10:20, ..., ::2]`` reads a part."""
        if isinstance(key, tuple) and key:
            return self.get(key[0], slices=key[1:])
        return self.get(key)

    def get_batch(
        self,
        names: SampleKey | Iterable[SampleKey],
        *,
        n_cpus: int | None = None,
        start_method: str = "spawn",
    ) -> Any:
        """The samples called `names`, in their order; one sample if `names` is one name.

        Neighbours in a file are read at once, in the order of the file.

        Parameters
        ----------
        names
            Names to read.
        n_cpus
            How many threads decode; None for half the processors. Samples of less than 16 KiB are
            decoded by one, which is faster.
        start_method
            One of 'spawn', 'fork', 'forkserver'. Decoding lets go of the interpreter lock, so that
            threads serve as well as processes, and need no starting: checked, without effect.

        Raises
        ------
        KeyError
            One of the samples does not exist.
        """
        if start_method not in _START_METHODS:
            raise InvalidInputError(
                f"start_method is one of {_START_METHODS}, not {start_method!r}"
            )
        if isinstance(names, str | int | np.integer):
            return self.get(names)
        loaded, require = self._loaded, self._require
        values = [
            (loaded.get(name) if type(name) is int or type(name) is str else None) or require(name)
            for name in names
        ]
        threads = n_cpus if n_cpus is not None else cpu_count() // 2
        try:
            return self._samples(values, min(threads, 4 * cpu_count()))
        except DataNotLocalError as error:
            raise self._not_local() from error

    def __contains__(self, key: object) -> bool:
        """Whether there is a sample of this name, on this machine or not."""
        return self._record(key) is not None

    def __len__(self) -> int:
        """Number of samples."""
        return self._base.count()

    def __iter__(self) -> Iterator[SampleKey]:
        """As `keys`."""
        return self.keys()

    def keys(self, local: bool = False) -> Iterator[SampleKey]:
        """Names of all samples: integers by value, then strings by text.

        Parameters
        ----------
        local
            Only samples whose data is on this machine.
        """
        return iter(self._local_keys(self._all(), local=local))

    def values(self, local: bool = False, *, read_ahead: bool = False) -> Iterator[Any]:
        """All samples, in the order of `keys`.

        Parameters
        ----------
        local
            As for `keys`.
        read_ahead
            Read and decode the next samples while the former are used.
        """
        records = self._all()
        keys = self._local_keys(records, local=local)
        return self._iterate([records[key] for key in keys], read_ahead=read_ahead)

    def items(
        self, local: bool = False, *, read_ahead: bool = False
    ) -> Iterator[tuple[SampleKey, Any]]:
        """Name and sample of each, as `values`."""
        records = self._all()
        keys = self._local_keys(records, local=local)
        values = [records[key] for key in keys]
        return zip(keys, self._iterate(values, read_ahead=read_ahead), strict=False)

    @property
    def remote_reference_keys(self) -> list[SampleKey]:
        """Names of the samples whose data is not on this machine."""
        return self._remote_keys(self._all())

    def _ipython_key_completions_(self) -> list[SampleKey]:
        return list(self.keys())
