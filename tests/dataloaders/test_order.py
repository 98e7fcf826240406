"""The order of an epoch: complete, shared out without overlap, and the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangar_git.dataloaders.order import Order


@given(
    n=st.integers(1, 300),
    batch_size=st.integers(1, 40),
    shuffle=st.booleans(),
    block_size=st.sampled_from([1, 2, 7, 64]),
    pool_blocks=st.integers(1, 5),
    world_size=st.integers(1, 4),
    workers=st.integers(1, 3),
    bucketed=st.booleans(),
)
def test_ranks_and_workers_share_an_epoch_without_overlap_or_loss(
    n, batch_size, shuffle, block_size, pool_blocks, world_size, workers, bucketed
):
    order = Order("data", n, batch_size, shuffle, 5, block_size, pool_blocks, world_size=world_size)
    lengths = np.arange(n) % 11 if bucketed else None
    found = []
    for rank in range(world_size):
        mine = order.sharded(rank, world_size)
        shares = [mine.mine(mine.batches(3, lengths), w, workers) for w in range(workers)]
        assert sum(map(len, shares)) == mine.count()
        found += [row for share in shares for batch in share for row in batch.tolist()]
    assert sorted(found) == list(range(n))


def test_the_order_is_the_same_on_every_machine_and_in_every_version():
    """What a saved state stands for: these numbers may never change."""
    assert Order("data", 10, 4, shuffle=True).rows(0).tolist() == [0, 6, 7, 9, 1, 5, 8, 3, 2, 4]
    blocks = Order("data", 10, 4, shuffle=True, block_size=3, pool_blocks=2)
    assert blocks.rows(0).tolist() == [4, 7, 3, 8, 6, 5, 0, 1, 2, 9]


def test_seed_epoch_and_data_each_give_another_order():
    base = Order("data", 100, 10, shuffle=True)
    others = [
        base.rows(1),
        Order("data", 100, 10, shuffle=True, seed=1).rows(0),
        Order("other", 100, 10, shuffle=True).rows(0),
    ]
    for rows in others:
        assert not np.array_equal(rows, base.rows(0))
    assert np.array_equal(base.rows(0), base.rows(0))


def test_blocks_stay_together_within_a_pool():
    order = Order("data", 1000, 10, shuffle=True, block_size=10, pool_blocks=4)
    rows = order.rows(0)
    for start in range(0, 1000, 40):
        assert len({row // 10 for row in rows[start : start + 40].tolist()}) == 4
    assert rows[:40].tolist() != sorted(rows[:40].tolist())


def test_an_even_epoch_has_as_many_batches_on_each_rank():
    counts = []
    for rank in range(3):
        order = Order("data", 100, 10, rank=rank, world_size=3, even=True)
        counts.append(len(order.mine(order.batches(0))))
        assert counts[-1] == order.count()
    assert counts == [3, 3, 3]


def test_buckets_hold_samples_of_like_length():
    lengths = np.random.default_rng(1).integers(1, 1000, 6400)
    order = Order("data", 6400, 100, shuffle=True)

    def padding(batches):
        return sum(int((lengths[b].max() - lengths[b]).sum()) for b in batches)

    assert padding(order.batches(0, lengths)) < 0.05 * padding(order.batches(0))


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"batch_size": 2.5}, {"rank": 2, "world_size": 2}, {"block_size": 0}],
)
def test_an_option_that_cannot_be_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options)).split("_")[0]):
        Order("data", 10, **({"batch_size": 2} | options))


def test_a_state_goes_on_with_other_ranks_and_is_refused_for_other_data():
    two = Order("data", 100, 10, shuffle=True, world_size=2)
    token = two.token(epoch=4, step=3)
    assert Order("data", 100, 10, shuffle=True).resume(token) == (4, 6)
    for other in (
        Order("other", 100, 10, shuffle=True),
        Order("data", 100, 10, shuffle=True, seed=1),
        Order("data", 100, 20, shuffle=True),
        Order("data", 100, 10, shuffle=True, world_size=4),
    ):
        with pytest.raises(RuntimeError):
            other.resume(token)
    with pytest.raises(ValueError, match="not the state"):
        two.resume({"epoch": 1})
