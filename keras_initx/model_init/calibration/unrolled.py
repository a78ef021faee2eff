"""Run a recurrent cell over time, compiled if that pays, and measure its gates and states at each step."""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph import own_weights, patched_attribute
from keras_initx._tf_logging import without_retracing_advice
from keras_initx.model_init.calibration.scaler import LayerCall
from keras_initx.model_init.calibration.sequences import Sequences, late_steps, mask_of

# Multiplications that one run may take. It limits the samples, but never the time steps.
_BUDGET = 5e8
# The second run starts from the states of the first plus Gaussian noise of this standard deviation.
_STEP_ASIDE = 1e-3
# Compiling a layer takes as long as this many time steps without it, or longer.
_LONG = 50
# The same for a run of a cell, which is called several times.
_LONG_RUN = 13


@dataclass(frozen=True)
class Course:
    """The sizes of a cell's gates and states over the time steps of its sequences.

    Attributes:
        gates: Mean squares of the pre-activations without bias: (samples, times, gates).
        states: Mean squares of the output and of each state: (samples, times, 1 + states).
        distances: Mean squares of the distance to the states of a run that began a little aside:
            (samples, times).
        valid: Whether a time step belongs to its sample: (samples, times).
    """

    gates: np.ndarray
    states: np.ndarray
    distances: np.ndarray
    valid: np.ndarray

    def late_gates(self) -> np.ndarray:
        """Return the root mean square of each gate over the second half of each sample's steps."""
        late = late_steps(self.valid)
        return np.sqrt(np.mean(self.gates[late], axis=0)) if late.any() else np.zeros(self.gates.shape[-1])

    def state_sizes(self) -> np.ndarray:
        """Return the root mean squares of the output and of each state: (times, 1 + states)."""
        return np.sqrt(_over_samples(self.states, self.valid))

    def drift(self) -> float:
        """Return the largest factor by which the distance of the two runs grows after their first step."""
        sizes = np.sqrt(_over_samples(self.distances[..., None], self.valid))[:, 0]
        if not np.all(np.isfinite(sizes)):
            return math.inf
        return float(np.max(sizes) / sizes[0]) if sizes.size and sizes[0] > 0 else 0.0


