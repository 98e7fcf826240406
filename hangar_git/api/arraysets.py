"""The arraysets of a checkout: a mapping by name, and in a writer checkout where they are made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, NoReturn, TypeVar

from numpy.typing import NDArray

from ..errors import (
    AlreadyExistsError,
    InvalidInputError,
    NotFoundError,
    NotPermittedError,
    did_you_mean,
)
from ..keys import SampleKey, arrayset_name, random_key
from ..records.snapshot import ArraysetRecords, Snapshot
from ..schema import new_schema
from ..staging.session import WriteSession
from ..store.store import Store
from .arrayset import ArraysetBase, ArraysetDataReader
from .arraysetwriter import ArraysetDataWriter, WriterBase, with_backend
from .handles import Handle
from .nested import NestedArraysetReader, NestedArraysetWriter

A = TypeVar("A", bound=ArraysetBase)


class _Arraysets(Handle, Generic[A]):
    """What the arraysets of readers and writers have in common."""

    _arraysets: dict[str, A]

    def __getitem__(self, key: str) -> A:
        """As `get`."""
        return self.get(key)

    def get(self, name: str) -> A:
        """The arrayset called `name`.

        Raises
        ------
        KeyError
            There is none.
        """
        try:
            return self._arraysets[name]
        except (KeyError, TypeError) as error:
            hint = did_you_mean(str(name), self._arraysets)
            raise NotFoundError(f"no arrayset {name!r} in this checkout{hint}") from error

    def __setitem__(self, key: str, value: object) -> NoReturn:
        """Forbidden: arraysets are made by `init_arrayset`."""
        raise NotPermittedError(
            "arraysets are not set; make one with init_arrayset, and set samples in it"
        )

    def __contains__(self, key: object) -> bool:
        """Whether there is an arrayset of this name."""
        return key in self._arraysets

    def __len__(self) -> int:
        """Number of arraysets."""
        return len(self._arraysets)

    def __iter__(self) -> Iterator[str]:
        """Names of the arraysets."""
        return iter(self.keys())

    def keys(self) -> list[str]:
        """Names of the arraysets, sorted."""
        return sorted(self._arraysets)

    def values(self) -> Iterable[A]:
        """The arraysets, in the order of `keys`."""
        return (self._arraysets[name] for name in self.keys())

    def items(self) -> Iterable[tuple[str, A]]:
        """Name and arrayset of each, in the order of `keys`."""
        return ((name, self._arraysets[name]) for name in self.keys())

    @property
    def iswriteable(self) -> bool:
        """Whether arraysets can be made and removed."""
        self._require_open()
        return False

    @property
    def contains_remote_references(self) -> Mapping[str, bool]:
        """For each arrayset, whether the data of some sample is not on this machine."""
        return {name: aset.contains_remote_references for name, aset in self.items()}

    @property
    def remote_sample_keys(self) -> Mapping[str, Iterable[SampleKey]]:
        """For each arrayset, the names of the samples whose data is not on this machine."""
        return {name: aset.remote_reference_keys for name, aset in self.items()}

    def __repr__(self) -> str:
        rows = "".join(
            f"\n      - {name} / {partial}"
            for name, partial in self.contains_remote_references.items()
        )
        return (
            f"Hangar Arraysets\n    Writeable: {self.iswriteable}\n"
            f"    Arrayset Names / Partial Remote References:{rows or chr(10) + '      -'}\n"
        )

    def _ipython_key_completions_(self) -> list[str]:
        return self.keys()

    def _die(self) -> None:
        for aset in self._arraysets.values():
            aset._die()
        super()._die()


class ReaderArraysets(_Arraysets[Any]):
    """The arraysets of a commit."""

    def __init__(self, snapshot: Snapshot, store: Store) -> None:
        self._arraysets = {
            records.name: _reader(records, store) for records in snapshot.arraysets()
        }


def _reader(records: ArraysetRecords, store: Store) -> ArraysetBase:
    reader = NestedArraysetReader if records.schema.nested else ArraysetDataReader
    return reader(records, store)


def _writer(records: ArraysetRecords, session: WriteSession) -> WriterBase:
    writer = NestedArraysetWriter if records.schema.nested else ArraysetDataWriter
    return writer(records, session)


class Arraysets(_Arraysets[Any]):
    """The arraysets of a writer checkout: those of the commit, with the staged changes."""

    def __init__(self, session: WriteSession) -> None:
        self._session = session
        self._arraysets = {}
        self._refresh()

    def _refresh(self) -> None:
        """Bring the handles into line with the session's base and edits."""
        session = self._session
        base, edits = session.base, session.area.edits.arraysets
        names = set(base.arrayset_trees) | set(edits)
        for name in sorted(names - {name for name, one in edits.items() if one is None}):
            staged = edits.get(name)
            if staged is not None and staged.fresh:
                assert staged.schema is not None
                records = ArraysetRecords.new(name, staged.schema)
            else:
                records = base.arrayset(name)
            schema = records.schema
            if staged is not None and staged.schema is not None:
                schema = staged.schema
            aset = self._arraysets.get(name)
            if aset is None or aset._schema.nested != schema.nested:
                self._arraysets[name] = aset = _writer(records, session)
            aset._rebase(records, schema)

    @property
    def iswriteable(self) -> bool:
        """Whether arraysets can be made and removed."""
        self._require_open()
        return True

    def init_arrayset(
        self,
        name: str,
        shape: int | tuple[int, ...] | None = None,
        dtype: Any = None,
        prototype: NDArray[Any] | None = None,
        named_samples: bool = True,
        variable_shape: bool = False,
        *,
        backend_opts: str | dict[str, Any] | None = None,
        kind: str = "array",
        contains_subsamples: bool = False,
    ) -> Any:
        """Make a new arrayset.

        Parameters
        ----------
        name
            Up to 64 ASCII letters, digits, ``.``, ``_``, ``-``; unique, ignoring case.
        shape, dtype
            Of every sample; or give a prototype.
        prototype
            An array of the shape and dtype that samples will have.
        named_samples
            Whether samples are given names; if not, names are made up.
        variable_shape
            Whether `shape` is the largest size of each dimension, rather than the only one.
        backend_opts
            For advanced users; see `ArraysetDataWriter.change_backend`.
        kind
            ``array``; or ``str`` or ``bytes``, for values of any length, without shape and dtype.
        contains_subsamples
            Whether a sample is a mapping of subsamples: ``aset["patient-7"]["ct"] = array``.

        Returns
        -------
        ArraysetDataWriter or NestedArraysetWriter
            The new arrayset.

        Raises
        ------
        PermissionError
            An arrayset is open as a context manager.
        ValueError
            A name, shape, dtype, prototype or backend that is not valid.
        LookupError
            There is an arrayset of this name.
        """
        self._refuse_inside_block()
        arrayset_name(name)
        if name in self._arraysets:
            raise AlreadyExistsError(f"arrayset {name!r} already exists")
        twin = next((old for old in self._arraysets if old.lower() == name.lower()), None)
        if twin is not None:
            raise InvalidInputError(f"arrayset {name!r} differs from {twin!r} by case only")
        if contains_subsamples and not named_samples:
            raise InvalidInputError("samples that contain subsamples are named")
        schema = new_schema(
            shape,
            dtype,
            prototype,
            named_samples=named_samples,
            variable_shape=variable_shape,
            kind=kind,
            nested=contains_subsamples,
        )
        if backend_opts is not None:
            schema = with_backend(schema, backend_opts)
        self._session.check()
        self._session.area.create(name, schema)
        self._arraysets[name] = _writer(ArraysetRecords.new(name, schema), self._session)
        return self._arraysets[name]

    def remove_aset(self, aset_name: str) -> str:
        """Remove an arrayset from the next commit; earlier commits keep it.

        Raises
        ------
        PermissionError
            An arrayset is open as a context manager.
        KeyError
            There is none of this name.
        """
        self._refuse_inside_block()
        aset = self.get(aset_name)
        self._session.check()
        self._session.area.drop(aset_name, in_base=aset_name in self._session.base.arrayset_trees)
        del self._arraysets[aset_name]
        aset._die()
        return aset_name

    def __delitem__(self, key: str) -> str:
        """As `remove_aset`."""
        return self.remove_aset(key)

    def multi_add(self, mapping: Mapping[str, NDArray[Any]]) -> str:
        """Add one sample to each of several arraysets of unnamed samples, under one made-up name.

        Parameters
        ----------
        mapping
            Arrayset name -> sample.

        Returns
        -------
        str
            The name.

        Raises
        ------
        KeyError
            There is no arrayset of one of the names.
        ValueError
            An arrayset has named samples, or does not accept its sample; nothing was added.
        """
        key = random_key()
        area = self._session.area
        rows = []
        for name, data in mapping.items():
            schema = self.get(name)._schema
            if schema.named_samples:
                raise InvalidInputError(f"arrayset {name!r} has named samples: use add")
            rows.append((name, schema, schema.accept(data, name, key)))
        self._session.check()
        with area.deferring():
            for name, schema, array in rows:
                area.put(name, key, schema, array)
        return key

    def _refuse_inside_block(self) -> None:
        if self._session.area.deferred:
            raise NotPermittedError(
                "arraysets cannot be made or removed while one is open as a context manager"
            )
