"""Attention over one position and normalization over one entry: notes where the model trains around them."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_initx.diagnostics import diagnose
from tests.support.networks import data

pytestmark = pytest.mark.one_backend


def fused(h):
    return layers.MultiHeadAttention(2, 4)(h, h)


def layer(h):
    return layers.Attention()([layers.Dense(8)(h), layers.Dense(8)(h), layers.Dense(8)(h)])


def with_scores(h):
    return layers.MultiHeadAttention(2, 4)(h, h, return_attention_scores=True)[0]


@pytest.mark.filterwarnings("ignore:You are using a softmax")
@pytest.mark.parametrize("attend", [fused, layer, with_scores])
@pytest.mark.parametrize("positions", [1, 5])
def test_attention_over_one_position(attend, positions):
    inputs = keras.Input((positions, 8))
    model = keras.Model(inputs, layers.Dense(2)(attend(layers.Dense(8)(inputs))))
    report = diagnose(model, data(16, positions, 8))
    assert report.healthy, report.summary()
    # The queries and keys come first, and only they get no gradient.
    idle = [row.is_idle for row in report.rows]
    assert sum(idle) == (2 if positions == 1 else 0)
    # On some processors a softmax over one entry returns 1 only to within rounding.
    largest = max(row.gradient_rms for row in report.rows)
    assert [row.gradient_rms < 1e-5 * largest for row in report.rows] == idle
    notes = [f.text for f in report.findings if f.verdict == "single entry"]
    assert len(notes) == (positions == 1)
    assert all("attends to a single position" in text for text in notes)


def forecaster(is_residual):
    """The block of keras.io's time-series transformer, on one feature."""
    inputs = h = keras.Input((20, 1))
    for _ in range(2):
        branch = layers.LayerNormalization(epsilon=1e-6)(layers.MultiHeadAttention(2, 8)(h, h))
        h = branch + h if is_residual else branch
    h = layers.GlobalAveragePooling1D(data_format="channels_last")(h)
    model = keras.Model(inputs, layers.Dense(2, "softmax")(layers.Dense(16, "relu")(h)))
    model.compile(keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy", jit_compile=False)
    return model


@pytest.mark.parametrize("is_residual", [True, False])
def test_normalization_over_one_entry(is_residual):
    keras.utils.set_random_seed(1)
    model = forecaster(is_residual)
    x = data(64, 20, 1)
    y = (x.mean(axis=(1, 2)) > 0).astype("int32")
    report = diagnose(model, x, y)
    losses = [float(model.train_on_batch(x, y)) for _ in range(20)]
    trains = losses[-1] < 0.7 * losses[0]
    assert trains is is_residual
    assert report.healthy is trains, report.summary()
    (finding,) = (f for f in report.findings if "normalizes over a single entry" in f.text)
    assert finding.verdict == ("single entry" if trains else "vanishing")
    assert "(and 1 more)" in finding.text


def test_a_layer_that_gets_no_gradient_for_another_reason_is_still_reported():
    inputs = keras.Input((1, 8))
    stopped = keras.ops.stop_gradient(layers.Dense(8)(layers.Dense(8)(inputs)))
    report = diagnose(keras.Model(inputs, layers.Dense(2)(fused(stopped))), data(16, 1, 8))
    assert "vanishing" in {f.verdict for f in report.findings}
    assert np.array_equal([row.is_idle for row in report.rows[:2]], [False, False])
