"""Objects in a bucket of S3, or of another object store that obstore knows."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from ..errors import HangarError, StateError
from .address import Address
from .awsprofile import s3_settings
from .bucketerrors import status_of, translate
from .objects import Objects, Stored
from .packs import PIECE_SIZE_BYTES, Buffer

T = TypeVar("T")

_DIRECTORY = "packs"
_UPLOADS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request is tried, before it becomes an error.

    Parameters
    ----------
    retries
        After the first try, of requests that were cut, timed out, or answered with 5xx.
    first_wait_s, longest_wait_s
        Waits double from the first to the longest, with jitter.
    connect_s
        For a connection to be made.
    silent_s
        For a reply, and between two pieces of it; the upload of one piece of 8 MiB counts.
    """

    retries: int = 6
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0
    connect_s: float = 10.0
    silent_s: float = 120.0


class BucketObjects(Objects):
    """Objects below ``<prefix>/packs/`` of a bucket.

    Parameters
    ----------
    address
        ``s3://``, ``gs://`` or ``az://``.
    anonymous
        Send no credentials.
    patience
        When to give up.

    Raises
    ------
    StateError
        obstore is not installed.
    RemoteAuthenticationError
        No credentials are found.
    """

    def __init__(
        self, address: Address, *, anonymous: bool = False, patience: Patience | None = None
    ) -> None:
        self.where = str(address)
        try:
            import obstore
            from obstore.exceptions import BaseError
        except ImportError as error:
            raise StateError(
                f"{address} needs the package obstore: pip install 'hangar-git[s3]'"
            ) from error
        self._obstore: Any = obstore
        # obstore also raises builtin errors: FileNotFoundError, ValueError, OSError for the disk.
        self._foreign: tuple[type[Exception], ...] = (BaseError, OSError, ValueError)
        self._store = self._open(address, anonymous, patience or Patience())

    def _open(self, address: Address, anonymous: bool, patience: Patience) -> Any:
        from obstore import store as stores

        settings: dict[str, Any] = {}
        if address.scheme == "s3":
            settings = s3_settings(os.environ, self.where, anonymous=anonymous)
        elif anonymous:
            settings = {"skip_signature": True}
        classes: dict[str, Any] = {
            "s3": stores.S3Store, "gs": stores.GCSStore, "az": stores.AzureStore
        }  # fmt: skip
        client: dict[str, Any] = {
            "connect_timeout": timedelta(seconds=patience.connect_s),
            "read_timeout": timedelta(seconds=patience.silent_s),
            # The limit over all of a request would cut a slow but moving transfer.
            "timeout": timedelta(hours=1),
        }
        if settings.get("endpoint", "").startswith("http://"):
            client["allow_http"] = True
        retry = {
            "max_retries": patience.retries,
            "retry_timeout": timedelta(minutes=3),
            "backoff": {
                "init_backoff": timedelta(seconds=patience.first_wait_s),
                "max_backoff": timedelta(seconds=patience.longest_wait_s),
                "base": 2,
            },
        }
        return self._do(
            "opening it",
            lambda: classes[address.scheme](
                address.host,
                prefix=address.path or None,
                client_options=client,
                retry_config=retry,
                **settings,
            ),
        )

    def list(self) -> list[Stored]:
        """All objects, a thousand to a request."""

        def all_pages() -> list[Stored]:
            return [
                Stored(
                    entry["path"].removeprefix(f"{_DIRECTORY}/"),
                    entry["size"],
                    entry["last_modified"].timestamp(),
                )
                for page in self._obstore.list(self._store, _DIRECTORY, chunk_size=1000)
                for entry in page
            ]

        return self._do("listing it", all_pages)

    def read(self, name: str, start: int, size_bytes: int) -> Buffer | None:
        """One range request."""
        if not size_bytes:
            return b""  # HTTP has no empty range
        path = f"{_DIRECTORY}/{name}"
        try:
            data = self._obstore.get_range(self._store, path, start=start, length=size_bytes)
        except self._foreign as error:
            text = str(error)
            if "NoSuchBucket" not in text and isinstance(error, FileNotFoundError):
                return None
            if status_of(text) == 416:
                return b""
            raise self._ours(error, f"reading {path}") from error
        return memoryview(data)

    def write(self, name: str, pieces: Sequence[Buffer]) -> None:
        """One request, or a multipart upload, which shows nothing until it is complete."""
        path, size_bytes = f"{_DIRECTORY}/{name}", sum(map(len, pieces))
        # Mode "create" is not asked for: a put that is retried after its reply was lost would find
        # its own object there. Names are random, so nothing is overwritten.
        if size_bytes <= PIECE_SIZE_BYTES:
            data = b"".join(pieces)
            self._do(
                f"writing {path}",
                lambda: self._obstore.put(self._store, path, data, use_multipart=False),
            )
            return
        try:
            self._obstore.put(
                self._store, path, iter(pieces),
                chunk_size=PIECE_SIZE_BYTES, max_concurrency=_UPLOADS_AT_ONCE,
            )  # fmt: skip
        except self._foreign as error:
            # The reply to the last request was lost, and the retry found the upload complete.
            if "NoSuchUpload" in str(error) and self._size(path) == size_bytes:
                return
            raise self._ours(error, f"writing {path}") from error

    def delete(self, names: Collection[str]) -> None:
        """A bulk request for each thousand."""
        if names:
            paths = [f"{_DIRECTORY}/{name}" for name in names]
            try:
                self._obstore.delete(self._store, paths)
            except self._foreign as error:
                if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error):
                    return
                raise self._ours(error, "deleting objects") from error

    def remove_leftovers(self, before_s: float) -> int:  # noqa: ARG002
        """Nothing to do: unfinished uploads are seen and removed by lifecycle rules alone."""
        return 0

    def _size(self, path: str) -> int | None:
        try:
            return int(self._obstore.head(self._store, path)["size"])
        except self._foreign:
            return None

    def _do(self, doing: str, function: Callable[[], T]) -> T:
        try:
            return function()
        except self._foreign as error:
            raise self._ours(error, doing) from error

    def _ours(self, error: Exception, doing: str) -> HangarError:
        return translate(error, self.where, doing)
