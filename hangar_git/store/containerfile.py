"""The file object that a container is written to."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..durable import write_all

if TYPE_CHECKING:
    from typing_extensions import Buffer


class ContainerFile(io.RawIOBase):
    """A new file at `path` that notes the first error of the disk, and raises it in `finish`.

    A container library does not see the error: HDF5, for one, cannot close a file that it could
    not write. Whatever it writes after the error is dropped.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        self._error: OSError | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return os.lseek(self._fd, offset, whence)

    def tell(self) -> int:
        return os.lseek(self._fd, 0, os.SEEK_CUR)

    def readinto(self, buffer: Buffer) -> int:
        return os.readv(self._fd, [buffer])

    def write(self, data: Buffer) -> int:
        size = memoryview(data).nbytes
        if self._error is None:
            try:
                write_all(self._fd, memoryview(data).cast("B"))
            except OSError as error:
                self._error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        if self._error is None:
            try:
                os.ftruncate(self._fd, size)
            except OSError as error:
                self._error = error
        return size

    def finish(self, *, durable: bool) -> None:
        """Raise the first OSError there was; with `durable` put everything on stable storage."""
        if self._error is not None:
            raise self._error
        if durable:
            os.fsync(self._fd)

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()
