"""Arraysets as users hold them: read samples by key, and in a writer checkout write them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..digest import DIGEST_SIZE_BYTES, Digest
from ..errors import InvalidInputError, NotFoundError, StateError
from ..keys import SampleKey, random_key, sample_key, sorted_keys
from ..records.recordfile import Records, RecordValue
from ..records.snapshot import ArraysetRecords
from ..schema import Schema
from ..staging.session import WriteSession
from ..store.backends import chosen_backend, chosen_codec, parse_backend_opts
from ..store.store import Store
from .handles import Handle

Array = NDArray[Any]
_START_METHODS = ("spawn", "fork", "forkserver")


class ArraysetDataReader(Handle):
    """Samples of one arrayset in one commit; looks and acts like a read-only mapping.

    Safe to read from several threads, and in processes forked from this one.
    """

    def __init__(self, records: ArraysetRecords, store: Store) -> None:
        self._name = records.name
        self._schema = records.schema
        self._dtype = records.schema.dtype
        self._fixed_shape = None if records.schema.variable_shape else records.schema.shape
        self._base = records
        self._loaded = records.loaded
        self._store = store

    # -- what it is ----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the arrayset."""
        return self._name

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the samples."""
        return self._dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the samples or, where it varies, the largest size of each dimension."""
        return self._schema.shape

    @property
    def variable_shape(self) -> bool:
        """Whether samples may be smaller than `shape`."""
        return self._schema.variable_shape

    @property
    def named_samples(self) -> bool:
        """Whether samples are given names, rather than having them made up."""
        return self._schema.named_samples

    @property
    def iswriteable(self) -> bool:
        """Whether samples can be added and removed."""
        return False

    @property
    def backend(self) -> str:
        """Format code of the backend that new samples go to."""
        return chosen_backend(self._schema)

    @property
    def backend_opts(self) -> dict[str, Any]:
        """Codec options that new samples are encoded with."""
        return chosen_codec(self._schema).to_json()

    # -- samples -------------------------------------------------------------------------------

    def get(self, name: SampleKey) -> Array:
        """The sample called `name`: a fresh, writable, C-contiguous array.

        Raises
        ------
        KeyError
            There is no such sample.
        FileNotFoundError
            It exists, but its data is not on this machine.
        IntegrityError
            The stored bytes are damaged; names file, offset and digest.
        """
        # Only of these two types are equal keys the same key: True == 1, and 1.0 == 1.
        if type(name) is int or type(name) is str:
            value = self._loaded.get(name) or self._require(name)
        else:
            value = self._require(name)
        if self._fixed_shape is not None:
            return self._store.get(value, self._dtype, self._fixed_shape)
        return self._store.get(value[:DIGEST_SIZE_BYTES], self._dtype, _shape_of(value))

    def __getitem__(self, key: SampleKey) -> Array:
        """As `get`."""
        return self.get(key)

    def get_batch(
        self,
        names: SampleKey | Iterable[SampleKey],
        *,
        n_cpus: int | None = None,
        start_method: str = "spawn",
    ) -> Array | list[Array]:
        """The samples called `names`, in their order; one array if `names` is one name.

        Parameters
        ----------
        names
            Names to read.
        n_cpus
            How many threads decode; None for half the processors.
        start_method
            One of 'spawn', 'fork', 'forkserver'. Decoding runs in threads, which need no starting:
            accepted, checked, and without effect.

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
        names = list(names)
        workers = n_cpus if n_cpus is not None else (os.cpu_count() or 2) // 2
        if workers <= 1 or len(names) < 2:
            return [self.get(name) for name in names]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(self.get, names))

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
        records = self._all()
        keys = sorted_keys(list(records))
        missing = set(self._missing(records)) if local else ()
        return iter([k for k in keys if records[k][:DIGEST_SIZE_BYTES] not in missing]
                    if missing else keys)  # fmt: skip

    def values(self, local: bool = False) -> Iterator[Array]:
        """All samples, in the order of `keys`."""
        return (self.get(key) for key in self.keys(local))

    def items(self, local: bool = False) -> Iterator[tuple[SampleKey, Array]]:
        """Name and sample of each, in the order of `keys`."""
        return ((key, self.get(key)) for key in self.keys(local))

    @property
    def contains_remote_references(self) -> bool:
        """Whether the data of some sample is not on this machine."""
        return bool(self._missing(self._all()))

    @property
    def remote_reference_keys(self) -> list[SampleKey]:
        """Names of the samples whose data is not on this machine."""
        records = self._all()
        missing = set(self._missing(records))
        return [k for k in sorted_keys(list(records)) if records[k][:DIGEST_SIZE_BYTES] in missing]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __repr__(self) -> str:
        datatype = self._dtype if self._dtype.names else self._dtype.type
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

    def _ipython_key_completions_(self) -> list[SampleKey]:
        return list(self.keys())

    # -- records -------------------------------------------------------------------------------

    def _all(self) -> Records:
        """Record of every sample."""
        return self._base.load_all()

    def _record(self, name: object) -> RecordValue | None:
        """Record of one sample, or None."""
        try:
            return self._base.get(sample_key(name))
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


class ArraysetDataWriter(ArraysetDataReader):
    """One arrayset of a writer checkout: the commit's samples, with the staged changes.

    As a context manager it is faster: changes become durable when the block ends, or when a buffer
    is flushed, and not one by one. A block left by an exception keeps what was added before it.
    """

    def __init__(self, records: ArraysetRecords, session: WriteSession) -> None:
        super().__init__(records, session.store)
        self._session = session
        self._open_blocks: list[AbstractContextManager[None]] = []

    @property
    def iswriteable(self) -> bool:
        """Whether samples can be added and removed."""
        return True

    def get(self, name: SampleKey) -> Array:
        """As `ArraysetDataReader.get`, with the staged changes."""
        value = self._require(name)
        shape = _shape_of(value) if self._fixed_shape is None else self._fixed_shape
        return self._store.get(value[:DIGEST_SIZE_BYTES], self._dtype, shape)

    # -- changing ------------------------------------------------------------------------------

    def add(self, data: Array, name: SampleKey | None = None, **kwargs: Any) -> SampleKey:  # noqa: ARG002
        """Store one sample; one of the same name is replaced.

        Parameters
        ----------
        data
            C-contiguous, of the arrayset's dtype and shape.
        name
            Its name; arraysets of unnamed samples make one up.
        **kwargs
            Accepted, and without effect.

        Returns
        -------
        SampleKey
            The name it is stored under.

        Raises
        ------
        ValueError
            No name where one is needed, a name that is not valid, data that is no ndarray, not
            C-contiguous, or not of the declared dtype and shape.
        """
        schema = self._schema
        if not schema.named_samples:
            key: SampleKey = random_key()
        elif name is None:
            raise InvalidInputError(
                f"arrayset {self._name!r} has named samples: a name is required"
            )
        else:
            key = sample_key(name)
        array = schema.accept(data, self._name, key)
        session = self._session
        if not session.area.deferred:
            session.check()
        session.area.put(self._name, key, schema, array)
        return key

    def __setitem__(self, key: SampleKey, value: Array) -> SampleKey:
        """As `add`."""
        return self.add(value, key)

    def remove(self, name: SampleKey) -> SampleKey:
        """Remove a sample from the next commit; earlier commits keep it.

        Raises
        ------
        KeyError
            There is no such sample.
        """
        self._require(name)
        key = sample_key(name)
        self._session.check()
        self._session.area.remove(self._name, key)
        return key

    def __delitem__(self, key: SampleKey) -> SampleKey:
        """As `remove`."""
        return self.remove(key)

    def change_backend(self, backend_opts: str | dict[str, Any] | None) -> None:
        """Choose the backend and codec of samples written from now on.

        Parameters
        ----------
        backend_opts
            Format code; or a dict with key ``backend`` and codec options; None to let the store
            choose.

        Raises
        ------
        RuntimeError
            This arrayset is open as a context manager.
        ValueError
            No such backend, or options it does not take.
        """
        if self._open_blocks:
            raise StateError("the backend cannot be changed inside a context manager")
        schema = with_backend(self._schema, backend_opts)
        self._session.check()
        self._session.area.change_schema(self._name, schema)
        self._schema = schema

    # -- context manager -----------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._session.check()
        block = self._session.area.deferring()
        block.__enter__()
        self._open_blocks.append(block)
        return self

    def __exit__(self, *error: object) -> None:
        self._session.check()
        self._open_blocks.pop().__exit__(None, None, None)

    # -- records -------------------------------------------------------------------------------

    def _rebase(self, records: ArraysetRecords) -> None:
        """Go on with the records of another commit."""
        self._base, self._loaded, self._schema = records, records.loaded, records.schema

    def _staged(self) -> tuple[dict[SampleKey, RecordValue | None], bool]:
        """Staged records, and whether they are all there is."""
        edits = self._session.area.edits.arraysets.get(self._name)
        return (edits.values, edits.fresh) if edits is not None else ({}, False)

    def _all(self) -> Records:
        values, fresh = self._staged()
        records = {} if fresh else dict(super()._all())
        for key, value in values.items():
            if value is None:
                records.pop(key, None)
            else:
                records[key] = value
        return records

    def _record(self, name: object) -> RecordValue | None:
        try:
            key = sample_key(name)
        except InvalidInputError:
            return None
        values, fresh = self._staged()
        if key in values or fresh:
            return values.get(key)
        return super()._record(key)

    def __len__(self) -> int:
        values, fresh = self._staged()
        if fresh:
            return len(values)
        before = sum(self._base.get(key) is not None for key in values)
        after = sum(value is not None for value in values.values())
        return self._base.count() - before + after


def with_backend(schema: Schema, backend_opts: str | dict[str, Any] | None) -> Schema:
    """`schema` with the backend that `backend_opts` asks for."""
    if backend_opts is None:
        return replace(schema, backend=None, backend_opts=None)
    code, options = parse_backend_opts(backend_opts, schema)
    return replace(schema, backend=code, backend_opts=options)


def _shape_of(value: RecordValue) -> tuple[int, ...]:
    text = value[DIGEST_SIZE_BYTES:].decode()
    return tuple(map(int, text.split(","))) if text else ()
