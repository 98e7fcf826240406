"""Staging the samples of many files: in batches, all of a file's or none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..api.checkout import WriterCheckout
from ..errors import AlreadyExistsError, HangarError, InvalidInputError
from ..keys import SampleKey, arrayset_name, random_key
from ..plugins.decoding import Decoded, Loader, stamp_of
from ..plugins.finding import Found, Naming
from ..schema import Schema, new_schema
from .importlog import ImportLog
from .output import progress

_BATCH_BYTES = 16 << 20
_BATCH_SAMPLES = 4096
_DURABLE_EVERY_S = 5.0
_HELD_BYTES = 256 << 20
"""Of one file, so that it can be left out if its end is damaged."""


def make_arrayset(
    checkout: WriterCheckout, name: str, *, shape: Any = None, dtype: Any = None, kind: str
) -> Schema:
    """Make an arrayset inside a block, so that it is gone if the block fails; its schema."""
    arraysets = checkout.arraysets
    arrayset_name(name)
    twin = next((old for old in list(arraysets.keys()) if old.lower() == name.lower()), None)
    if twin is not None:
        raise InvalidInputError(f"arrayset {name!r} differs from {twin!r} by case only")
    schema = new_schema(shape, dtype, None, named_samples=True, variable_shape=False, kind=kind)
    checkout._session.area.create(name, schema)
    arraysets._refresh()
    return schema


class Labels:
    """The arrayset that takes the class of each file: the first folder below the given path.

    Classes are texts in an arrayset of kind str, else numbers; their names are then a JSON list in
    metadata ``<arrayset>.classes``.
    """

    def __init__(
        self, checkout: WriterCheckout, name: str, files: list[Found], *, create: bool
    ) -> None:
        if create and name not in checkout.arraysets:
            make_arrayset(checkout, name, kind="str")
        self.arrayset = checkout.arraysets.get(name)
        schema = self.arrayset._schema
        self._dtype = None if schema.kind == "str" else schema.dtype
        self._shape = schema.shape
        self._numbers: dict[str, int] = {}
        if schema.nested or schema.kind == "bytes" or not schema.named_samples:
            raise InvalidInputError(f"arrayset {name!r} cannot take labels: its samples are texts")
        if self._dtype is None:
            return
        if self._dtype.kind not in "iu" or int(np.prod(schema.shape)) != 1:
            raise InvalidInputError(
                f"arrayset {name!r} cannot take labels: these are of kind str, or one integer"
            )
        key = f"{name}.classes"
        before = json.loads(checkout.metadata.get(key)) if key in checkout.metadata else []
        classes = {file.relative.parts[0] for file in files if len(file.relative.parts) > 1}
        after = [*before, *sorted(classes - set(before))]
        if len(after) - 1 > np.iinfo(self._dtype).max:
            raise InvalidInputError(f"{len(after)} classes do not fit into dtype {self._dtype}")
        if after != before:
            checkout.metadata[key] = json.dumps(after)
        self._numbers = {one: number for number, one in enumerate(after)}

    def label(self, file: Found) -> Any:
        """The class of a file, as the arrayset takes it."""
        if len(file.relative.parts) < 2:
            raise InvalidInputError(f"{file.path}: lies in no folder that tells its class")
        name = file.relative.parts[0]
        return name if self._dtype is None else np.full(self._shape, self._numbers[name],
                                                        self._dtype)  # fmt: skip


class FileStager:
    """Stages the samples of files in an arrayset.

    Parameters
    ----------
    checkout, arrayset
        Where to.
    naming
        What samples are called.
    log
        Is told of files whose samples are durable.
    refused
        Is given the error of a file; raises it, or returns to leave the file out.
    overwrite
        Replace samples that are there.
    keep_going
        Files may be left out, so that none of a file is staged before all of it was read.
    """

    def __init__(
        self, checkout: WriterCheckout, arrayset: str, naming: Naming, log: ImportLog,
        refused: Callable[[Exception], None], *, overwrite: bool, keep_going: bool,
    ) -> None:  # fmt: skip
        self._area = checkout._session.area
        self._aset = checkout.arraysets[arrayset]
        self._schema = self._aset._schema
        self._naming = naming
        self._log = log
        self._refused = refused
        self._overwrite = overwrite
        self._keep_going = keep_going
        self.labels: Labels | None = None
        self.count = self.files = self.skipped = 0
        self._origins: dict[SampleKey, Path] = {}
        self._before: frozenset[SampleKey] = frozenset()
        self._rows: list[tuple[SampleKey, Any]] = []
        self._label_rows: dict[SampleKey, Any] = {}
        self._row_bytes = 0
        self._finished: list[tuple[Decoded, list[SampleKey]]] = []

    def stage(self, files: list[Found], loader: Loader, *, resume: bool) -> bool:
        """Stage all samples in `files`; whether the user interrupted it."""
        if self._schema.named_samples and not self._overwrite:
            self._before = frozenset(self._aset._all())
        if resume:
            files = self._without_done(files)
        else:
            self._log.remove()
        durable = time.monotonic()
        try:
            for decoded in progress(loader.load_all(files), len(files), "Importing", "file"):
                try:
                    self._take(decoded)
                # Plugins of others raise anything, and the file is to be named.
                except Exception as error:  # noqa: BLE001
                    self._refused(self._named(error, decoded.file.path))
                if time.monotonic() - durable > _DURABLE_EVERY_S:
                    self._flush()
                    self._area.flush()
                    self._log.write()
                    durable = time.monotonic()
        except KeyboardInterrupt:
            self._flush()
            self._area.flush()
            self._log.write()
            return True
        self._flush()
        return False

    def _without_done(self, files: list[Found]) -> list[Found]:
        done = self._log.read()
        left = []
        for file in files:
            entry = done.get(str(file.path.absolute()))
            with suppress(OSError):
                same = entry is not None and entry[0] == stamp_of(file.path)
                if entry and same and all(key in self._aset for key in entry[1]):
                    self._origins.update(dict.fromkeys(entry[1], file.path))
                    self.skipped += 1
                    continue
            left.append(file)
        return left

    def _take(self, decoded: Decoded) -> None:
        if decoded.error is not None:
            raise decoded.error
        keys: list[SampleKey] = []
        if decoded.alone or self._keep_going:
            rows = list(self._checked(decoded))
            if not decoded.alone:  # of one sample it was found out when that was read
                decoded.unchanged()
            for row in rows:
                self._add(decoded, *row)
            keys = [key for key, _ in rows]
        else:
            for key, data in self._checked(decoded):
                self._add(decoded, key, data)
                keys.append(key)
            decoded.unchanged()
        self.files += 1
        self._finished.append((decoded, keys))
        if self._row_bytes > _BATCH_BYTES or len(self._rows) > _BATCH_SAMPLES:
            self._flush()

    def _checked(self, decoded: Decoded) -> Iterator[tuple[SampleKey, Any]]:
        """The samples of a file that can be staged."""
        held_bytes = 0
        named = self._schema.named_samples
        seen: set[SampleKey] = set()
        for data, said in decoded.found:
            key: SampleKey = ""
            if named:
                key = self._naming.key(decoded.file, said, alone=decoded.alone)
                if key in self._origins or key in seen:
                    raise InvalidInputError(
                        f"sample {key!r} is in {self._origins.get(key, 'this file')}, too"
                    )
                if key in self._before:
                    if not (self._keep_going or decoded.alone):
                        self._origins[key] = decoded.file.path
                    raise AlreadyExistsError(
                        f"arrayset {self._aset.name!r} has a sample {key!r} already; to replace it,"
                        f" use --overwrite; to go on with an import, --resume"
                    )
                seen.add(key)
            array = self._schema.accept(data, self._aset.name, key or "without a name")
            if self._keep_going and not decoded.alone:
                held_bytes += array.nbytes
                if held_bytes > _HELD_BYTES:
                    raise InvalidInputError("too large to be taken whole; leave out --keep-going")
            yield key, array

    def _add(self, decoded: Decoded, key: SampleKey, data: Any) -> None:
        if self.labels is not None:
            self._label_rows[key] = self.labels.label(decoded.file)
        self._origins[key] = decoded.file.path
        self._rows.append((key, data))
        self._row_bytes += data.nbytes
        self.count += 1
        if self._row_bytes > _BATCH_BYTES and not (decoded.alone or self._keep_going):
            self._flush()

    def _flush(self) -> None:
        """Stage what is held."""
        if self._rows:
            keys = [key for key, _ in self._rows]
            arrays = [array for _, array in self._rows]
            if not self._schema.named_samples:
                keys = [random_key() for _ in arrays]
                # Their names were made up: what is read again could not be told from them.
                self._finished = []
            self._aset._session.check()
            # Nobody else has these arrays, so that they are held without another copy.
            self._area.put_many(self._aset.name, keys, self._schema, arrays, ours=True)
        if self._label_rows and self.labels is not None:
            self.labels.arrayset.add_batch(self._label_rows)
        for decoded, keys in self._finished:
            self._log.note(decoded.file.path, decoded.stamp, keys)
        self._rows, self._label_rows, self._row_bytes, self._finished = [], {}, 0, []

    def _named(self, error: Exception, path: Path) -> Exception:
        text = str(error)
        text = text if str(path) in text else f"{path}: {text or type(error).__name__}"
        if not self._keep_going:
            text = f"{text}; nothing was staged"
        if isinstance(error, AlreadyExistsError):
            return AlreadyExistsError(text)
        if isinstance(error, HangarError):
            return type(error)(text)
        if isinstance(error, OSError) and error.strerror:
            tail = "" if self._keep_going else "; nothing was staged"
            return InvalidInputError(f"{path}: {error.strerror}{tail}")
        return InvalidInputError(text)
