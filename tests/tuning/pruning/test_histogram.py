"""Histograms of tensors, against NumPy's own; bounded whatever the tensor."""

import numpy as np
import pytest
from keras_initx.tuning.pruning.layer_signal import BINS, MAX_VALUES, histogram_of, subsample
from scipy import stats

pytestmark = pytest.mark.one_backend


def test_small_tensors_are_counted_whole() -> None:
    values = np.random.default_rng(1).normal(size=(30, 20)).astype("float32")
    found = histogram_of(values)
    counts, edges = np.histogram(values.astype("float64"), bins=BINS)
    assert found.counts == tuple(counts)
    np.testing.assert_allclose(found.edges, edges)


def test_large_tensors_are_sampled_alike_from_all_units() -> None:
    # Each unit has values of its own: every n-th value would be of a few units only.
    values = np.broadcast_to(np.arange(1024.0), (2048, 1024))
    sample = subsample(values)
    assert sample.size == MAX_VALUES
    assert stats.kstest(sample, stats.randint(0, 1024).cdf).statistic < 0.01
    np.testing.assert_array_equal(sample, subsample(values))
    assert sum(histogram_of(values).counts) == MAX_VALUES


@pytest.mark.parametrize("value", [0.0, 1.0, -3e38, 1e-45, 5e-324])
def test_equal_values_are_in_one_bin(value: float) -> None:
    found = histogram_of(np.full(7, value))
    assert sorted(found.counts)[-2:] == [0, 7]
    at = found.counts.index(7)
    assert found.edges[at] <= value <= found.edges[at + 1]
    assert np.all(np.diff(found.edges) >= 0)


def test_nearly_equal_large_values() -> None:
    values = 1e8 + np.array([0.0, 1.5e-8])
    assert sum(histogram_of(values).counts) == 2


def test_what_is_not_finite_is_left_out() -> None:
    found = histogram_of(np.array([np.nan, np.inf, 1.0, 2.0, -np.inf]))
    assert (sum(found.counts), found.edges[0], found.edges[-1]) == (2, 1.0, 2.0)
    assert histogram_of(np.array([np.nan, np.inf])) is None
    assert histogram_of(np.array([])) is None