def _over_samples(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return the mean over samples of (samples, times, n), without times that no sample reaches."""
    counts = valid.sum(axis=0)
    used = counts > 0
    sums = np.sum(np.where(valid[..., None], values, 0.0), axis=0)
    return sums[used] / counts[used, None]


class Unrolled:
    """A cell over sequences, compiled at most once; each run reads the current weights.

    Args:
        layer: The recurrent layer.
        cell: Its cell, or one cell of its stack.
        sequences: The inputs of the cell.
        gates: The number of gates; 0 if the cell is not one of Keras's.
        times: The number of time steps to run; a shorter sequence is followed by steps
            drawn from it, a longer one is cut.
        factors: The factors on the inputs.
        twice: Whether to run from neighbouring states too.
    """

    def __init__(
        self,
        layer: keras.Layer,
        cell: keras.Layer,
        sequences: Sequences,
        gates: int,
        times: int,
        factors: Sequence[float] = (1.0,),
        twice: bool = True,
    ) -> None:
        work = len(factors) * (1 + twice) * times * work_of_a_step(layer, cell, sequences.values.shape)
        samples = int(min(max(_BUDGET // work, 1), sequences.values.shape[0]))
        values, lengths = sequences.values[:samples, :times], sequences.lengths[:samples]
        if times > values.shape[1]:
            # Steps in their own order would repeat, and a state may be in tune with their period.
            order = np.random.default_rng(0).integers(0, values.shape[1], times)
            order[: values.shape[1]] = np.arange(values.shape[1])
            values = ops.take(values, order, axis=1)
            lengths = np.where(lengths == sequences.values.shape[1], times, lengths)
        scaled = [values if factor == 1 else values * ops.cast(factor, values.dtype) for factor in factors]
        self._values = scaled[0] if len(scaled) == 1 else ops.concatenate(scaled, axis=0)
        self._valid = np.arange(values.shape[1])[None] < lengths[:, None]
        self._gates, self._runs = gates, len(factors)
        states = initial_states(layer, cell, samples * len(factors))
        cell = _Measuring(cell, gates, _channel_axis(layer), twice)
        self._model = _Runs(cell, _pairs(states) if twice else lambda: states)

    def run(self) -> list[Course]:
        """Run the cell, and return its course for each factor on the inputs."""
        numbers = np.asarray(ops.convert_to_numpy(self._model.run(self._values)), dtype="float64")
        courses = []
        for part in np.split(numbers, self._runs):
            gates, states, distances = np.split(part, [self._gates, part.shape[-1] - 1], axis=-1)
            courses.append(Course(gates, states, distances[..., 0], self._valid))
        return courses


def compiled(model: keras.Model, values: Any) -> Any:
    """Return the outputs of a model in one compiled call, or step by step if it cannot be compiled."""
    try:
        with without_retracing_advice():
            return model.predict_on_batch(values)
    except Exception:
        return ops.convert_to_numpy(model(values, training=False))


def outputs_of(layer: keras.Layer, cell: keras.Layer, sequences: Sequences) -> Sequences:
    """Return the outputs of a cell at all time steps."""
    states = initial_states(layer, cell, sequences.values.shape[0])
    values = _Runs(cell, lambda: states).run(sequences.values)
    return Sequences(ops.convert_to_tensor(values), sequences.lengths)


def computed(call: LayerCall) -> Any:
    """Return the outputs of a layer; compile the call of a recurrent layer with many time steps.

    The states of a stateful layer start at zero, for any number of samples, and stay as they are.
    """
    if not isinstance(call.layer, keras.layers.RNN):
        return call()
    with patched_attribute(call.layer, "stateful", False):
        return _over_time(call)


def _over_time(call: LayerCall) -> Any:
    # On JAX, unrolled steps treat a mask differently from a loop.
    if mask_of(call) is not None:
        return call()
    if call.inputs.shape[1] < _LONG:
        with patched_attribute(call.layer, "unroll", True):
            # JAX would compile a loop.
            return call()
    flat = keras.tree.flatten((call.args, call.kwargs))
    places = [n for n, value in enumerate(flat) if ops.is_tensor(value)]
    return keras.tree.map_structure(
        ops.convert_to_tensor, compiled(_Called(call, flat, places), [flat[n] for n in places])
    )


def initial_states(layer: keras.Layer, cell: keras.Layer, samples: int) -> list[Any]:
    """Return the states from which a cell of a layer begins."""
    if cell is layer.cell:
        states = layer.get_initial_state(samples)
    elif hasattr(cell, "get_initial_state"):
        states = cell.get_initial_state(samples)
    else:
        sizes = keras.tree.flatten(cell.state_size)
        states = [ops.zeros((samples, size), dtype=cell.compute_dtype) for size in sizes]
    return as_list(states)


def work_of_a_step(layer: keras.Layer, cell: keras.Layer, shape: tuple[int, ...]) -> int:
    """Return the approximate number of multiplications for one sample in one step."""
    weights = sum(math.prod(v.shape) for v in cell.weights)
    positions = shape[3:] if _channel_axis(layer) == 1 else shape[2:-1]
    return max(weights, 1) * math.prod(positions)


def as_list(states: Any) -> list[Any]:
    """Return the states of a cell as a list; a cell with one state may return it alone."""
    return list(states) if keras.tree.is_nested(states) else [states]


class _Runs(keras.Model):
    """A cell over a batch of sequences, from the given states."""

    def __init__(self, cell: keras.Layer, states: Callable[[], list[Any]]) -> None:
        super().__init__(name="runs", dtype="float32")
        self.autocast = False
        self.over_time = keras.layers.RNN(cell, return_sequences=True, name="over_time", dtype="float32")
        self.over_time.autocast = False
        self._states = states
        self.built = True

    def call(self, sequences: Any) -> Any:
        return self.over_time(sequences, initial_state=self._states())

    def run(self, sequences: Any) -> Any:
        """Return the outputs of a batch of sequences; compile the call if they have many time steps."""
        if sequences.shape[1] >= _LONG_RUN:
            return compiled(self, sequences)
        # Keras's layer would compile a loop on JAX. An index that is a tensor is compiled once for all steps.
        states, outputs = self._states(), []
        for time in range(sequences.shape[1]):
            output, states = self.over_time.cell(ops.take(sequences, time, axis=1), states)
            outputs.append(output)
        return ops.stack(outputs, axis=1)


class _Called(keras.Model):
    """A model that repeats a recorded layer call on other tensors."""

    def __init__(self, recorded: LayerCall, flat: list[Any], places: list[int]) -> None:
        super().__init__(name="called", dtype="float32")
        self.autocast = False
        self.layer = recorded.layer
        # A tuple keeps Keras from tracking what it holds.
        self._recorded = (recorded, list(flat), places)
        self.built = True

    def call(self, tensors: Any) -> Any:
        recorded, flat, places = self._recorded
        flat = list(flat)
        for place, tensor in zip(places, tensors, strict=True):
            flat[place] = tensor
        return recorded.compute(*keras.tree.pack_sequence_as((recorded.args, recorded.kwargs), flat))


class _Measuring(keras.Layer):
    """A cell that runs another cell and returns what it measures.

    If it runs the cell twice, its states hold the first run's states, followed by the second run's.
    """

    def __init__(self, cell: keras.Layer, gates: int, channel_axis: int, twice: bool) -> None:
        super().__init__(name="measuring", dtype=cell.dtype_policy, autocast=False)
        self.cell, self.state_size = cell, cell.state_size
        self._gates, self._channel_axis, self._twice = gates, channel_axis, twice
        self.built = True

    def call(self, inputs: Any, states: Any) -> Any:
        samples = inputs.shape[0]
        gates: list[Any] = []
        with contextlib.ExitStack() as stack:
            for name in ("activation", "recurrent_activation") if self._gates else ():
                if callable(getattr(self.cell, name, None)):
                    probe = _recording(getattr(self.cell, name), gates)
                    stack.enter_context(patched_attribute(self.cell, name, probe))
            both = ops.concatenate([inputs, inputs], axis=0) if self._twice else inputs
            output, new = self.cell(both, states)
        new = as_list(new)
        biases = _gate_biases(self.cell, self._gates)
        columns = [
            _mean_squares(z[:samples] - _along(bias, z, self._channel_axis))
            for z, bias in zip(gates[: self._gates], biases, strict=True)
        ]
        floats = [s for s in keras.tree.flatten(new) if "float" in keras.backend.standardize_dtype(s.dtype)]
        columns += [_mean_squares(s[:samples]) for s in (output, *floats)]
        apart = [_mean_squares(s[:samples] - s[samples:]) for s in floats] if self._twice else []
        columns.append(sum(apart, ops.zeros_like(columns[-1])))
        return ops.stack(columns, axis=-1), new


def _recording(activation: Any, inputs: list[Any]) -> Any:
    def record(z: Any) -> Any:
        inputs.append(ops.cast(z, "float32"))
        return activation(z)

    return record


def _mean_squares(tensor: Any) -> Any:
    """Return the mean square of each sample."""
    squares = ops.square(ops.cast(tensor, "float32"))
    return ops.mean(ops.reshape(squares, (squares.shape[0], -1)), axis=1)


def _gate_biases(cell: keras.Layer, gates: int) -> list[Any]:
    """Return the bias of each gate of one of Keras's cells."""
    bias = next((v for v in own_weights(cell) if v.name.endswith("bias")), None)
    if bias is None or not gates:
        return [0.0] * gates
    total = ops.cast(bias, "float32")
    # A GRU with reset_after has one bias for its inputs and one for its states.
    return list(ops.split(ops.sum(total, axis=0) if len(total.shape) == 2 else total, gates))


def _along(bias: Any, tensor: Any, axis: int) -> Any:
    """Reshape a bias so that it adds to a tensor along one axis."""
    if isinstance(bias, float):
        return bias
    shape = [1] * len(tensor.shape)
    shape[axis] = -1
    return ops.reshape(bias, shape)


def _channel_axis(layer: keras.Layer) -> int:
    return 1 if getattr(layer, "data_format", "") == "channels_first" else -1


def _pairs(states: list[Any]) -> Callable[[], list[Any]]:
    """Return the states of both runs: as given, and slightly perturbed."""
    rng = np.random.default_rng(0)

    def with_neighbour(state: Any) -> Any:
        if "float" not in keras.backend.standardize_dtype(state.dtype):
            return ops.concatenate([state, state], axis=0)
        noise = _STEP_ASIDE * rng.standard_normal(tuple(state.shape))
        return ops.concatenate([state, state + ops.cast(noise, state.dtype)], axis=0)

    both = keras.tree.map_structure(with_neighbour, states)
    return lambda: both
