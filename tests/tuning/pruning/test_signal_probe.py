"""The signal of a model on one batch, compared with gradients by hand; the model is restored."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import layers
from keras_initx.tuning.data import Batch
from keras_initx.tuning.pruning.signal_probe import SignalProbe

from tests.support.arrays import array, rms


def network(jit_compile=False, optimizer="adam", dropout=0.0):
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(7, activation="tanh", name="hidden"),
            layers.Dropout(dropout),
            layers.Dense(3, name="head"),
        ]
    )
    model.compile(optimizer, "mse", metrics=["mae"], jit_compile=jit_compile)
    return model


@pytest.mark.parametrize("jit_compile", [False, True])
def test_loss_spread_and_gradients_by_hand(batch, jit_compile):
    model = network(jit_compile)
    x, y = (part.astype("float64") for part in batch.parts[:2])
    w1, b1, w2, b2 = map(array, model.variables[:4])
    h = np.tanh(x @ w1 + b1)
    out = h @ w2 + b2
    error = 2 * (out - y) / out.size
    signal = SignalProbe(batch)(model)
    assert signal.loss == pytest.approx(np.mean((out - y) ** 2), rel=1e-5)
    assert signal.constant == pytest.approx(np.mean(y**2), rel=1e-5)
    assert signal.spread == pytest.approx(np.sqrt(np.mean(np.var(out, axis=0))) / rms(out), rel=1e-4)
    assert [k.path.split("/")[-2] for k in signal.kernels] == ["hidden", "head"]
    gradients = [x.T @ (error @ w2.T * (1 - h**2)), h.T @ error]
    assert [k.gradient for k in signal.kernels] == pytest.approx([rms(g) for g in gradients], rel=1e-4)
    assert [k.weight for k in signal.kernels] == pytest.approx([rms(w1), rms(w2)], rel=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_model_is_restored_and_trains_as_without_the_probe(batch, optimizer):
    histories = []
    for probed in (False, True):
        keras.utils.set_random_seed(3)
        model = network(optimizer=optimizer, dropout=0.5)
        model.train_on_batch(batch.x, batch.y)
        model.reset_metrics()
        before, optimizer_before = [array(v) for v in model.variables], model.optimizer
        state = [array(v) for v in optimizer_before.variables]
        if probed:
            SignalProbe(batch)(model)
        assert model.optimizer is optimizer_before
        for values, variables in ((before, model.variables), (state, optimizer_before.variables)):
            for value, variable in zip(values, variables, strict=True):
                np.testing.assert_array_equal(array(variable), value)
        keras.utils.set_random_seed(4)
        histories.append(model.fit(batch.x, batch.y, epochs=2, verbose=0).history)
    assert histories[0] == histories[1]


def test_changed_weights_are_measured_again(batch):
    model, probe = network(), SignalProbe(batch)
    first = probe(model)
    model.get_layer("head").kernel.assign(3 * model.get_layer("head").kernel)
    second = probe(model)
    assert second.kernels[1].weight == pytest.approx(3 * first.kernels[1].weight, rel=1e-5)
    assert second.kernels[0].gradient > 2 * first.kernels[0].gradient
    assert probe(model) == second


def test_probe_keeps_no_reference_to_the_model(batch):
    probe, model = SignalProbe(batch), network()
    probe(model)
    reference = weakref.ref(model)
    del model
    keras.utils.clear_session()
    gc.collect()
    assert reference() is None


def test_compiled_function_is_kept_in_the_scratch_dictionary(batch):
    model, probe, scratch = network(), SignalProbe(batch), {}
    first = probe(model, scratch)
    ((_, compiled),) = scratch.values()
    assert compiled is not None
    assert probe(model, scratch) == first
    assert next(iter(scratch.values()))[1] is compiled


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the training step is written for TensorFlow"
)
def test_a_second_optimizer(batch):
    import tensorflow as tf

    class Two(keras.Model):
        def train_step(self, data):
            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
            with tf.GradientTape(persistent=True) as tape:
                loss = self.compute_loss(x, y, self(x, training=True))
            variables = self.trainable_variables
            for optimizer, part in ((self.optimizer, variables), (self.other, variables[:2])):
                optimizer.apply(tape.gradient(loss, part), part)
            return {"loss": loss}

    inputs = keras.Input((5,))
    model = Two(inputs, layers.Dense(3)(layers.Dense(7, activation="tanh")(inputs)))
    model.compile("sgd", "mse")
    model.other = keras.optimizers.Adam(0.1)
    with pytest.raises(ValueError, match="second optimizer"):
        SignalProbe(batch)(model)
    model.other.build(model.trainable_variables[:2])
    variables = [*model.variables, *model.other.variables]
    before = [array(v) for v in variables]
    signal = SignalProbe(batch)(model)
    assert signal.kernels[0].gradient > 0
    for value, variable in zip(before, variables, strict=True):
        np.testing.assert_array_equal(array(variable), value)


def test_units_that_are_equal(batch):
    model = network()
    model.get_layer("hidden").kernel.assign(np.full((5, 7), 0.3, "float32"))
    head = np.tile(np.array([[0.1, -0.2, 0.3]], "float32"), (7, 1))
    model.get_layer("head").kernel.assign(head)
    hidden, last = SignalProbe(batch)(model).kernels
    assert (hidden.units_equal, hidden.inputs_equal) == (True, False)
    assert (last.units_equal, last.inputs_equal) == (False, True)
    head[0] = 1
    model.get_layer("head").kernel.assign(head)
    # Different weights follow, so that their gradients differ.
    hidden, last = SignalProbe(batch)(model).kernels
    assert not hidden.units_equal
    assert not last.inputs_equal


def test_look_up_tables_and_half_precision():
    x = np.array([[1, 1, 2], [3, 1, 0]])
    y = np.array([[1.0], [0.0]], "float32")
    model = keras.Sequential(
        [keras.Input((3,), dtype="int32"), layers.Embedding(9, 4), layers.Flatten(), layers.Dense(1)]
    )
    model.compile("adam", "mse")
    table, kernel = array(model.layers[0].embeddings), array(model.layers[2].kernel)
    out = table[x].reshape(2, -1) @ kernel
    gradient = np.zeros_like(table)
    # A row that is looked up twice receives both gradients.
    np.add.at(gradient, x, ((out - y) @ kernel.T).reshape(2, 3, 4))
    assert SignalProbe(Batch.of_arrays(x, y))(model).kernels[0].gradient == pytest.approx(
        rms(gradient), rel=1e-4
    )

    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = network()
    finally:
        keras.config.set_dtype_policy("float32")
    half.layers[0].kernel.assign(half.layers[0].kernel * 1e-3)
    half.layers[-1].kernel.assign(half.layers[-1].kernel * 1e-4)
    batch = Batch.of_arrays(np.ones((16, 5), "float32"), np.full((16, 3), 1e-2, "float32"))
    signal = SignalProbe(batch)(half)
    assert 0 < signal.kernels[0].gradient < 1e-5
    assert signal.half
