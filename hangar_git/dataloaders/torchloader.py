"""Samples as datasets and loaders of PyTorch. The home of torch, which is imported when needed.

Readers pickle as the repository's path and digests, and each worker opens its own files: workers
share no handle, whether they are forked or spawned.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import HangarError, InvalidInputError, StateError
from ..views.columns import Column
from .batches import BatchReader
from .numpyloader import BatchDataset, as_rows
from .order import Order, Rows

try:
    import torch
    from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info
except ImportError as error:
    raise StateError("datasets for PyTorch need torch: pip install 'hangar-git[torch]'") from error


class TorchDataset(Dataset):
    """A map-style dataset: a sample is a dict of tensors, a field for each arrayset.

    A `DataLoader` asks it for a whole batch at once, which is one bulk read. With
    ``collate_fn=dataset.collate`` the batch is not taken apart and put together again.
    """

    def __init__(self, reader: BatchReader) -> None:
        _check_dtypes(reader.columns)
        self.reader = reader

    @property
    def keys(self) -> Any:
        """The sample keys of the rows."""
        return self.reader.keys

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.reader)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One sample."""
        sample: dict[str, Any] = self.__getitems__([index])[0]
        return sample

    def __getitems__(self, indices: Sequence[int]) -> SampleBatch:
        """Many samples, in one read."""
        rows = as_rows(indices, len(self))
        columns = self.reader.read_samples(rows)
        fields = {
            name: torch.from_numpy(column) if isinstance(column, np.ndarray) else column
            for name, column in zip(self.reader.field_names, columns, strict=True)
        }
        return SampleBatch(fields, len(rows))

    @staticmethod
    def collate(batch: Any) -> dict[str, Any]:
        """The batch that `__getitems__` read, as a dict of stacked tensors, without copying it.

        Samples of varying shape, and texts, are lists.
        """
        if isinstance(batch, SampleBatch):
            return {
                name: [_tensor(sample) for sample in field] if isinstance(field, list) else field
                for name, field in batch.fields.items()
            }
        collated: dict[str, Any] = torch.utils.data.default_collate(batch)
        return collated


class SampleBatch(Sequence[dict[str, Any]]):
    """Samples that were read together; each is made when asked for."""

    def __init__(self, fields: dict[str, Any], n: int) -> None:
        self.fields = fields
        self._n = n
        self._samples: list[dict[str, Any]] | None = None

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: Any) -> Any:
        """The sample at `index`."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._n))]
        if not 0 <= index < self._n:
            raise IndexError(index)
        return {name: _tensor(field[index]) for name, field in self.fields.items()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All samples, made together; torch's collation asks for them once for each field."""
        if self._samples is None:
            columns = [
                map(_tensor, field) if isinstance(field, list) else field.unbind(0)
                for field in self.fields.values()
            ]
            self._samples = [
                dict(zip(self.fields, row, strict=True)) for row in zip(*columns, strict=True)
            ]
        return iter(self._samples)


class TorchStream(BatchDataset, IterableDataset):
    """A dataset of whole batches, in the order of an epoch; for ``DataLoader(s, batch_size=None)``.

    Workers get batches in turn, so that a `DataLoader` gives those of an epoch in its order. They
    follow `set_epoch` and `load_state_dict`, persistent ones too, but only a loop in this process
    counts the batches it had and begins the next epoch by itself.
    """

    def __init__(self, reader: BatchReader, order: Order, **options: Any) -> None:
        _check_dtypes(reader.columns)
        # In memory that workers see: where their next iteration begins.
        self._begin = torch.zeros(2, dtype=torch.int64).share_memory_()
        super().__init__(reader, order, **options)

    def __iter__(self) -> Iterator[Any]:
        """The batches of the epoch; in a worker, its share of them."""
        info = get_worker_info()
        if info is None:
            return super().__iter__()
        self.epoch, self._step = self._begin.tolist()  # now, and not when the first is asked for
        jobs = self.remaining(info.id, info.num_workers)
        return self._batches(jobs, self._prefetch if self.reader.streams else 0)

    def set_epoch(self, epoch: int) -> None:
        """Begin the epoch of this number."""
        super().set_epoch(epoch)
        self.begin_here()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As `BatchDataset.load_state_dict`."""
        super().load_state_dict(state)
        self.begin_here()

    def begin_here(self) -> None:
        """Let the next iteration of workers go on where this process is."""
        self._begin[0], self._begin[1] = self.epoch, self._step

    def _read(self, rows: Rows) -> Any:
        """One batch as tensors, not transformed."""
        return {name: _tensors(field) for name, field in self.reader.read(rows.tolist()).items()}


class TorchLoader:
    """Gives the batches of one epoch after another, and knows where it is.

    Its workers live as long as it does.

    Attributes
    ----------
    dataset
        The batches.
    """

    def __init__(self, dataset: TorchStream, **options: Any) -> None:
        self.dataset = dataset
        self._options = options
        self._with_workers = bool(options["num_workers"])
        self._loader: DataLoader[Any] | None = None

    def __len__(self) -> int:
        """Number of batches of this rank in an epoch."""
        return len(self.dataset)

    def __iter__(self) -> Iterator[Any]:
        """The batches of the epoch, from where `load_state_dict` set it.

        Raises
        ------
        RuntimeError
            A worker died; the batches given before it are whole.
        """
        dataset, epoch = self.dataset, self.dataset.epoch
        if not self._with_workers and not self._options["pin_memory"]:
            yield from dataset
            return
        if self._loader is None:
            self._loader = DataLoader(
                dataset, batch_size=None, persistent_workers=self._with_workers, **self._options
            )
        dataset.begin_here()
        batches: Any = iter(self._loader)
        try:
            for batch in batches:
                dataset._step += self._with_workers  # without workers, the dataset counts
                yield batch
        except Exception as error:
            self._loader = None
            if not self._with_workers or not _tells_of_death(error):
                raise
            # torch would raise once more in its signal handler, in whatever runs then.
            with contextlib.suppress(RuntimeError):
                batches._shutdown_workers()
            raise StateError(f"a worker of the loader died: {error!r}") from error
        dataset.set_epoch(epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Begin the epoch of this number."""
        self.dataset.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where the loop is: what was given to it, not what workers have read ahead."""
        return self.dataset.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As `BatchDataset.load_state_dict`."""
        self.dataset.load_state_dict(state)


def _tells_of_death(error: Exception) -> bool:
    """Whether this is how torch says that a worker is gone, and no error that a worker met."""
    if isinstance(error, HangarError):
        return False
    if isinstance(error, RuntimeError):
        return str(error).startswith("DataLoader worker")
    # Its batches lay in memory that went with it. What a worker met comes as "Caught ... in".
    return isinstance(error, EOFError | OSError) and "Caught" not in str(error)


def ranks() -> tuple[int, int]:
    """Rank and world size of `torch.distributed`, if that is at work."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _tensor(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def _tensors(field: Any) -> Any:
    return [_tensor(value) for value in field] if isinstance(field, list) else _tensor(field)


def _check_dtypes(columns: Sequence[Column]) -> None:
    for column in columns:
        if column.kind == "array":
            try:
                torch.from_numpy(np.empty(0, column.dtype))
            except TypeError as error:
                raise InvalidInputError(
                    f"arrayset {column.name!r} has dtype {column.dtype}, which torch lacks"
                ) from error
