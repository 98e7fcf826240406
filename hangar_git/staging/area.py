"""The staging area: edits to a branch's tip, kept in a journal until a commit holds them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..digest import DIGEST_SIZE_BYTES, Digest
from ..failpoints import failpoint
from ..keys import SampleKey, key_text
from ..records.edits import Edits
from ..records.gitrepo import Oid
from ..records.recordfile import RecordValue, record_value
from ..schema import Schema
from ..store.store import FLUSH_BYTES, Store
from .journal import set_line
from .replay import StagedEdits

log = logging.getLogger(__name__)

_JOURNAL_DATA_BYTES = 1 << 20
"""Up to this much goes into the journal when a block ends, and more into a container."""


class StagingArea(StagedEdits):
    """Edits on top of commit `base`, and the samples they brought.

    An edit made while `deferred` is 0 survives the process when the method returns; while it is
    positive, from the next `flush` on.

    The journal is at `path`; samples go to `store`, which is writable. `load` puts into it those
    that are in the journal alone.
    """

    def __init__(self, path: Path, store: Store) -> None:
        super().__init__(path)
        self._store = store
        self._lines: list[str] = []
        self._samples: list[tuple[str, SampleKey, RecordValue]] = []
        self._new_data: dict[Digest, tuple[str, tuple[int, ...]]] = {}
        self._new_data_bytes = 0
        self._compacted_bytes = 0
        self._is_outdated = False
        self.deferred = 0

    def _replay_data(self, name: str, shape_text: str, size: int, body: bytes, at: int) -> int:
        schema = self._schemas[name]
        shape = tuple(int(part) for part in shape_text.split(",") if part)
        data = np.frombuffer(body, schema.dtype, size // schema.dtype.itemsize, at)
        self._store.writer(schema).put(data.reshape(shape))
        return size

    def drop_lost(self) -> int:
        """Drop, durably, edits whose samples are not in the store any more; their number.

        Edits may also name samples that never were on this machine, such as those of a merge in a
        partial clone: these stay.
        """
        dropped, lost = 0, self._store.lost_samples
        for edits in filter(None, self.edits.arraysets.values()):
            digests = {key: value[:DIGEST_SIZE_BYTES]
                       for key, value in edits.values.items() if value is not None}  # fmt: skip
            missing = set(self._store.missing(set(digests.values())))
            missing = missing if lost is None else missing & lost
            for key in [key for key, digest in digests.items() if digest in missing]:
                del edits.values[key]
                dropped += 1
        self.compact()
        return dropped

    # -- edits ---------------------------------------------------------------------------------

    def begin(self, branch: str, base: Oid | None) -> None:
        """Start over: no edits, on `branch` at commit `base`.

        Raises
        ------
        StorageError
            The disk refused. It is so all the same; the journal is written anew with what comes.
        """
        self.edits = Edits()
        self.committing = None
        self.branch, self.base = branch, base
        self._is_outdated = True
        self._rewrite()

    def _rewrite(self) -> None:
        """Make the journal say what is staged now, and nothing else."""
        self._schemas.clear()
        self._forget_unwritten()
        self._journal.replace(self._dump())
        self._compacted_bytes = self._journal.size_bytes
        self._is_outdated = False

    def create(self, name: str, schema: Schema) -> None:
        """Stage a new arrayset, perhaps in place of one that is staged for removal."""
        self._set_schema(name, schema, fresh=True)
        self._line(f"create\t{name}\t{schema.to_json()}")

    def change_schema(self, name: str, schema: Schema) -> None:
        """Stage another schema of an arrayset whose samples it fits."""
        self._set_schema(name, schema, fresh=False)
        self._line(f"schema\t{name}\t{schema.to_json()}")

    def drop(self, name: str, *, in_base: bool) -> None:
        """Stage the removal of arrayset `name`; one that is not in the base just vanishes."""
        self._drop(name, in_base=in_base)
        self._line(f"drop\t{name}" + ("" if in_base else "\tnew"))

    def put(self, name: str, key: SampleKey, schema: Schema, array: NDArray[Any]) -> None:
        """Stage a sample that `schema`, of arrayset `name`, accepted."""
        store = self._store
        writer = store.writer(schema)
        held_before = writer.held_bytes
        value = writer.put(array)
        if writer.held_bytes != held_before:
            self._note_new_data(name, schema, [value], [array])
            self._new_data_bytes += array.nbytes
        value = record_value(schema, value, array)
        edits = self.edits.arraysets.get(name) or self._of(name)
        edits.values[key] = value
        self._samples.append((name, key, value))
        if not self.deferred or writer.held_bytes > FLUSH_BYTES:
            self.flush()

    def put_many(
        self, name: str, keys: Sequence[SampleKey], schema: Schema, arrays: Sequence[NDArray[Any]],
        *, ours: bool = False,
    ) -> None:  # fmt: skip
        """As `put`, for many samples: hashed and encoded by all processors.

        `ours` is for `SampleWriter.put_many`.
        """
        step = max(1, FLUSH_BYTES // max(1, arrays[0].nbytes))
        with nullcontext() if self.deferred else self.deferring():
            for at in range(0, len(keys), step):
                part = arrays[at : at + step]
                writer = self._store.writer(schema)
                held_before = writer.held_bytes
                digests = writer.put_many(part, ours=ours)
                new_bytes = writer.held_bytes - held_before
                self._new_data_bytes += new_bytes
                if 0 < new_bytes <= _JOURNAL_DATA_BYTES:  # more goes into a container anyway
                    self._note_new_data(name, schema, digests, part)
                values = digests
                if schema.variable_shape:
                    values = list(map(partial(record_value, schema), digests, part))
                some = keys[at : at + step]
                self._of(name).values.update(zip(some, values, strict=True))
                self._samples += zip(repeat(name), some, values, strict=False)
                if writer.held_bytes > FLUSH_BYTES:
                    self.flush()

    def _note_new_data(
        self, name: str, schema: Schema, digests: Sequence[Digest], arrays: Sequence[NDArray[Any]]
    ) -> None:
        """Remember which samples may be in no container yet, for the journal."""
        for digest, array in zip(digests, arrays, strict=True):
            self._new_data[digest] = (name, array.shape)
        if self._schemas.get(name) is not schema:
            self._schemas[name] = schema
            self._lines.append(f"schema-of\t{name}\t{schema.to_json()}")

    def set_record(self, name: str, key: SampleKey, value: RecordValue | None) -> None:
        """Stage a record whose sample is known already; None removes it."""
        if value is None:
            self.remove(name, key)
            return
        self._of(name).values[key] = value
        self._samples.append((name, key, value))
        if not self.deferred:
            self.flush()

    def remove(self, name: str, key: SampleKey) -> None:
        """Stage the removal of a sample that is there."""
        self._write_samples()
        self._remove(name, key)
        self._line(f"remove\t{name}\t{key_text(key)}")

    def set_metadata(self, key: SampleKey, value: str | None) -> None:
        """Stage a piece of metadata, or with None its removal."""
        self.edits.metadata[key] = value
        self._line("meta\t" + json.dumps([key, value]))

    def _line(self, line: str) -> None:
        self._write_samples()
        self._lines.append(line)
        if not self.deferred:
            self.flush()

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """A block whose edits become durable when it ends, or when a buffer is flushed."""
        self.deferred += 1
        try:
            yield
        finally:
            self.deferred -= 1
            self.flush()

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """A block whose edits are all staged or, if an exception leaves it, none."""
        before = self.edits.copy()
        try:
            with self.deferring():
                yield
        except BaseException:
            self.edits = before
            self.compact()
            raise

    # -- writing the journal -------------------------------------------------------------------

    def flush(self) -> None:
        """Make all edits so far durable against the death of the process.

        Raises
        ------
        StorageError
            The disk refused; the edits are still staged, and flushing again may succeed.
        """
        failpoint("staging.added")
        if self._is_outdated:
            self.compact()
        if self._new_data_bytes > _JOURNAL_DATA_BYTES:
            self._store.flush(durable=False)
            self._new_data.clear()
            self._new_data_bytes = 0
        self._write_samples()
        if self._lines or self._new_data:
            self._journal.append(self._unwritten())
            self._forget_unwritten()
        if self._journal.size_bytes > FLUSH_BYTES + 2 * self._compacted_bytes:
            self.compact()

    def _write_samples(self) -> None:
        """Turn collected samples into lines, so that later lines come after them."""
        self._lines += [set_line(name, key, value) for name, key, value in self._samples]
        self._samples.clear()

    def _unwritten(self) -> bytes:
        """The next batch: lines, then the samples that are in no container."""
        parts = ["\n".join(self._lines).encode(), b"\n"] if self._lines else []
        for digest, (name, shape) in self._new_data.items():
            data = self._store.held(digest)
            if data is not None:
                shape_text = ",".join(map(str, shape))
                parts += [f"data\t{name}\t{shape_text}\t{len(data)}\n".encode(), data]
        return b"".join(parts)

    def _forget_unwritten(self) -> None:
        self._lines.clear()
        self._samples.clear()
        self._new_data.clear()
        self._new_data_bytes = 0

    def compact(self) -> None:
        """Put the journal's samples into containers, and keep its edits alone."""
        self._store.flush(durable=False)
        self._rewrite()

    def _dump(self) -> bytes:
        """A batch that makes these edits from none."""
        assert self.branch is not None
        self._forget_unwritten()
        lines = self._lines
        lines.append(f"base\t{self.branch}\t{self.base or ''}")
        for name, edits in self.edits.arraysets.items():
            if edits is None:
                lines.append(f"drop\t{name}")
                continue
            if edits.schema is not None:
                operation = "create" if edits.fresh else "schema"
                lines.append(f"{operation}\t{name}\t{edits.schema.to_json()}")
                self._schemas[name] = edits.schema
            for key, value in edits.values.items():
                if value is None:
                    lines.append(f"remove\t{name}\t{key_text(key)}")
                else:
                    self._samples.append((name, key, value))
            self._write_samples()
        lines += ["meta\t" + json.dumps([key, value]) for key, value in self.edits.metadata.items()]
        if self.committing is not None:
            lines.append(f"commit\t{self.committing}")
        body = self._unwritten()
        self._forget_unwritten()
        return body

    # -- committing ----------------------------------------------------------------------------

    def flush_data(self) -> None:
        """Put all samples into containers, on stable storage, and all edits into the journal."""
        self._store.flush(durable=False)
        self._store.sync()
        self._new_data.clear()
        self._new_data_bytes = 0
        self.flush()

    def begin_commit(self, tree: Oid) -> None:
        """Note durably that ``.hangar`` tree `tree` is about to be committed."""
        self.committing = tree
        self._journal.append(f"commit\t{tree}\n".encode())
        self._journal.sync()

    def detach(self) -> None:
        """Continue in a copy of the journal, in case a former writer still has it open."""
        self.compact() if self.branch is not None else self._journal.replace(b"")

    def close(self) -> None:
        """Release the journal."""
        self._journal.close()
