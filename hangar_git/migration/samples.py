"""From the files of one step and the next to edits of an arrayset."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import HangarError, InvalidInputError
from ..keys import SampleKey
from ..plugins.base import Form
from ..plugins.decoding import Decoded, Loader
from ..plugins.finding import Found, Naming
from ..plugins.manager import PluginManager
from ..plugins.names import stem_and_extension
from ..records.edits import ArraysetEdits
from ..records.recordfile import RecordValue, record_value
from ..records.snapshot import ArraysetRecords, Snapshot
from ..schema import Schema, new_schema
from ..store.store import FLUSH_BYTES, Store
from .sources import Content, Source, State

_BATCH_BYTES = 16 << 20
Progress = Callable[[Iterator[Decoded], int], Iterator[Decoded]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the arrayset is to be like.

    Parameters
    ----------
    arrayset
        Its name.
    kind, nested, variable_shape
        As `Arraysets.init_arrayset` documents them; shape and dtype are those of the first sample.
    plugin, options
        What reads the files.
    naming
        What samples are called.
    keep_going
        Leave out files that are not right.
    """

    arrayset: str
    kind: str
    nested: bool
    variable_shape: bool
    plugin: str | None
    options: dict[str, Any]
    naming: Naming
    keep_going: bool


@dataclass(slots=True)
class Counts:
    """Numbers of samples that a step added, changed and removed."""

    added: int = 0
    changed: int = 0
    removed: int = 0


@dataclass(slots=True)
class _Rows:
    """The samples of one file: the name that its plugin gives each, and the record."""

    alone: bool
    rows: list[tuple[object, RecordValue]] = field(default_factory=list)


