"""Datasets of tensorflow; run where that is installed."""

from __future__ import annotations

import numpy as np
import pytest

from hangar_git import make_tf_dataset

from .conftest import COUNT

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_the_documented_example_runs(co):
    data = make_tf_dataset([co["images"], co["labels"]]).batch(16)
    assert isinstance(data, tf.data.Dataset)
    seen = []
    for images, labels in data:
        assert np.array_equal(images.numpy()[:, 0, 0], labels.numpy())
        assert images.dtype == tf.float32
        seen += labels.numpy().tolist()
    assert sorted(seen) == list(range(COUNT))


def test_one_arrayset_gives_tuples_of_one(co):
    for number, sample in enumerate(make_tf_dataset(co["labels"], shuffle=False)):
        assert len(sample) == 1
        assert sample[0].numpy() == number


def test_each_epoch_has_another_order_of_all_samples(co):
    data = make_tf_dataset(co["labels"])
    first, second = ([int(label) for (label,) in data] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(COUNT))
    assert first != second


def test_keys_come_before_index_range(co):
    data = make_tf_dataset(co["labels"], [7, 3, 40], slice(0, 2), shuffle=False)
    assert [int(label) for (label,) in data] == [7, 3, 40]


def test_the_shapes_of_the_dataset_serve_padded_batch(co):
    data = make_tf_dataset([co["images"], co["lines"]], shuffle=False)
    shapes = tf.compat.v1.data.get_output_shapes(data)
    assert shapes == (tf.TensorShape([4, 3]), tf.TensorShape([None]))
    _, lines = next(iter(data.padded_batch(10, padded_shapes=shapes)))
    assert lines.shape == (10, 7)
    assert lines.numpy()[2].tolist() == [2, 2, 2, 0, 0, 0, 0]


def test_texts_are_strings_of_tensorflow(co):
    (name,) = next(iter(make_tf_dataset(co["names"], shuffle=False)))
    assert name.numpy().decode() == "größe-0"


def test_a_dtype_that_tensorflow_lacks_is_refused(repo):
    co = repo.checkout(write=True)
    pairs = np.zeros(2, [("a", "<i4"), ("b", "<f4")])
    co.arraysets.init_arrayset("pairs", prototype=pairs)[1] = pairs
    co.commit("one")
    co.close()
    with repo.checkout() as reader, pytest.raises(ValueError, match=r"'pairs'.*tensorflow lacks"):
        make_tf_dataset(reader["pairs"])
