"""Batches as NumPy arrays, for training without a framework; and what the frameworks build on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..api.arrayset import ArraysetBase
from .batches import BatchReader, Transform, read_ahead
from .order import Order, Rows


class BatchDataset:
    """Batches of an epoch, again and again: iterating gives one epoch, and then the next begins.

    Attributes
    ----------
    reader, order
        What is read, and in which order.
    epoch
        The epoch that the next iteration gives; set it to choose one.
    """

    def __init__(
        self,
        reader: BatchReader,
        order: Order,
        *,
        transform: Transform | None = None,
        bucket_by: str | None = None,
        prefetch: int | None = None,
    ) -> None:
        self.reader = reader
        self.order = order
        self.epoch = 0
        self._transform = transform
        self._lengths = None if bucket_by is None else reader.lengths(bucket_by)
        self._prefetch = reader.depth(prefetch)
        self._step = 0

    def __len__(self) -> int:
        """Number of batches of this rank in an epoch."""
        return self.order.count()

    @property
    def keys(self) -> Any:
        """The sample keys of the rows."""
        return self.reader.keys

    def __iter__(self) -> Iterator[Any]:
        """The batches of the epoch, from where `load_state_dict` set it."""
        epoch, jobs = self.epoch, self.remaining()
        for batch in self._batches(jobs, self._prefetch):
            self._step += 1
            yield batch
        self.set_epoch(epoch + 1)

    def _batches(self, jobs: list[Rows], depth: int) -> Iterator[Any]:
        threads = max(1, depth) if self.reader.streams else 1
        return read_ahead(self._read, jobs, depth, threads, self._transform)

    def remaining(self, worker: int = 0, workers: int = 1) -> list[Rows]:
        """The rows of the batches of this rank that are still to come in the epoch."""
        batches = self.order.mine(self.order.batches(self.epoch, self._lengths))
        return batches[self._step :][worker::workers]

    def _read(self, rows: Rows) -> Any:
        """One batch, not transformed."""
        return self.reader.read(rows.tolist())

    def set_epoch(self, epoch: int) -> None:
        """Begin the epoch of this number."""
        self.epoch, self._step = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """Where the loop is, to save with a model; plain JSON values.

        In training on several processes those of all ranks are equal after as many steps.
        """
        return self.order.token(self.epoch, self._step)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken, exactly; on any number of ranks and workers.

        Raises
        ------
        RuntimeError
            The state is of other data, another seed or other batches.
        """
        self.epoch, self._step = self.order.resume(state)


def batch_dataset(
    kind: type[Any],
    reader: BatchReader,
    *,
    batch_size: int,
    transform: Transform | None = None,
    bucket_by: str | None = None,
    prefetch: int | None = None,
    **order: Any,
) -> Any:
    """A dataset of `kind`, a subclass of `BatchDataset`, over `reader`."""
    made = Order(reader.identity, len(reader), batch_size, **order)
    return kind(reader, made, transform=transform, bucket_by=bucket_by, prefetch=prefetch)


def make_numpy_dataset(
    arraysets: ArraysetBase | Sequence[ArraysetBase],
    keys: Sequence[Any] | None = None,
    index_range: slice | None = None,
    field_names: Sequence[str] | None = None,
    *,
    batch_size: int = 32,
    shuffle: bool = False,
    seed: int = 0,
    block_size: int = 1,
    pool_blocks: int = 64,
    drop_last: bool = False,
    rank: int = 0,
    world_size: int = 1,
    even: bool = False,
    collate: str = "stack",
    bucket_by: str | None = None,
    transform: Transform | None = None,
    prefetch: int | None = None,
) -> BatchDataset:
    """Batches of samples as dicts of NumPy arrays, a field for each arrayset.

    Parameters
    ----------
    arraysets, keys, index_range, field_names
        As for `make_torch_dataset`.
    batch_size, shuffle, seed, block_size, pool_blocks, drop_last, rank, world_size, even
        See `hangar_git.dataloaders.order.Order`. The order of an epoch is a function of the commit,
        the seed and the epoch's number, on every machine.
    collate
        Of samples of varying shape: ``"stack"``, ``"pad"`` or ``"ragged"``.
    bucket_by
        Field by whose length samples are batched together, so that padding is little.
    transform
        Called with each batch; what it returns is given in its place.
    prefetch
        Batches that are read ahead, by a thread; by default 2. Of a streaming checkout 4, which
        are asked for at once.

    Raises
    ------
    ValueError
        No samples that all arraysets have, or an option that is not right.
    KeyError
        One of `keys` is not in all arraysets.
    FileNotFoundError
        Data of `keys`, or of all samples, is not on this machine; without `keys`, samples that are
        not are left out.
    """
    reader = BatchReader.of(arraysets, keys, index_range, field_names, collate)
    dataset: BatchDataset = batch_dataset(
        BatchDataset, reader,
        batch_size=batch_size, transform=transform, bucket_by=bucket_by, prefetch=prefetch,
        shuffle=shuffle, seed=seed, block_size=block_size, pool_blocks=pool_blocks,
        drop_last=drop_last, rank=rank, world_size=world_size, even=even,
    )  # fmt: skip
    return dataset


def as_rows(indices: Sequence[int], n: int) -> list[int]:
    """Row numbers, negative ones from the end; IndexError (as InvalidInputError) beyond `n`."""
    from ..errors import OutOfRangeError

    rows = [int(i) + n if i < 0 else int(i) for i in np.asarray(indices).tolist()]
    for row in rows:
        if not 0 <= row < n:
            raise OutOfRangeError(f"row {row} is not one of {n}")
    return rows
