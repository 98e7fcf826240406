"""What makes datasets and loaders of PyTorch; torch is imported when one is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..api.arrayset import ArraysetBase
from .batches import BatchReader, Transform
from .numpyloader import batch_dataset

if TYPE_CHECKING:
    from .torchloader import TorchDataset, TorchLoader, TorchStream


def make_torch_dataset(
    arraysets: ArraysetBase | Sequence[ArraysetBase],
    keys: Sequence[Any] | None = None,
    index_range: slice | None = None,
    field_names: Sequence[str] | None = None,
) -> TorchDataset:
    """Samples as a `torch.utils.data.Dataset`, to be put into a `torch.utils.data.DataLoader`.

    Parameters
    ----------
    arraysets
        One, or a sequence of them; of a reader checkout.
    keys
        Names of the samples to take; else all that every arrayset has.
    index_range
        Selects of the samples, in the order of their names; ignored if there are `keys`.
    field_names
        Keys of the dicts that samples are; else the names of the arraysets.

    Raises
    ------
    ValueError
        No samples that all arraysets have, or a dtype that torch lacks.
    KeyError
        One of `keys` is not in all arraysets.
    FileNotFoundError
        Data is not on this machine, as for `make_numpy_dataset`.
    RuntimeError
        torch is not installed.
    """
    from .torchloader import TorchDataset

    return TorchDataset(BatchReader.of(arraysets, keys, index_range, field_names))


def make_torch_iterable_dataset(
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
    rank: int | None = None,
    world_size: int | None = None,
    even: bool = False,
    collate: str = "stack",
    bucket_by: str | None = None,
    transform: Transform | None = None,
    prefetch: int | None = None,
) -> TorchStream:
    """Batches as a `torch.utils.data.IterableDataset`, for ``DataLoader(data, batch_size=None)``.

    Of a streaming checkout, several batches are asked for at once, in each worker.

    Parameters
    ----------
    arraysets, keys, index_range, field_names
        As for `make_torch_dataset`.
    batch_size, shuffle, seed, block_size, pool_blocks, drop_last, even, collate, bucket_by
        As for `make_numpy_dataset`.
    transform, prefetch
        The same; the batches that `transform` is given are of tensors.
    rank, world_size
        By default those of `torch.distributed`, if that is at work.
    """
    from .torchloader import TorchStream, ranks

    if rank is None or world_size is None:
        rank, world_size = ranks()
    reader = BatchReader.of(arraysets, keys, index_range, field_names, collate)
    dataset: TorchStream = batch_dataset(
        TorchStream, reader,
        batch_size=batch_size, transform=transform, bucket_by=bucket_by, prefetch=prefetch,
        shuffle=shuffle, seed=seed, block_size=block_size, pool_blocks=pool_blocks,
        drop_last=drop_last, rank=rank, world_size=world_size, even=even,
    )  # fmt: skip
    return dataset


def make_torch_loader(
    arraysets: ArraysetBase | Sequence[ArraysetBase],
    keys: Sequence[Any] | None = None,
    index_range: slice | None = None,
    field_names: Sequence[str] | None = None,
    *,
    prefetch: int | None = None,
    num_workers: int = 0,
    start_method: str | None = None,
    pin_memory: bool = False,
    **options: Any,
) -> TorchLoader:
    """Batches as dicts of tensors, in an order that the commit, the seed and the epoch determine.

    Parameters
    ----------
    arraysets, keys, index_range, field_names, options
        As for `make_torch_iterable_dataset`.
    prefetch
        Batches that each worker reads ahead, or without workers a thread.
    num_workers, start_method
        Processes that read, and how they start: ``"fork"`` or ``"spawn"``.
    pin_memory
        Put batches into page-locked memory, for copying to a GPU.
    """
    from .torchloader import TorchLoader

    dataset = make_torch_iterable_dataset(
        arraysets, keys, index_range, field_names, prefetch=prefetch, **options
    )
    loading: dict[str, Any] = {"num_workers": num_workers, "pin_memory": pin_memory}
    if num_workers:
        depth = max(1, dataset.reader.depth(prefetch))
        loading |= {"prefetch_factor": depth, "multiprocessing_context": start_method}
    return TorchLoader(dataset, **loading)
