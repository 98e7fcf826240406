"""The order of an epoch: a function of the data, a seed and the epoch's number alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from ..errors import InvalidInputError, StateError

Rows = NDArray[np.int64]
_BUCKETED_BATCHES = 64
"""Batches whose samples are sorted by length together: enough for little padding, and few enough
that what is batched with what still changes from epoch to epoch."""


@dataclass(frozen=True)
class Order:
    """Which rows each batch of an epoch has, on each rank and worker.

    Parameters
    ----------
    identity
        Of the data; two datasets of one identity have the same rows.
    n
        Number of rows.
    batch_size
        Rows in a batch.
    shuffle
        Whether the order differs from epoch to epoch; else it is that of the rows.
    seed
        Another seed, another sequence of epochs.
    block_size, pool_blocks
        Shuffling moves blocks of this many neighbours, and then mixes the rows of this many blocks.
        With blocks of 1 every order of the rows is as likely as any other.
    drop_last
        Leave out a last batch that is not full.
    rank, world_size
        Of this process, in training on several: batches are dealt to the ranks in turn.
    even
        Leave out the last batches where not all ranks would get one.
    """

    identity: str
    n: int
    batch_size: int
    shuffle: bool = False
    seed: int = 0
    block_size: int = 1
    pool_blocks: int = 64
    drop_last: bool = False
    rank: int = 0
    world_size: int = 1
    even: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "block_size", "pool_blocks", "world_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidInputError(f"{name} is a positive number, not {value!r}")
        if not 0 <= self.rank < self.world_size:
            raise InvalidInputError(f"rank {self.rank} is not one of {self.world_size}")

    def rows(self, epoch: int) -> Rows:
        """The rows in the order of an epoch, for all ranks together."""
        if not self.shuffle:
            return np.arange(self.n)
        if self.block_size == 1:
            return self._permutation(self.n, epoch, "rows")
        size = self.block_size
        blocks = self._permutation(-(-self.n // size), epoch, "blocks")
        rows = (blocks[:, None] * size + np.arange(size)).reshape(-1)
        rows = rows[rows < self.n]
        pool = size * self.pool_blocks
        # Sorting (pool, random number) mixes the rows of each pool and keeps the pools in order.
        numbers = self._numbers(self.n, epoch, "within")
        return rows[np.lexsort((numbers, np.arange(self.n) // pool))]

    def batches(self, epoch: int, lengths: Rows | None = None) -> list[Rows]:
        """The batches of an epoch, for all ranks together.

        Parameters
        ----------
        epoch
            Its number.
        lengths
            Of the samples, to batch samples of like length; None to batch as they come.
        """
        rows = self.rows(epoch)
        size = self.batch_size
        if lengths is not None:
            rows = self._bucketed(rows, lengths)
        end = self.n - self.n % size if self.drop_last else self.n
        batches = [rows[at : at + size] for at in range(0, end, size)]
        if lengths is not None and self.shuffle:
            batches = [batches[i] for i in self._permutation(len(batches), epoch, "batches")]
        if self.even:
            del batches[len(batches) - len(batches) % self.world_size :]
        return batches

    def count(self) -> int:
        """Number of batches of this rank in an epoch."""
        total = self.n // self.batch_size if self.drop_last else -(-self.n // self.batch_size)
        share, rest = divmod(total, self.world_size)
        return share + (not self.even and self.rank < rest)

    def mine(self, batches: list[Rows], worker: int = 0, workers: int = 1) -> list[Rows]:
        """Those of `batches` that one worker of this rank has: no other has them, none is lost."""
        return batches[self.rank :: self.world_size][worker::workers]

    def sharded(self, rank: int, world_size: int) -> Order:
        """The same order, dealt to other ranks."""
        return replace(self, rank=rank, world_size=world_size)

    # -- tokens --------------------------------------------------------------------------------

    def token(self, epoch: int, step: int) -> dict[str, Any]:
        """What `resume` needs to go on after `step` batches of every rank; plain JSON values."""
        return {
            "epoch": epoch,
            "batches": step * self.world_size,
            "identity": self.identity,
            "seed": self.seed,
            "order": self._layout(),
        }

    def resume(self, token: dict[str, Any]) -> tuple[int, int]:
        """Epoch, and number of batches that this rank has had.

        Raises
        ------
        RuntimeError
            The token is of other data, or of another order.
        ValueError
            It is no token.
        """
        try:
            epoch, done = int(token["epoch"]), int(token["batches"])
            found = [token["identity"], token["seed"], list(token["order"])]
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInputError(f"not the state of a loader: {token!r}") from error
        for what, value, ours in zip(
            ("commit or arraysets", "seed", "batches"),
            found,
            [self.identity, self.seed, self._layout()],
            strict=True,
        ):
            if value != ours:
                raise StateError(f"the saved state is of other {what}: {value!r}, not {ours!r}")
        if done % self.world_size:
            raise StateError(
                f"{done} batches are done, which {self.world_size} ranks cannot share evenly"
            )
        return epoch, done // self.world_size

    def _layout(self) -> list[Any]:
        blocks = [self.block_size, self.pool_blocks] if self.shuffle else [0, 0]
        return [self.n, self.batch_size, self.shuffle, *blocks, self.drop_last]

    # -- random numbers ------------------------------------------------------------------------

    def _numbers(self, n: int, epoch: int, what: str) -> NDArray[np.uint64]:
        """Random 64-bit numbers. Philox's stream is fixed, as NumPy's `permutation` is not."""
        key = blake3(f"{self.identity}\0{self.seed}\0{epoch}\0{what}".encode()).digest(16)
        generator = np.random.Philox(key=np.frombuffer(key, "<u8"))
        return generator.random_raw(n)

    def _permutation(self, n: int, epoch: int, what: str) -> Rows:
        numbers = self._numbers(n, epoch, what)
        order = np.argsort(numbers)
        ordered = numbers[order]
        if (ordered[1:] == ordered[:-1]).any():  # their order would be the machine's
            return np.argsort(numbers, kind="stable")
        return order  # as a stable sort gives it, in a third of the time

    def _bucketed(self, rows: Rows, lengths: Rows) -> Rows:
        window = self.batch_size * _BUCKETED_BATCHES
        return rows[np.lexsort((lengths[rows], np.arange(len(rows)) // window))]
