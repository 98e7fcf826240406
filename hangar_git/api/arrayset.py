"""Arraysets as users hold them: read samples by key, and in a writer checkout write them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..digest import DIGEST_SIZE_BYTES, Digest
from ..errors import InvalidInputError, NotFoundError
from ..keys import SampleKey, sample_key, sorted_keys
from ..records.recordfile import Records, RecordValue
from ..records.snapshot import ArraysetRecords
from ..store.backends import chosen_backend, chosen_codec
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
        self._require_open()
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
        return self._store.get(value[:DIGEST_SIZE_BYTES], self._dtype, shape_of(value))

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
        self._require_open()
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


def shape_of(value: RecordValue) -> tuple[int, ...]:
    """The shape that the record of a sample of varying shape states."""
    text = value[DIGEST_SIZE_BYTES:].decode()
    return tuple(map(int, text.split(","))) if text else ()
