"""Arraysets of a writer checkout: add and remove samples, on top of reading them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Self

import numpy as np

from ..errors import InvalidInputError, StateError
from ..keys import SampleKey, random_key, sample_key, sample_keys
from ..records.recordfile import Records, RecordValue
from ..records.snapshot import ArraysetRecords
from ..schema import Schema
from ..staging.session import WriteSession
from ..store.backends import parse_backend_opts
from .arrayset import Array, ArraysetBase, ArraysetDataReader


class WriterBase(ArraysetBase):
    """What arraysets of a writer checkout have in common.

    As a context manager they are faster: changes become durable when the block ends, or when a
    buffer is flushed, and not one by one. A block left by an exception keeps what was added before.
    """

    def __init__(self, records: ArraysetRecords, session: WriteSession) -> None:
        super().__init__(records, session.store)
        self._session = session
        self._open_blocks: list[AbstractContextManager[None]] = []

    @property
    def iswriteable(self) -> bool:
        """Whether samples can be added and removed."""
        self._require_open()
        return True

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
        self._use(schema)

    def __enter__(self) -> Self:
        self._session.check()
        block = self._session.area.deferring()
        block.__enter__()
        self._open_blocks.append(block)
        return self

    def __exit__(self, *error: object) -> None:
        self._session.check()
        self._open_blocks.pop().__exit__(None, None, None)

    # -- changing ------------------------------------------------------------------------------

    @abstractmethod
    def _accepted(self, name: object, data: object) -> list[tuple[SampleKey, Array]]:
        """Keys and arrays that are to be put for sample `name`, checked."""

    def _put(self, key: SampleKey, array: Array) -> None:
        """Stage one sample that was accepted."""
        session = self._session
        if not session.area.deferred:
            session.check()
        session.area.put(self._name, key, self._schema, array)

    def _put_all(self, rows: Sequence[tuple[SampleKey, Array]]) -> None:
        """Stage many samples that were accepted."""
        if rows:
            self._session.check()
            keys, arrays = zip(*rows, strict=True)
            self._session.area.put_many(self._name, keys, self._schema, arrays)

    def _remove(self, key: SampleKey) -> None:
        self._session.check()
        self._session.area.remove(self._name, key)

    # -- records -------------------------------------------------------------------------------

    def _rebase(self, records: ArraysetRecords, schema: Schema) -> None:
        """Go on with the records of another commit, and perhaps a staged schema."""
        self._base, self._loaded = records, records.loaded
        self._use(schema)

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
            key = self._key(name)
        except InvalidInputError:
            return None
        values, fresh = self._staged()
        if key in values or fresh:
            return values.get(key)
        return super()._record(key)


class ArraysetDataWriter(WriterBase, ArraysetDataReader):
    """One arrayset of a writer checkout: the commit's samples, with the staged changes."""

    def get(self, name: SampleKey, *, slices: Any = None) -> Any:
        """As `ArraysetDataReader.get`, with the staged changes."""
        value = self._require(name)
        return self._sample(value) if slices is None else self._part(value, slices)

    def get_batch(
        self,
        names: SampleKey | Iterable[SampleKey],
        *,
        n_cpus: int | None = None,
        start_method: str = "spawn",
    ) -> Any:
        """As `ArraysetDataReader.get_batch`, with the staged changes."""
        if not isinstance(names, str | int | np.integer):
            names = list(names)
            values, fresh = self._staged()
            if fresh or not values.keys().isdisjoint(names):
                return [self.get(name) for name in names]
        return super().get_batch(names, n_cpus=n_cpus, start_method=start_method)

    def __len__(self) -> int:
        values, fresh = self._staged()
        if fresh:
            return len(values)
        before = sum(self._base.get(key) is not None for key in values)
        after = sum(value is not None for value in values.values())
        return self._base.count() - before + after

    # -- changing ------------------------------------------------------------------------------

    def add(self, data: Any, name: SampleKey | None = None, **kwargs: Any) -> SampleKey:  # noqa: ARG002
        """Store one sample; one of the same name is replaced.

        Parameters
        ----------
        data
            C-contiguous, of the arrayset's dtype and shape; or a str or bytes, as its kind is.
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
        self._put(key, schema.accept(data, self._name, key))
        return key

    def __setitem__(self, key: SampleKey, value: Any) -> SampleKey:
        """As `add`."""
        return self.add(value, key)

    def add_batch(
        self,
        samples: Mapping[SampleKey, Any] | Iterable[SampleKey] | None,
        data: Array | Sequence[Any] | None = None,
    ) -> list[SampleKey]:
        """Store many samples, hashed and encoded by all processors; all of them, or none.

        Parameters
        ----------
        samples
            Name -> sample; or names, for `data`. None if samples are unnamed.
        data
            One sample for each name: a list, or an array stacked along its first axis.

        Returns
        -------
        list
            The names, in order.

        Raises
        ------
        ValueError
            As `add`; or not as many names as samples.
        """
        if isinstance(samples, Mapping):
            if data is not None:
                raise InvalidInputError("give either a mapping, or names and data, not both")
            names: Sequence[Any] = list(samples)
            data = list(samples.values())
        elif data is None:
            raise InvalidInputError("names were given without data")
        else:
            names = [None] * len(data) if samples is None else list(samples)
        if len(names) != len(data):
            raise InvalidInputError(f"{len(names)} names and {len(data)} samples were given")
        if not self._schema.named_samples:
            keys: list[SampleKey] = [random_key() for _ in data]
        else:
            keys = sample_keys(names)
        if keys:
            self._session.check()
            arrays = self._schema.accept_all(data, self._name, keys)
            self._session.area.put_many(self._name, keys, self._schema, arrays)
        return keys

    def update(
        self, other: Mapping[SampleKey, Any] | Iterable[tuple[SampleKey, Any]] = (), **kwargs: Any
    ) -> None:
        """Store samples as `dict.update` takes them: all of them, or none. See `add_batch`."""
        samples: dict[SampleKey, Any] = dict(other)
        samples.update(kwargs)
        if not self._schema.named_samples:
            raise InvalidInputError(f"arrayset {self._name!r} has unnamed samples: use add_batch")
        self.add_batch(samples)

    def _accepted(self, name: object, data: object) -> list[tuple[SampleKey, Array]]:
        key = sample_key(name)
        return [(key, self._schema.accept(data, self._name, key))]

    def remove(self, name: SampleKey) -> SampleKey:
        """Remove a sample from the next commit; earlier commits keep it.

        Raises
        ------
        KeyError
            There is no such sample.
        """
        self._require(name)
        key = sample_key(name)
        self._remove(key)
        return key

    def __delitem__(self, key: SampleKey) -> SampleKey:
        """As `remove`."""
        return self.remove(key)


def with_backend(schema: Schema, backend_opts: str | dict[str, Any] | None) -> Schema:
    """`schema` with the backend that `backend_opts` asks for."""
    if backend_opts is None:
        return replace(schema, backend=None, backend_opts=None)
    code, options = parse_backend_opts(backend_opts, schema)
    return replace(schema, backend=code, backend_opts=options)
