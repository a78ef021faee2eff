"""Check the course of a cell by NumPy, and compiled calls of recurrent layers by the layers themselves."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx.model_init.calibration.scaler import LayerCall
from keras_initx.model_init.calibration.sequences import Sequences
from keras_initx.model_init.calibration.unrolled import Unrolled, computed, outputs_of


def rms(x, axis=None):
    return np.sqrt(np.mean(np.square(x), axis=axis))


def simple(kernel=None, **settings):
    layer = layers.SimpleRNN(6, **settings)
    layer.build((None, 20, 4))
    if kernel is not None:
        layer.cell.recurrent_kernel.assign(kernel)
    return layer


def inputs(times=20, samples=16):
    return np.random.default_rng(0).standard_normal((samples, times, 4)).astype("float32")


def by_hand(layer, x):
    """Return the pre-activations without bias, and the states, of a SimpleRNN."""
    kernel, recurrent, bias = (ops.convert_to_numpy(v) for v in layer.cell.weights)
    state, sums, states = np.zeros((len(x), 6)), [], []
    for step in x.transpose(1, 0, 2):
        sums.append(step @ kernel + state @ recurrent)
        state = np.tanh(sums[-1] + bias)
        states.append(state)
    return np.stack(sums, 1), np.stack(states, 1)


@pytest.mark.parametrize("times", [6, 20])
def test_gates_and_states_by_numpy(times):
    layer, x = simple(), inputs(times)
    layer.cell.bias.assign(np.linspace(-1, 1, 6))
    sequences = Sequences.of(layer, ops.convert_to_tensor(x), None)
    (course,) = Unrolled(layer, layer.cell, sequences, 1, times).run()
    sums, states = by_hand(layer, x)
    # Rounding of float32.
    assert course.late_gates() == pytest.approx([rms(sums[:, times // 2 :])], rel=1e-4)
    assert course.state_sizes()[:, 1] == pytest.approx(rms(states, axis=(0, 2)), rel=1e-4)


def test_steps_behind_the_end_of_a_sample_do_not_count():
    layer, x = simple(), inputs()
    lengths = np.arange(16) + 4
    sequences = Sequences(ops.convert_to_tensor(x), lengths)
    (course,) = Unrolled(layer, layer.cell, sequences, 1, 20).run()
    sums, _ = by_hand(layer, x)
    late = [sums[n, length // 2 : length] for n, length in enumerate(lengths)]
    assert course.late_gates() == pytest.approx([rms(np.concatenate(late))], rel=1e-4)


def test_factors_scale_the_inputs():
    layer, x = simple(), inputs()
    sequences = Sequences.of(layer, ops.convert_to_tensor(x), None)
    for factor, course in zip(
        (1, 10), Unrolled(layer, layer.cell, sequences, 1, 20, (1, 10)).run(), strict=True
    ):
        assert course.late_gates() == pytest.approx([rms(by_hand(layer, factor * x)[0][:, 10:])], rel=1e-3)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_the_drift_of_a_linear_cell_is_the_power_of_its_factor(factor):
    layer = simple(factor * np.eye(6), activation="linear")
    sequences = Sequences.of(layer, ops.convert_to_tensor(inputs()), None)
    (course,) = Unrolled(layer, layer.cell, sequences, 1, 20).run()
    # From the first step on; distances of 1e-3 are known to 1e-4 of states of size 10 in float32.
    assert course.drift() == pytest.approx(max(factor**19, 1), rel=1e-2)


def test_runs_read_the_current_weights():
    layer, x = simple(), inputs()
    run = Unrolled(layer, layer.cell, Sequences.of(layer, ops.convert_to_tensor(x), None), 1, 20)
    run.run()
    layer.cell.kernel.assign(3 * layer.cell.kernel)
    assert run.run()[0].late_gates() == pytest.approx([rms(by_hand(layer, x)[0][:, 10:])], rel=1e-4)


def test_a_short_sequence_is_followed_by_steps_drawn_from_it():
    layer, x = simple(np.eye(6), activation="linear"), np.ones((2, 7, 4), "float32")
    (course,) = Unrolled(layer, layer.cell, Sequences.of(layer, ops.convert_to_tensor(x), None), 1, 30).run()
    # Equal inputs add up in a linear state.
    sizes = course.state_sizes()[:, 0]
    assert sizes == pytest.approx(sizes[0] * np.arange(1, 31), rel=1e-4)


def test_outputs_of_a_cell():
    layer, x = simple(), inputs()
    sequences = outputs_of(layer, layer.cell, Sequences.of(layer, ops.convert_to_tensor(x), None))
    assert ops.convert_to_numpy(sequences.values) == pytest.approx(by_hand(layer, x)[1], abs=1e-5)


@pytest.mark.parametrize(("times", "is_masked"), [(20, False), (20, True), (60, False)])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_compiled_or_unrolled_call_returns_what_the_layer_returns(kind, times, is_masked):
    layer = getattr(layers, kind)(6, return_sequences=True, return_state=True, go_backwards=True)
    x = ops.convert_to_tensor(inputs(times, samples=4))
    state = ops.ones((4, 6))
    kwargs = {"initial_state": [state, state] if kind == "LSTM" else [state], "training": False}
    if is_masked:
        kwargs["mask"] = ops.convert_to_tensor(np.arange(times) < np.array([[times], [9], [5], [1]]))
    expected = layer(x, **kwargs)
    call = LayerCall(layer, (x,), kwargs, lambda args, kwargs: layer(*args, **kwargs))
    for got, want in zip(keras.tree.flatten(computed(call)), keras.tree.flatten(expected), strict=True):
        assert ops.is_tensor(got)
        assert ops.convert_to_numpy(got) == pytest.approx(ops.convert_to_numpy(want), abs=1e-5)


@pytest.mark.parametrize(("times", "is_compiled"), [(6, False), (20, True)])
def test_a_run_over_few_steps_compiles_nothing(times, is_compiled, monkeypatch):
    """Compiling a loop takes JAX seconds, the steps of a convolutional cell far less."""
    calls, predict = [], keras.Model.predict_on_batch
    monkeypatch.setattr(keras.Model, "predict_on_batch", lambda *a: calls.append(1) or predict(*a))
    if keras.backend.backend() == "jax":
        import jax

        scan = jax.lax.scan
        monkeypatch.setattr(jax.lax, "scan", lambda *a, **k: calls.append(1) or scan(*a, **k))
    layer, x = simple(return_sequences=True), ops.convert_to_tensor(inputs(times))
    sequences = Sequences.of(layer, x, None)
    Unrolled(layer, layer.cell, sequences, 1, times).run()
    outputs = outputs_of(layer, layer.cell, sequences).values
    assert bool(calls) == is_compiled
    calls.clear()
    found = computed(LayerCall(layer, (x,), {}, lambda args, kwargs: layer(*args, **kwargs)))
    assert not calls
    assert np.allclose(ops.convert_to_numpy(found), ops.convert_to_numpy(outputs), atol=1e-5)
    assert not layer.unroll
