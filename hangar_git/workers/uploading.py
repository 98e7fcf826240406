"""What a worker does to write: encode samples, send what the remote lacks, tell their records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..digest import Digest
from ..errors import InvalidInputError
from ..keys import SampleKey, nested_key, random_key, sample_keys
from ..records.recordfile import RecordValue, record_value
from ..remotes.access import RemoteAccess
from ..schema import Schema
from ..store.container import ContainerSpec, Group
from ..store.fresh import encoded_chunks
from ..store.store import FLUSH_BYTES
from ..store.writing import SampleWriter
from ..transfer.copying import copy_samples
from ..transfer.samples import Parcel, SampleSource


class Sent(NamedTuple):
    """Samples that a remote holds: all that goes back to the driver."""

    arrayset: str
    keys: list[SampleKey]
    values: list[RecordValue]


class Uploader:
    """Sends samples of some arraysets to a remote; pickles as its address and the schemas.

    Sending again sends nothing: what the remote holds is known by digest.
    """

    def __init__(self, access: RemoteAccess, schemas: Mapping[str, Schema]) -> None:
        self._access = access
        self._schemas = dict(schemas)

    def needs_keys(self, arrayset: str) -> bool:
        """Whether samples of the arrayset are named."""
        return self._schemas[arrayset].named_samples

    def send(self, arrayset: str, keys: Iterable[Any] | None, samples: Sequence[Any]) -> Sent:
        """Send samples; they are durable at the remote when it returns.

        Parameters
        ----------
        keys
            One for each sample; None where samples are unnamed.
        samples
            A list, or an array stacked along its first axis.

        Raises
        ------
        InvalidInputError
            A key that is not valid, or a sample that the schema does not accept; names the key.
        RemoteError
            The remote cannot be reached, or refuses; tried again where that may help.
        """
        schema = self._schemas[arrayset]
        named = _checked_keys(schema, arrayset, keys, len(samples))
        arrays = schema.accept_all(_each(schema, samples), arrayset, named)
        pending: dict[Digest, bytes] = {}
        writer = SampleWriter(schema, pending, lambda _: False, lambda _: ())
        values: list[RecordValue] = []
        step = max(1, FLUSH_BYTES // max(1, arrays[0].nbytes)) if arrays else 1
        for at in range(0, len(arrays), step):
            some = arrays[at : at + step]
            digests = writer.put_many(some)
            values += map(partial(record_value, schema), digests, some)
            copy_samples(_Encoded(writer.take()), self._access, list(dict.fromkeys(digests)))
            writer.discard()
            pending.clear()
        return Sent(arrayset, named, values)

    def send_items(self, arrayset: str, items: Iterable[Any]) -> Sent:
        """As `send`, of pairs of key and sample; of samples where they are unnamed."""
        found = list(items)
        if not self.needs_keys(arrayset):
            return self.send(arrayset, None, found)
        for item in found:
            if not isinstance(item, tuple | list) or len(item) != 2:
                raise InvalidInputError(
                    f"arrayset {arrayset!r} has named samples: it takes pairs of key and sample,"
                    f" got a {type(item).__name__}"
                )
        return self.send(arrayset, [key for key, _ in found], [sample for _, sample in found])


class _Encoded(SampleSource):
    """Samples that a writer took in, on their way."""

    def __init__(self, parts: Iterable[tuple[ContainerSpec, list[Group]]]) -> None:
        self._chunks = [chunk for spec, groups in parts for chunk in encoded_chunks(spec, groups)]

    def export(self, digests: Collection[Digest]) -> Iterator[Parcel]:
        """Parcels of the chunks that hold one of `digests`."""
        wanted = set(digests)
        for chunk in self._chunks:
            if not wanted.isdisjoint(chunk.digests):
                yield Parcel(chunk.digests, chunk.to_bytes())


def _checked_keys(
    schema: Schema, arrayset: str, keys: Iterable[Any] | None, count: int
) -> list[SampleKey]:
    if not schema.named_samples:
        return [random_key() for _ in range(count)]
    if keys is None:
        raise InvalidInputError(f"arrayset {arrayset!r} has named samples: keys are required")
    names = list(keys)
    if len(names) != count:
        raise InvalidInputError(
            f"arrayset {arrayset!r}: {len(names)} keys and {count} samples were given"
        )
    if not schema.nested:
        return list(sample_keys(names))
    for name in names:
        if not isinstance(name, tuple) or len(name) != 2:
            raise InvalidInputError(f"arrayset {arrayset!r}: {name!r} is not a pair of names")
    return [nested_key(*name) for name in names]


def _each(schema: Schema, samples: Sequence[Any]) -> Sequence[Any]:
    """Samples as a schema takes them: C-contiguous, and scalars as arrays without axes."""
    if schema.kind == "array" and isinstance(samples, np.ndarray) and samples.dtype != object:
        samples = np.ascontiguousarray(samples)
        return samples if samples.ndim > 1 else [samples[i, ...] for i in range(len(samples))]
    return [np.ascontiguousarray(one) if isinstance(one, np.ndarray) and one.ndim else one
            for one in samples]  # fmt: skip
