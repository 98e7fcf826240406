"""Arraysets of a writer checkout: add and remove samples, on top of reading them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Self

from ..digest import DIGEST_SIZE_BYTES
from ..errors import InvalidInputError, StateError
from ..keys import SampleKey, random_key, sample_key
from ..records.recordfile import Records, RecordValue
from ..records.snapshot import ArraysetRecords
from ..schema import Schema
from ..staging.session import WriteSession
from ..store.backends import parse_backend_opts
from .arrayset import Array, ArraysetDataReader, shape_of


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
        self._require_open()
        return True

    def get(self, name: SampleKey) -> Array:
        """As `ArraysetDataReader.get`, with the staged changes."""
        value = self._require(name)
        shape = shape_of(value) if self._fixed_shape is None else self._fixed_shape
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
