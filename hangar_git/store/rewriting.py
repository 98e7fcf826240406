"""Writing samples anew: what gc keeps of a container, small containers merged, codecs changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ..digest import Digest
from ..errors import IntegrityError
from ..failpoints import failpoint
from ..schema import Schema
from .backends import Storage, parse_backend_opts
from .checking import ScannedContainer
from .codec import Codec
from .container import ContainerSpec, Group
from .store import FLUSH_BYTES, Store
from .writing import SampleWriter

_BATCH_BYTES = 256 << 20
"""Containers are rewritten by this much: the space that is needed beside them."""


@dataclass
class Rewritten:
    """What a rewrite did, in containers and bytes of them."""

    containers_before: int = 0
    containers_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    samples: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class Target:
    """How samples are to be stored from now on; None leaves it as it is."""

    backend: str | None = None
    codec: Codec | None = None

    def is_met(self, spec: ContainerSpec) -> bool:
        """Whether a container is as wanted."""
        return self.backend in (None, spec.backend) and self.codec in (None, spec.codec)

    def schema(self, spec: ContainerSpec, shape: tuple[int, ...]) -> Schema:
        """A schema whose samples are stored as wanted, for samples of a container."""
        codec, code = self.codec or spec.codec, self.backend or spec.backend
        options = codec.to_json()
        if spec.kind != "array":
            code = "00"
        if code == "20" and spec.chunks is not None:
            options["chunks"] = list(spec.chunks)
        if code == "10" and self.codec is None:
            options = Codec().to_json()
        schema = Schema(
            spec.dtype, shape, variable_shape=code == "00", kind=spec.kind, backend=code,
            backend_opts=options,
        )  # fmt: skip
        if (self.backend is not None or self.codec is not None) and spec.kind == "array":
            parse_backend_opts({"backend": code, **options}, schema)
        return schema


def rewrite(
    store: Store,
    containers: Iterable[ScannedContainer],
    *,
    keep: Callable[[Digest], bool] = lambda _: True,
    target: Target | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Rewritten:
    """Write the samples of some containers into new ones, and remove those.

    Readers go on: those at work keep the files they have open, and find the new ones by the index.
    A kill leaves both, and nothing is lost. Samples that `keep` refuses, and damaged ones, are left
    behind.
    """
    done = Rewritten()
    batch: list[ScannedContainer] = []
    for container in containers:
        batch.append(container)
        if sum(one.size_bytes for one in batch) >= _BATCH_BYTES:
            _rewrite_batch(store, batch, keep, target or Target(), done)
            progress(sum(one.size_bytes for one in batch))
            batch = []
    if batch:
        _rewrite_batch(store, batch, keep, target or Target(), done)
        progress(sum(one.size_bytes for one in batch))
    return done


def _rewrite_batch(
    store: Store,
    containers: Sequence[ScannedContainer],
    keep: Callable[[Digest], bool],
    target: Target,
    done: Rewritten,
) -> None:
    gathered, made = Gathering(), []
    gone: set[Digest] = set()
    for container in containers:
        done.containers_before += 1
        done.bytes_before += container.size_bytes
        for digest, shape in zip(container.digests(), container.shapes(), strict=True):
            if digest in gone:
                continue
            gone.add(digest)
            if digest in container.corrupt or not keep(digest):
                done.dropped += 1
                continue
            try:
                array = store.get(digest, container.spec.dtype, shape)
            except IntegrityError:
                done.dropped += 1
                continue
            gathered.put(target.schema(container.spec, shape), digest, array)
            done.samples += 1
            if gathered.held_bytes > FLUSH_BYTES:
                made += [store.make_container(*part) for part in gathered.take()]
    made += [store.make_container(*part) for part in gathered.take()]
    done.containers_after += len(made)
    done.bytes_after += sum((store.containers / row.name).stat().st_size for row, _ in made)
    failpoint("upkeep.rewritten")
    store.replace_containers([container.path.name for container in containers], made, gone)


class Gathering:
    """Takes in samples of several schemas, and holds them until they are taken out as groups."""

    def __init__(self) -> None:
        self._writers: dict[str, SampleWriter] = {}
        self._pending: dict[Digest, bytes] = {}

    @property
    def held_bytes(self) -> int:
        """Bytes of the samples that are held."""
        return sum(writer.held_bytes for writer in self._writers.values())

    def put(self, schema: Schema, digest: Digest, array: NDArray[Any]) -> None:
        """Take in one sample; IntegrityError if it is not what its digest names."""
        storage = Storage.of(schema)
        # Samples of many shapes share a container, where the backend lets them.
        by_shape = "" if storage.backend.paged or storage.backend.sharded else str(schema.shape)
        key = f"{storage.backend.code} {schema.kind} {schema.dtype} {storage.options()} {by_shape}"
        if key not in self._writers:
            self._writers[key] = SampleWriter(schema, self._pending, lambda _: False, _none_of)
        if self._writers[key].put(array) != digest:
            raise IntegrityError(f"sample {digest.hex()} is not what its name says")

    def take(self) -> list[tuple[ContainerSpec, list[Group]]]:
        """All that is held, by container, ready to be built; start over."""
        parts = [part for writer in self._writers.values() for part in writer.take()]
        self._writers.clear()
        self._pending.clear()
        return parts


def _none_of(digests: Collection[Digest]) -> Collection[Digest]:  # noqa: ARG001
    return ()
