"""Check the sequences of a recurrent layer: order, masks, subsets and the error of their measurement."""

import numpy as np
import pytest
from keras import layers, ops

from keras_initx.model_init.calibration.recurrent import input_rms, rms_over_times
from keras_initx.model_init.calibration.sequences import Sequences
from tests.support.arrays import array, rms


def test_long_sequences_are_measured_on_all_samples_and_times():
    scale = np.linspace(3, 0.2, 32)[:, None, None] * np.linspace(0.2, 3, 3000)[None, :, None]
    x = (scale * np.random.default_rng(0).normal(size=(32, 3000, 4))).astype("float32")
    layer = layers.LSTM(8)
    layer.build(x.shape)
    whole = x @ array(layer.cell.kernel)
    (size, *_), *_ = input_rms(layer, layer.cell, Sequences.of(layer, ops.convert_to_tensor(x), None))
    assert size == pytest.approx(rms(np.split(whole, 4, axis=-1)[0]), rel=0.05)


def test_images_are_not_measured_all_at_once():
    sequences = Sequences(np.zeros((64, 10, 24, 24, 3), "float32"), np.full(64, 10))
    rows, samples = sequences.rows(width=128)
    assert len(rows) * 24 * 24 * 128 <= 2**24
    assert len(rows) == len(samples) > 100
    assert {0, 63} <= set(samples)


@pytest.mark.parametrize("backwards", [False, True])
def test_the_order_of_reading(backwards):
    x = np.random.default_rng(0).normal(size=(3, 4, 2)).astype("float32")
    mask = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]], bool)
    layer = layers.LSTM(2, go_backwards=backwards)
    sequences = Sequences.of(layer, ops.convert_to_tensor(x), ops.convert_to_tensor(mask))
    assert sequences.lengths.tolist() == [3, 0, 2]
    order = slice(None, None, -1) if backwards else slice(None)
    for number in range(3):
        kept = x[number][mask[number]][order]
        np.testing.assert_array_equal(array(sequences.values)[number][: len(kept)], kept)


def test_the_error_counts_samples_and_not_their_times():
    scale = np.random.default_rng(0).uniform(0.2, 3, size=(64, 1, 1))
    x = (scale * np.random.default_rng(1).normal(size=(64, 1, 16))).astype("float32")
    layer = layers.SimpleRNN(64)
    layer.build((64, 1, 16))
    errors = [
        input_rms(layer, layer.cell, Sequences.of(layer, ops.convert_to_tensor(repeated), None))[0][1]
        for repeated in (x, np.repeat(x, 30, axis=1))
    ]
    assert errors[0] > 0.05
    assert errors[1] == pytest.approx(errors[0], rel=1e-3)


def test_the_error_matches_the_spread_of_the_mean():
    generator, sizes, errors = np.random.default_rng(0), [], []
    counts = np.array([400] * 4 + [2] * 60)
    samples = np.repeat(np.arange(64), counts)
    for _ in range(300):
        squares = (generator.uniform(0.2, 3, size=64) ** 2)[samples]
        size, error = rms_over_times(squares, samples)
        sizes.append(size)
        errors.append(error)
    assert np.median(errors) == pytest.approx(np.std(sizes) / np.mean(sizes), rel=0.3)


def test_a_subset_of_rows_covers_all_times():
    values = np.zeros((31, 10, 64, 64, 1), "float32") + np.arange(10)[None, :, None, None, None]
    rows, _ = Sequences(values, np.full(31, 10)).rows(width=128)
    assert len(rows) == 32
    assert len(set(array(rows)[:, 0, 0, 0])) >= 8
