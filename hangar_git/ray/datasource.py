"""A commit as Ray reads it: a task for each part, and a bulk read in each task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from ray.data import Datasource, ReadTask
from ray.data.block import BlockAccessor, BlockMetadata

from ..views.columns import Column
from ..views.rows import key_names, labels
from ..workers.parts import objects, row_bytes, row_ranges


class CommitDatasource(Datasource):
    """Rows of aligned columns of a commit.

    Parameters
    ----------
    columns
        As `workers.parts.from_remote` gives them.
    partition_size
        Rows of a task; None: what is about 32 MiB.
    """

    def __init__(self, columns: list[Column], partition_size: int | None) -> None:
        super().__init__()
        self._columns = columns
        self._row_bytes = sum(map(row_bytes, columns))
        self._rows = row_ranges(len(columns[0]), self._row_bytes, partition_size)

    def get_name(self) -> str:
        """What Ray shows of it."""
        return "Hangar"

    def estimate_inmemory_data_size(self) -> int:
        """Bytes of all samples."""
        return int(self._row_bytes * len(self._columns[0]))

    def get_read_tasks(
        self,
        parallelism: int,  # noqa: ARG002  # parts are as large as a bulk read should be
        per_task_row_limit: int | None = None,
        data_context: Any = None,  # noqa: ARG002
    ) -> list[ReadTask]:
        """A task for each part, which holds the digests of its own rows alone."""
        tasks = []
        for rows in self._rows:
            some = rows[:per_task_row_limit]
            metadata = BlockMetadata(
                num_rows=len(some), size_bytes=int(self._row_bytes * len(some)),
                input_files=None, exec_stats=None,
            )  # fmt: skip
            columns = [column.take(some) for column in self._columns]
            tasks.append(ReadTask(partial(_read, columns), metadata))
        return tasks


def _read(columns: Sequence[Column]) -> Iterable[Any]:
    """The one block of a part."""
    batch = {key_names(columns)[0]: labels(columns[0].keys)}
    for column in columns:
        found = column.read(range(len(column)))
        batch[column.name] = found if isinstance(found, np.ndarray) else objects(found)
    return [BlockAccessor.batch_to_block(batch)]
