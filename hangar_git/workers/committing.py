"""What the driver does to write: commit the records of samples that a remote holds, and push."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..api.checkout import WriterCheckout
from ..digest import DIGEST_SIZE_BYTES
from ..errors import ConflictError, DataNotLocalError, InvalidInputError
from ..keys import SampleKey
from ..records.recordfile import RecordValue
from ..remotes import pushing
from ..remotes.access import RemoteAccess
from ..remotes.opening import opened_data
from ..remotes.remoteconfig import find_remote
from ..staging.session import WriteSession
from .uploading import Sent, Uploader


class SharedCommit:
    """One commit that many workers bring samples to.

    Parameters
    ----------
    checkout
        Of the branch; what else is staged in it goes into the same commit.
    arraysets
        Names of those that are written.
    remote
        That holds the samples.
    worker_token
        As `RemoteAccess.of`.

    Raises
    ------
    InvalidInputError
        It is no writer checkout.
    NotFoundError
        There is no such arrayset or remote.
    StateError
        A merge or the like is in progress.
    RemoteError
        The remote cannot be reached.

    Attributes
    ----------
    uploader
        What workers send samples by.
    """

    def __init__(
        self,
        checkout: Any,
        arraysets: Iterable[str],
        remote: str,
        worker_token: str | None = None,
    ) -> None:
        if not isinstance(checkout, WriterCheckout):
            raise InvalidInputError(
                f"samples are written to what repo.checkout(write=True) gives, not to a"
                f" {type(checkout).__name__}"
            )
        session: WriteSession = checkout._session
        session.check()
        session.refuse_unfinished()
        schemas = {name: checkout.arraysets[name]._schema for name in arraysets}
        if not schemas:
            raise InvalidInputError("there is no arrayset to write to")
        self._checkout = checkout
        self._session = session
        self._remote = remote
        self._access = RemoteAccess.of(session.git, remote, push=True, token=worker_token)
        self._missing([bytes(DIGEST_SIZE_BYTES)])  # that it can be reached
        self.uploader = Uploader(self._access, schemas)

    def commit(self, sent: Iterable[Sent], message: str, *, push: bool = True) -> str:
        """Commit what was sent, and push the branch.

        Returns
        -------
        str
            Oid of the commit.

        Raises
        ------
        ConflictError
            A key was sent with different contents; nothing is staged or committed.
        DataNotLocalError
            The remote lacks a sample; nothing is staged or committed.
        StateError
            As `WriterCheckout.commit`.
        RemoteError
            The remote refuses the branch; the commit stands in this clone.
        """
        records = _gathered(sent)
        self._check_there(records)
        area = self._session.area
        self._session.check()
        with area.all_or_nothing():
            for name, values in records.items():
                for key, value in values.items():
                    area.set_record(name, key, value)
        commit = self._checkout.commit(message)
        if push:
            pushing.push(self._session.git, self._remote, self._session.branch)
        return commit

    def _check_there(self, records: dict[str, dict[SampleKey, RecordValue]]) -> None:
        size = DIGEST_SIZE_BYTES
        digests = {value[:size]: None for values in records.values() for value in values.values()}
        missing = set(self._missing(list(digests)))
        for name, values in records.items():
            for key, value in values.items():
                if value[:size] in missing:
                    raise DataNotLocalError(
                        f"remote {self._remote!r} ({self._access.address}) lacks {len(missing):,}"
                        f" samples that workers sent, such as {key!r} of arrayset {name!r};"
                        f" nothing was committed: write again"
                    )

    def _missing(self, digests: list[bytes]) -> list[bytes]:
        """Those that the remote lacks, by the driver's own connection."""
        git = self._session.git
        remote = find_remote(git, self._remote)
        with opened_data(git, remote, push=True, credentials=self._access.credentials) as store:
            return store.missing(digests)


def _gathered(sent: Iterable[Sent]) -> dict[str, dict[SampleKey, RecordValue]]:
    """Arrayset -> key -> record; ConflictError if a key came with different records."""
    records: dict[str, dict[SampleKey, RecordValue]] = {}
    conflicts: list[tuple[str, SampleKey]] = []
    for name, keys, values in sent:
        known = records.setdefault(name, {})
        for key, value in zip(keys, values, strict=True):
            if known.setdefault(key, value) != value:
                conflicts.append((name, key))
    if conflicts:
        name, key = conflicts[0]
        raise ConflictError(
            f"sample {key!r} of arrayset {name!r} was written with different contents"
            + (f", and {len(conflicts) - 1:,} more" if len(conflicts) > 1 else "")
            + "; nothing was committed",
            conflicts,
        )
    return records
