"""One forward pass that scales every weight to its target at the moment its result is computed."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph import (
    Graph,
    Step,
    compute,
    first_argument,
    first_tensor,
    intercepted,
    is_about_inputs,
    is_concrete,
    is_keras_call,
    own_weights,
    patched_attribute,
    replay,
    zeros,
)
from keras_initx.errors import InitxError
from keras_initx.model_init.calibration.measure import Weight, column_sums, root_mean_square
from keras_initx.model_init.calibration.recurrent import (
    Sequences,
    after,
    input_sizes,
    is_known,
    mask_of,
    scale_gates,
    settled_sizes,
)

_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)


class ScalingPass:
    """The pass over one model: `run` scales the weights, which know afterwards what was measured.

    Args:
        graph: The model, traced after its weights were drawn.
        weights: The weights to scale. Each is scaled where it is first used.
        given: Whether the inputs are a user's own, and no noise.
    """

    def __init__(self, graph: Graph, weights: Sequence[Weight], given: bool = False) -> None:
        self._graph, self._given = graph, given
        self._weights = {id(w.variable): w for w in weights}
        self._done: set[int] = set()
        self._factors: dict[int, float] = {}

    def run(self, inputs: Any) -> list[Any]:
        """Scales on `inputs`, and returns the outputs of the scaled model.

        Raises:
            InitxError: A result that is zero, or not finite, named by its weight's path.
        """
        self._done.clear()
        self._factors.clear()
        self._failure: InitxError | None = None
        self._at = "values"
        try:
            return replay(self._graph, inputs, self._step)
        except Exception as error:
            # Keras wraps what is raised inside of a layer's call.
            if self._failure is not None:
                raise self._failure from None
            if self._given and is_about_inputs(error):
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                allowed = f"what the model can be called on (it raised {reason})"
                remedy = "Are the ids within the tables that read them, and the values of the right type?"
                raise InitxError("data", self._at, allowed, remedy) from error
            raise

    def _open(self, variables: Sequence[keras.Variable]) -> list[Weight]:
        """Those of the variables that are still to be scaled."""
        found = [self._weights[id(v)] for v in variables if id(v) in self._weights]
        return [w for w in found if id(w.variable) not in self._done]

    def _step(self, step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._at = f"values that {step.path or step.kind} cannot take"
        flat = keras.tree.flatten((args, kwargs))
        scaled = {p: self._factors[id(v)] for p, v in step.call.tables.items() if id(v) in self._factors}
        if scaled:
            # A constant that was made of a weight before it was scaled.
            flat = [v * ops.cast(scaled[p], v.dtype) if p in scaled else v for p, v in enumerate(flat)]
            args, kwargs = keras.tree.pack_sequence_as((args, kwargs), flat)
        if step.is_layer and not step.call.tables:
            return self._layer(step.call.operation, args, kwargs, lambda a, k: compute(step, a, k))
        own = self._open([v for v in flat if isinstance(v, keras.Variable)])
        made = self._open(list(step.call.tables.values()))
        if not own and not made:
            return compute(step, args, kwargs)
        if step.kind in ("Add", "Concatenate"):
            return self._added(step, args, kwargs, own + made)
        outputs = compute(step, args, kwargs)
        for weight in (own + made)[:1]:
            outputs = outputs * self._scale(weight, outputs, "operation")
        return outputs

    def _added(self, step: Step, args: Any, kwargs: Any, tables: list[Weight]) -> Any:
        """A sum of the signal and a table, which is brought to the signal's scale."""
        flat = keras.tree.flatten((args, kwargs))
        constants = step.call.tables
        is_table = [isinstance(v, keras.Variable) or place in constants for place, v in enumerate(flat)]
        signal = [v for v, t in zip(flat, is_table, strict=True) if not t and ops.is_tensor(v)]
        size = max((root_mean_square(v)[0] for v in signal if "float" in str(v.dtype)), default=1.0)
        for place, value in enumerate(flat):
            variable = constants.get(place, value)
            for weight in [w for w in tables if w.variable is variable]:
                own = root_mean_square(ops.convert_to_tensor(value))[0]
                if weight.target is None or own == 0 or not math.isfinite(size) or size == 0:
                    continue
                weight.tell(own, 0.0, "table")
                weight.result = weight.target * size
                factor = weight.result / own
                self._multiply(weight, factor)
                # A variable has been scaled itself; a constant was made from it before.
                if place in constants:
                    flat[place] = value * ops.cast(factor, value.dtype)
        args, kwargs = keras.tree.pack_sequence_as((args, kwargs), flat)
        return compute(step, args, kwargs)

    def _layer(self, layer: keras.Layer, args: Any, kwargs: Any, call: Any) -> Any:
        weights = self._open(layer.weights)
        if not weights:
            return call(args, kwargs)
        if isinstance(layer, keras.layers.RNN):
            inputs = first_argument(layer, args, kwargs)
            sequences = Sequences.of(layer, inputs, mask_of(layer, args, kwargs))
            self._recurrent(layer, sequences, weights)
            return call(args, kwargs)
        if isinstance(layer, _SEPARABLE):
            weights = self._depthwise(layer, first_argument(layer, args, kwargs), weights)
        direct = [w for w in weights if any(w.variable is v for v in own_weights(layer))]
        if len(direct) == 1 and self._is_activated(layer, args, kwargs, call, direct[0].variable):
            outputs = self._probed(layer, args, kwargs, call, direct[0])
            if id(direct[0].variable) in self._done:
                return outputs
        elif len(weights) > len(direct):
            return self._within(layer, args, kwargs, call, direct)
        return self._by_response(call, args, kwargs, direct)

    def _probed(self, layer: keras.Layer, args: Any, kwargs: Any, call: Any, weight: Weight) -> Any:
        """Scales a kernel by what arrives at the layer's activation, which goes on with the scaled."""
        activation = layer.activation
        if weight.bias is not None:
            inputs = first_argument(layer, args, kwargs)
            weight.bias.assign(column_sums(weight, inputs))
        elif weight.shift and weight.target is not None:
            self._turn(weight, first_argument(layer, args, kwargs))
        if weight.bias is None and _is_biased(layer):
            return self._unbiased(layer, args, kwargs, call, weight)

        def probe(z: Any) -> Any:
            if id(weight.variable) in self._done:
                return activation(z)
            factor = self._scale(weight, z, "pre-activation")
            z = z * ops.cast(factor, z.dtype)
            if weight.bias is not None:
                # From the kernel as it is now: rounding would add up over a deep chain.
                weight.bias.assign(column_sums(weight, inputs) + weight.offset)
                z = z + ops.cast(weight.offset, z.dtype)
            return activation(z)

        with patched_attribute(layer, "activation", probe):
            return call(args, kwargs)

    def _unbiased(self, layer: keras.Layer, args: Any, kwargs: Any, call: Any, weight: Weight) -> Any:
        """The same where the layer has a bias of its own: it is measured without, and computed with it."""
        found: list[Any] = []
        with (
            keras.StatelessScope(zeros([layer.bias])),
            patched_attribute(layer, "activation", _kept(layer.activation, found)),
        ):
            call(args, kwargs)
        if found:
            self._scale(weight, found[0], "pre-activation")
        return call(args, kwargs)

    def _is_activated(
        self, layer: keras.Layer, args: Any, kwargs: Any, call: Any, kernel: keras.Variable
    ) -> bool:
        """Whether the layer has an activation, and what arrives at it is the kernel's result."""
        activation = getattr(layer, "activation", None)
        if not callable(activation) or is_keras_call(layer):
            return callable(activation)
        # A user's own layer may apply it to something else: the result must double with the kernel.
        found: list[Any] = []
        value = ops.cast(ops.convert_to_tensor(kernel), kernel.dtype)
        with patched_attribute(layer, "activation", _kept(activation, found)):
            for factor in (1, 2):
                biases = zeros([layer.bias] if _is_biased(layer) else [])
                with keras.StatelessScope([(kernel, factor * value), *biases]):
                    call(args, kwargs)
        sizes = [root_mean_square(z)[0] for z in found]
        return len(sizes) == 2 and math.isclose(sizes[1], 2 * sizes[0], rel_tol=0.05)

    def _turn(self, weight: Weight, inputs: Any) -> None:
        """Without a bias: the mean direction of the kernel does what the shift would."""
        mean = float(ops.convert_to_numpy(ops.mean(ops.cast(inputs, "float32"))))
        size = root_mean_square(inputs)[0]
        assert weight.shift is not None
        # Of a mean of nearly 0 a multiple would be noise.
        if abs(mean) > 0.1 * size:
            kernel = ops.convert_to_tensor(weight.variable)
            along = ops.mean(kernel, axis=-2, keepdims=True)
            weight.variable.assign(kernel + ops.cast(weight.shift / mean, kernel.dtype) * along)

    def _depthwise(self, layer: keras.Layer, inputs: Any, weights: list[Weight]) -> list[Weight]:
        """Scales the first half of a separable convolution; its result is inside of the layer's call."""
        first = [w for w in weights if w.variable is layer.depthwise_kernel]
        for weight in first:
            options = (layer.strides, layer.padding, layer.data_format, layer.dilation_rate)
            kernel = ops.cast(weight.variable, inputs.dtype)
            strides = options[0][0] if len(set(options[0])) == 1 else options[0]
            result = ops.depthwise_conv(inputs, kernel, strides, *options[1:])
            self._scale(weight, result, "depthwise half")
        return [w for w in weights if w not in first]

    def _within(self, layer: keras.Layer, args: Any, kwargs: Any, call: Any, own: list[Weight]) -> Any:
        """Scales the layers inside of one that the trace could not open, as it calls them."""

        def on_layer(inner: keras.Layer, inner_args: Any, inner_kwargs: Any) -> Any:
            def plain(a: Any, k: Any) -> Any:
                return true_call(inner, *a, **k)

            if inner is layer or not is_concrete((inner_args, inner_kwargs)):
                return plain(inner_args, inner_kwargs)
            return self._layer(inner, inner_args, inner_kwargs, plain)

        with intercepted(on_layer) as true_call:
            outputs = call(args, kwargs)
        return self._by_response(call, args, kwargs, own) if own else outputs

    def _by_response(self, call: Any, args: Any, kwargs: Any, weights: list[Weight]) -> Any:
        """Scales the weights of a layer that nobody can look into by what they do to its result."""
        outputs = call(args, kwargs)
        weights = [w for w in weights if w.target is not None]
        for _ in range(4 if weights else 0):
            size, error = root_mean_square(first_tensor(outputs))
            self._check(weights[0].path, size)
            factor = float(weights[0].target or 1) / size
            for weight in weights:
                weight.tell(size, error, "response of the layer")
                self._multiply(weight, factor ** (1 / len(weights)))
            if abs(factor - 1) < 0.01:
                break
            outputs = call(args, kwargs)
        return outputs

    def _recurrent(self, layer: keras.Layer, inputs: Sequences, weights: list[Weight]) -> None:
        """Scales the input kernel of a recurrent cell gate by gate, the recurrent one left as drawn."""
        cells = getattr(layer.cell, "cells", [layer.cell])
        for number, cell in enumerate(cells):
            if number:
                inputs = after(layer, cells[number - 1], inputs)
            kernel = next((w for w in weights if w.variable is getattr(cell, "kernel", None)), None)
            for weight in self._open(cell.weights):
                if weight is not kernel:
                    self._leave(weight)
            if kernel is None or kernel.target is None:
                continue
            if is_known(cell):
                self._gates(layer, cell, kernel, inputs)
                self._done.add(id(kernel.variable))
            else:
                self._own_cell(kernel, inputs)

    def _own_cell(self, weight: Weight, inputs: Sequences) -> None:
        """Scales the kernel of a user's own cell by its product with the input, if that is what it is for."""
        shape = inputs.values.shape
        if len(shape) == 3 and tuple(weight.variable.shape)[:-1] == (shape[-1],):
            rows, _ = inputs.rows(weight.variable.shape[-1])
            kernel = ops.convert_to_tensor(weight.variable)
            if not len(rows):
                self._check(weight.path, 0.0)
            self._scale(weight, ops.matmul(ops.cast(rows, kernel.dtype), kernel), "input's part")
            return
        # What arrives where in such a cell nobody tells.
        self._leave(weight)

    def _leave(self, weight: Weight) -> None:
        if weight.target is not None:
            weight.target, weight.how = None, "not measured: left as drawn"
        self._done.add(id(weight.variable))

    def _gates(self, layer: keras.Layer, cell: keras.Layer, weight: Weight, inputs: Sequences) -> None:
        target = float(weight.target or 1)
        first = input_sizes(layer, cell, inputs) or [(0.0, 0.0)]
        size = float(np.sqrt(np.mean(np.square([part for part, _ in first]))))
        weight.tell(size, max(error for _, error in first), "gates of the cell")
        for part, _ in first:
            self._check(weight.path, part)
        aims = [target] * len(first)
        scale_gates(weight.variable, [aim / part for aim, (part, _) in zip(aims, first, strict=True)])
        # The state adds its part to the pre-activations: the input's is lowered by as much.
        for _ in range(2):
            settled = settled_sizes(layer, cell, inputs)
            states = [max(whole**2 - part**2, 0.0) for whole, part in settled]
            new = [math.sqrt(max(target**2 - state, target**2 / 4)) for state in states]
            scale_gates(weight.variable, [n / aim for n, aim in zip(new, aims, strict=True)])
            aims = new

    def _scale(self, weight: Weight, result: Any, how: str) -> float:
        """Measures a result, scales the weight to its target, and returns the factor."""
        size, error = root_mean_square(result)
        weight.tell(size, error, how)
        if weight.target is None:
            self._done.add(id(weight.variable))
            return 1.0
        self._check(weight.path, size)
        factor = weight.target / size
        self._multiply(weight, factor)
        return factor

    def _multiply(self, weight: Weight, factor: float) -> None:
        key = id(weight.variable)
        self._factors[key] = factor * self._factors.get(key, 1.0)
        weight.variable.assign(weight.variable * ops.cast(factor, weight.variable.dtype))
        self._done.add(id(weight.variable))

    def _check(self, path: str, size: float) -> None:
        if size == 0 or not math.isfinite(size):
            received = "only zeros" if size == 0 else "values that are not finite"
            remedy = "Pass data= if the model cannot read noise, or skip= to leave the layer out."
            if self._given:
                remedy = "Look at the data: are they in the range that the model takes? Or skip= the layer."
            self._failure = InitxError(path, received, "a result that is finite and not zero", remedy)
            raise self._failure


def _is_biased(layer: keras.Layer) -> bool:
    """Whether a layer has a bias that is not zero."""
    bias = getattr(layer, "bias", None)
    return isinstance(bias, keras.Variable) and bool(np.any(ops.convert_to_numpy(bias)))


def _kept(activation: Any, found: list[Any]) -> Any:
    """The activation, which keeps what arrives at it."""

    def keeping(z: Any) -> Any:
        found.append(z)
        return activation(z)

    return keeping