class _CheckedLoader(Loader):
    """Reads files whose bytes are seen to be what the source says they are."""

    def __init__(self, check: Callable[[Path], None], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._check = check

    def load(self, file: Found) -> Decoded:
        """As `Loader.load`."""
        try:
            self._check(file.path)
        except (HangarError, OSError) as error:
            return Decoded(file, (), True, (0, 0), error)
        return super().load(file)


class SampleReader:
    """Reads the files of a source, each content once.

    Parameters
    ----------
    source, wanted
        What is read, and for what.
    manager
        Of the plugins.
    store
        Where samples are put.
    temporary
        An empty directory of ours.
    progress
        Shows how far reading a step has come.
    """

    def __init__(
        self, source: Source, wanted: Wanted, manager: PluginManager, store: Store,
        temporary: Path, progress: Progress,
    ) -> None:  # fmt: skip
        self._source = source
        self._wanted = wanted
        self._manager = manager
        self._store = store
        self._temporary = temporary
        self._progress = progress
        self._known: dict[tuple[str, str], _Rows] = {}
        self._schema: Schema | None = None
        self._contents: dict[Path, Content] = {}
        self._batch: list[tuple[_Rows, object, NDArray[Any]]] = []
        self._batch_bytes = 0
        self.refused: list[str] = []

    def edits(self, base: Snapshot, old: State, new: State) -> tuple[ArraysetEdits | None, Counts]:
        """The edits to `base`, which holds the files of `old`, after which it holds those of `new`.

        None where there is nothing to do.

        Raises
        ------
        InvalidInputError
            A file is not right, or two of them have samples of one name.
        """
        name = self._wanted.arrayset
        records = base.arrayset(name) if name in base.arrayset_trees else None
        before = self._schema = records.schema if records is not None else None
        changed = [path for path, content in new.items() if old.get(path) != content]
        gone = [path for path, content in old.items() if new.get(path) != content]
        if records is None and not changed:
            return None, Counts()
        self._read({path: old[path] for path in gone} if records is not None else {})
        self._read({path: new[path] for path in changed})
        values: dict[SampleKey, RecordValue | None] = {}
        for path in gone:
            values.update((key, None) for key, _ in self._rows(path, old[path]))
        origins: dict[SampleKey, str] = {}
        for path in changed:
            for key, value in self._rows(path, new[path]):
                there = records.get(key) if records is not None and key not in values else None
                if there is not None or key in origins:
                    where = origins.get(key, "another file of the same step")
                    raise InvalidInputError(
                        f"{path}: sample {key!r} is in {where}, too; --keys-from tells what"
                        f" samples are called"
                    )
                origins[key] = path
                values[key] = value
        counts = _settle(values, records)
        schema = self._schema if self._schema != before else None
        if not values and schema is None:
            return None, counts
        return ArraysetEdits(schema, records is None, values), counts

    def _rows(self, path: str, content: Content) -> Iterator[tuple[SampleKey, RecordValue]]:
        """The samples of a file that has been read."""
        found = self._known[_what(path, content)]
        file = Found(Path(path), PurePosixPath(path))
        if self._wanted.nested and found.alone and len(file.relative.parts) < 2:
            raise InvalidInputError(
                f"{path}: lies in no folder below {self._source.folder!r}, which would be the"
                f" outer name of its sample"
            )
        for said, value in found.rows:
            try:
                yield self._wanted.naming.key(file, said, alone=found.alone), value
            except HangarError as error:
                raise InvalidInputError(f"{path}: {error}") from error

    # -- reading -------------------------------------------------------------------------------

    def _read(self, files: State) -> None:
        """Read the files whose content is not known yet, and put their samples into the store."""
        unread = {_what(path, content): path for path, content in files.items()}
        paths = [path for what, path in unread.items() if what not in self._known]
        if not paths:
            return
        try:
            found = [self._placed(path, files[path]) for path in paths]
            if self._schema is None:
                self._schema = self._first(found, paths)
            loader = self._loader(self._schema)
            shown = self._progress(loader.load_all(found), len(found))
            for path, decoded in zip(paths, shown, strict=True):
                try:
                    self._take(path, files[path], decoded)
                # Plugins of others raise anything, and the file is to be named.
                except Exception as error:  # noqa: BLE001
                    self._refuse(path, decoded, error)
            self._put()
        finally:
            self._contents.clear()
            shutil.rmtree(self._temporary)
            self._temporary.mkdir()

    def _placed(self, path: str, content: Content) -> Found:
        """A file of the right name: plugins go by extensions, and caches have none."""
        name, number = PurePosixPath(path).name, 0
        while (placed := self._temporary / str(number) / name) in self._contents:
            number += 1
        placed.parent.mkdir(exist_ok=True)
        self._put_at(placed, content)
        self._contents[placed] = content
        return Found(placed, PurePosixPath(path))

    def _put_at(self, place: Path, content: Content) -> None:
        for name, part in content.parts:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            self._put_at(place / name, part)
        if content.path is not None:
            place.symlink_to(content.path.absolute())
        elif not content.parts:
            place.write_bytes(self._source.read(content))

    def _check(self, place: Path, content: Content) -> None:
        for name, part in content.parts:
            self._check(place / name, part)
        if not content.parts:
            self._source.check(content, place)

    def _loader(self, schema: Schema | None) -> Loader:
        form = None
        if schema is not None:
            form = Form(schema.kind, schema.dtype, schema.shape, schema.variable_shape)
        return _CheckedLoader(
            lambda placed: self._check(placed, self._contents[placed]),
            self._manager, self._wanted.plugin, form, self._wanted.options,
        )  # fmt: skip

    def _first(self, found: Collection[Found], paths: list[str]) -> Schema:
        """The schema that the first file asks for that can be read."""
        wanted = self._wanted
        if wanted.kind != "array":
            return new_schema(None, None, None, named_samples=True, variable_shape=False,
                              kind=wanted.kind, nested=wanted.nested)  # fmt: skip
        loader = self._loader(None)
        for path, file in zip(paths, found, strict=True):
            decoded = loader.load(file)
            try:
                if decoded.error is not None:
                    raise decoded.error
                data = next(iter(decoded.found))[0]
                text = getattr(getattr(data, "dtype", None), "kind", "") == "U" and data.ndim == 0
                return new_schema(
                    None if text else data.shape, None if text else data.dtype, None,
                    named_samples=True, variable_shape=wanted.variable_shape and not text,
                    kind="str" if text else "array", nested=wanted.nested,
                )  # fmt: skip
            except Exception as error:  # as in _read
                if not wanted.keep_going:
                    raise self._named(path, decoded, error) from error
        raise InvalidInputError("none of the files can be read")

    def _take(self, path: str, content: Content, decoded: Decoded) -> None:
        if decoded.error is not None:
            raise decoded.error
        rows = _Rows(decoded.alone)
        taken = []
        for data, said in decoded.found:
            taken.append((rows, said, self._accepted(data, path)))
            if not self._wanted.keep_going and not decoded.alone:
                self._hold(taken)
        decoded.unchanged()
        self._hold(taken)
        self._known[_what(path, content)] = rows

    def _accepted(self, data: Any, path: str) -> NDArray[Any]:
        """`data` as the schema takes it; a schema of variable shape grows with it."""
        schema = self._schema
        assert schema is not None
        if schema.variable_shape and schema.kind == "array" and np.ndim(data) == schema.rank:
            larger = tuple(map(max, schema.shape, data.shape))
            if larger != schema.shape:
                schema = self._schema = replace(schema, shape=larger)
        return schema.accept(data, self._wanted.arrayset, path)

    def _hold(self, taken: list[tuple[_Rows, object, NDArray[Any]]]) -> None:
        self._batch += taken
        self._batch_bytes += sum(array.nbytes for _, _, array in taken)
        taken.clear()
        if self._batch_bytes > _BATCH_BYTES:
            self._put()

    def _put(self) -> None:
        """Put what is held into the store."""
        if not self._batch:
            return
        assert self._schema is not None
        writer = self._store.writer(self._schema)
        arrays = [array for _, _, array in self._batch]
        for (rows, said, array), digest in zip(self._batch, writer.put_many(arrays), strict=True):
            rows.rows.append((said, record_value(self._schema, digest, array)))
        self._batch, self._batch_bytes = [], 0
        if writer.held_bytes > FLUSH_BYTES:
            self._store.flush()

    def _refuse(self, path: str, decoded: Decoded, error: Exception) -> None:
        named = self._named(path, decoded, error)
        if not self._wanted.keep_going:
            raise named from error
        self.refused.append(str(named))
        self._known[_what(path, self._contents[decoded.file.path])] = _Rows(True)

    def _named(self, path: str, decoded: Decoded, error: Exception) -> Exception:
        """The error with the file's name in the source, instead of ours for it."""
        text = str(error).replace(str(decoded.file.path), path)
        if isinstance(error, OSError) and not isinstance(error, HangarError) and error.strerror:
            text = error.strerror
        text = text if path in text else f"{path}: {text or type(error).__name__}"
        if isinstance(error, HangarError) and not isinstance(error, InvalidInputError):
            error.args = (text,)
            return error
        return InvalidInputError(text)


def _what(path: str, content: Content) -> tuple[str, str]:
    """What decides the samples in a file, but for their names: bytes and extension."""
    return content.id, stem_and_extension(path)[1]


def _settle(values: dict[SampleKey, RecordValue | None], old: ArraysetRecords | None) -> Counts:
    """Take out of `values` what changes nothing; the numbers of what is left."""
    counts = Counts()
    for key, value in list(values.items()):
        before = old.get(key) if old is not None else None
        if value == before:
            del values[key]
        elif before is None:
            counts.added += 1
        elif value is None:
            counts.removed += 1
        else:
            counts.changed += 1
    return counts
