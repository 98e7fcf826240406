"""The staging journal: an append-only file of edits, and of samples too few for a container.

The file begins with a line that says how many bytes after it are acknowledged; then come batches,
each ``batch <size> <xxh3-64>`` and its body. A batch is complete in the page cache when `append`
returns, which survives the death of the process; bytes beyond the acknowledged ones are a batch
that was cut off, and are dropped. Damage within them is an error. Normative text: docs/format.md,
"Staging journal".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from xxhash import xxh3_64_hexdigest

from ..digest import DIGEST_SIZE_BYTES
from ..durable import replace_file, write_all
from ..errors import IntegrityError, StorageError
from ..failpoints import failpoint
from ..keys import SampleKey, key_text
from ..records.recordfile import RecordValue

_HEADER = "hangar-journal 1 %016x\n"
_HEADER_SIZE = len(_HEADER % 0)
_HEADER_PATTERN = re.compile(rb"hangar-journal 1 ([0-9a-f]{16})\n")
_BATCH_PATTERN = re.compile(rb"batch ([0-9]{1,15}) ([0-9a-f]{16})\n")


def set_line(name: str, key: SampleKey, value: RecordValue) -> str:
    """The operation that sets a sample."""
    text = key if type(key) is str else key_text(key)
    if len(value) == DIGEST_SIZE_BYTES:
        return f"set\t{name}\t{text}\t{value.hex()}"
    digest, third = value[:DIGEST_SIZE_BYTES], value[DIGEST_SIZE_BYTES:]
    return f"set\t{name}\t{text}\t{digest.hex()}\t{third.decode()}"


def _batch(body: bytes) -> bytes:
    return b"batch %d %s\n" % (len(body), xxh3_64_hexdigest(body).encode()) + body


class Journal:
    """The journal at `path`, which the writer lock's holder alone may write.

    Attributes
    ----------
    size_bytes
        Acknowledged bytes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self.size_bytes = 0

    def read(self) -> Iterator[bytes]:
        """Bodies of all acknowledged batches, oldest first.

        Raises
        ------
        IntegrityError
            Acknowledged bytes are missing or damaged.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        header = _HEADER_PATTERN.match(data)
        if header is None:
            raise self._damaged("its first line is not a journal's", 0)
        end = _HEADER_SIZE + int(header[1], 16)
        if end > len(data):
            raise self._damaged(f"{end - len(data)} of its bytes are missing", len(data))
        at = _HEADER_SIZE
        while at < end:
            batch = _BATCH_PATTERN.match(data, at)
            if batch is None:
                raise self._damaged("no batch begins there", at)
            body = data[batch.end() : batch.end() + int(batch[1])]
            if batch.end() + len(body) > end or xxh3_64_hexdigest(body).encode() != batch[2]:
                raise self._damaged("the batch does not match its checksum", at)
            yield body
            at = batch.end() + len(body)
        self.size_bytes = at - _HEADER_SIZE

    def has_edits(self) -> bool:
        """Whether anything is staged, as far as the beginning tells; damaged counts as staged.

        The first batch begins with the line that says what the edits are based on.
        """
        try:
            with self._path.open("rb") as file:
                start = file.read(4096)
        except FileNotFoundError:
            return False
        batch = _BATCH_PATTERN.match(start, _HEADER_SIZE)
        if batch is None:
            return len(start) > _HEADER_SIZE
        end = batch.end() + int(batch[1])
        return start.count(b"\n", batch.end(), end) != 1 or end < len(start)

    def _damaged(self, why: str, at: int) -> IntegrityError:
        return IntegrityError(
            f"staging journal {self._path} is damaged at byte {at}: {why}; committed data is not"
            f" affected. To set the staged changes aside: git hangar reset --staged",
            where=f"{self._path}:{at}",
        )

    def append(self, body: bytes) -> None:
        """Add a batch; it survives the death of the process once this returns.

        Raises
        ------
        StorageError
            The disk refused; the batch is not in the journal.
        """
        if self._fd < 0:
            if not self._path.exists():
                self.replace(b"")
            self._fd = os.open(self._path, os.O_RDWR)
        batch = _batch(body)
        try:
            os.lseek(self._fd, _HEADER_SIZE + self.size_bytes, os.SEEK_SET)
            write_all(self._fd, batch[: len(batch) // 2])
            failpoint("staging.journal-torn")
            write_all(self._fd, batch[len(batch) // 2 :])
            size = self.size_bytes + len(batch)
            os.pwrite(self._fd, (_HEADER % size).encode(), 0)
        except OSError as error:
            raise StorageError.of(error, f"writing {self._path}") from error
        self.size_bytes = size
        failpoint("staging.journal-written")

    def replace(self, body: bytes) -> None:
        """Atomically and durably make `body` the only batch; empty for none."""
        self.close()
        batch = _batch(body) if body else b""
        try:
            replace_file(self._path, (_HEADER % len(batch)).encode() + batch)
        except OSError as error:
            raise StorageError.of(error, f"writing {self._path}") from error
        self.size_bytes = len(batch)
        failpoint("staging.journal-replaced")

    def set_aside(self) -> Path:
        """Move a damaged journal out of the way; where it is now."""
        self.close()
        aside = self._path.with_name(f"{self._path.name}.damaged")
        number = 1
        while aside.exists():
            number += 1
            aside = self._path.with_name(f"{self._path.name}.damaged-{number}")
        self._path.rename(aside)
        return aside

    def sync(self) -> None:
        """Put the journal on stable storage."""
        try:
            if self._fd >= 0:
                os.fsync(self._fd)
        except OSError as error:
            raise StorageError.of(error, f"writing {self._path}") from error

    def close(self) -> None:
        """Release the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
