"""The measuring pass: a model with the same outputs as another one, which measures its tensors on the way.

Keras computes gradients on every backend only in training. The probe is therefore trained for one step, by an
optimizer that changes nothing. To catch the gradient at a tensor, the tensor passes through an identity with
a custom gradient; a small variable next to it receives the reduced gradient as its own.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_initx._graph import (
    Batch,
    Graph,
    Step,
    compute,
    first_tensor,
    is_about_inputs,
    patched_attribute,
    replay,
)
from keras_initx._tf_logging import without_retracing_advice
from keras_initx.diagnostics.probe import reductions
from keras_initx.diagnostics.probe.attention import AttentionStep, attention_weights
from keras_initx.diagnostics.probe.points import ProbePoint
from keras_initx.diagnostics.probe.recorder import GradientRecorder
from keras_initx.diagnostics.probe.single_entries import single_entries
from keras_initx.errors import InitxError, error_line

# The loss is multiplied by this under float16, where small gradients would round to zero.
_FLOAT16_SCALE = 2.0**10

# TensorFlow takes about as long to trace a pass as to run this many without a trace.
_UNTRACED = 4

# The name of the loss as the part of the pass that runs.
_LOSS = "loss"


class Probe(keras.Model):
    """A model's forward and backward pass, reduced to a few numbers per tensor.

    Args:
        model: The model.
        graph: Its graph, traced on a batch of the same shapes as those to measure.
        points: The weighted steps to measure.
        attention_steps: The steps with attention weights to measure.
        loss: A loss of (y, outputs). None is the model's own loss, or a random projection of the outputs for
            a batch without targets.
        details: Whether to measure histograms, and the extremes of each unit, too.
        keep_gradients: Whether to keep the gradients of the weights.

    Attributes:
        single_entries: The attentions and normalizations over a single entry.
        pre_activations: For each point, a variable with the numbers in `reductions.FORWARD`.
        activation_outputs: For each point, a variable with the numbers in `reductions.OUTPUT`.
        attention: For each attention step, a variable with entropy and spread by head.
        gradient_taps: For each point, the variable whose gradient is the reduced gradient at that point.
        histograms: For each point, a variable with its pre-activation's histogram; empty without details.
        extremes: For each point, a variable with the extremes of each unit; None without details, or if no
            activation follows.
    """

    def __init__(
        self,
        model: keras.Model,
        graph: Graph,
        points: Sequence[ProbePoint],
        attention_steps: Sequence[AttentionStep],
        loss: Any = None,
        details: bool = False,
        keep_gradients: bool = False,
    ) -> None:
        # Always float32, whatever the global policy: the probe itself only measures.
        super().__init__(name="probe", dtype="float32")
        # Each layer of the model casts its own inputs.
        self.autocast = False
        self.model, self.graph, self.loss_argument = model, graph, loss
        self.points, self.attention_steps = tuple(points), tuple(attention_steps)
        self.single_entries = single_entries(graph, attention_steps)
        self._point_numbers = {point.context.step: n for n, point in enumerate(points)}
        self._attention_numbers = {step.number: n for n, step in enumerate(attention_steps)}
        self._first_on_data = next((n for n, point in enumerate(points) if point.depends_on_data), None)
        # The step that returns an activation's output -> the points that read it.
        self._output_points: dict[int, list[int]] = {}
        for n, point in enumerate(points):
            if point.output is not None and (producer := graph.producer(point.output)) is not None:
                self._output_points.setdefault(producer.number, []).append(n)
        self.pre_activations = [self._numbers(len(reductions.FORWARD)) for _ in points]
        self.activation_outputs = [self._numbers(len(reductions.OUTPUT)) for _ in points]
        self.attention = [self._numbers(2, step.shape[1]) for step in attention_steps]
        self.gradient_taps = [
            self.add_weight(
                shape=(len(reductions.GRADIENT),), initializer="zeros", dtype="float32", name="backward"
            )
            for _ in points
        ]
        bins = 2 + reductions.BINS
        self.histograms = [self._numbers(bins) for _ in points] if details else []
        self.extremes = [
            self._numbers(2, self._output_units(point)) if details and point.output is not None else None
            for point in points
        ]
        self._input_rms = self._numbers(1)
        self._output_sizes = [self._numbers(2) for _ in graph.outputs]
        self._details, self._keeps = details, keep_gradients
        self._recorder: GradientRecorder | None = None
        # Without a trace, a loop over time runs step by step.
        has_loops = any(step.is_recurrent for step in graph.steps)
        self._untraced = 0 if has_loops or keras.backend.backend() != "tensorflow" else _UNTRACED
        self._passes, self._measures = 0, True
        self.built = True
        half = keras.backend.standardize_dtype(model.compute_dtype) == "float16"
        self._scale = _FLOAT16_SCALE if half else 1.0

    def _numbers(self, *shape: int) -> keras.Variable:
        """Return a variable for measured numbers."""
        return self.add_weight(
            shape=shape, initializer="zeros", trainable=False, dtype="float32", name="kept"
        )

    def _output_units(self, point: ProbePoint) -> int:
        assert point.output is not None
        producer = self.graph.producer(point.output)
        assert producer is not None
        return int(producer.shapes[0][point.output_unit_axis] or 1)

    def run(
        self, batch: Batch, jit_compile: bool, measures: bool = True
    ) -> tuple[float, dict[int, list[float]]]:
        """Run one pass; return the loss, and the reduced gradient of each trainable variable by its id.

        Args:
            batch: The batch.
            jit_compile: Whether to compile under XLA.
            measures: Whether to measure. A pass without measurements may be cheaper: it updates only the loss
                and the kept gradients, and returns no reduced gradients.

        Raises:
            InitxError: If the model or the loss cannot be computed on the batch.
        """
        if self._recorder is None:
            tap_ids = {id(v) for v in self.gradient_taps}
            taps = {n for n, v in enumerate(self.trainable_variables) if id(v) in tap_ids}
            self._recorder = GradientRecorder(
                self.trainable_variables, taps, self._scale, self._details, self._keeps
            )
        is_eager = not jit_compile and self._passes < self._untraced
        is_traced = self._passes > 0 and not self.run_eagerly
        # To compile the pass once more would take longer than to measure.
        measured, self._measures = self._measures, measures or (is_traced and self._measures)
        self._recorder.measures = self._measures
        if self._passes == 0 or is_eager != self.run_eagerly or (not is_eager and self._measures != measured):
            # `compute_loss` scales the loss itself, by the factor that gradients are divided by.
            options = {"jit_compile": jit_compile, "run_eagerly": is_eager, "auto_scale_loss": False}
            self.compile(optimizer=self._recorder, loss=self.loss_argument, **options)
        self._passes += 1
        if keras.backend.backend() == "jax":
            # A step takes over the buffers of its variables, which an outer training loop may still hold.
            for variable in self.model.variables:
                variable.assign(ops.copy(variable))
        with warnings.catch_warnings(), without_retracing_advice():
            # A weight that the trace saw as a constant, such as a class token, has no gradient.
            warnings.filterwarnings("ignore", "Gradients do not exist", UserWarning)
            try:
                loss = float(self.train_on_batch(*batch, return_dict=True)["loss"]) / self._scale
            except Exception as error:
                raise self._explained(error, batch.y) from error
        if not measures:
            return loss, {}
        gradients = {
            id(v): [float(n) for n in ops.convert_to_numpy(numbers)]
            for v, numbers in zip(self.trainable_variables, self._recorder.reduced, strict=True)
        }
        return loss, gradients

    @property
    def kept_variables(self) -> list[keras.Variable]:
        """Return the trainable weights whose gradients are kept, after a pass."""
        numbers = () if self._recorder is None else self._recorder.kept
        return [self.trainable_variables[number] for number in numbers]

    @property
    def kept_gradients(self) -> list[keras.Variable]:
        """Return the gradients of the last pass, in the order of `kept_variables`."""
        return [] if self._recorder is None else list(self._recorder.kept.values())

    def measured_input_rms(self) -> float:
        """Return the root mean square of the inputs of the first weighted step that depends on the data.

        It is 0 if these inputs are not floats, or select rows of a table.
        """
        return float(ops.convert_to_numpy(self._input_rms)[0])

    def measured_outputs(self) -> list[tuple[float, float]]:
        """Return the root mean square and the standard deviation of each output of the model."""
        numbers = map(ops.convert_to_numpy, self._output_sizes)
        return [(float(rms), float(std)) for rms, std in numbers]

    def is_first(self, point: ProbePoint) -> bool:
        """Return whether a point is the first one that depends on the data."""
        return self._first_on_data is not None and point is self.points[self._first_on_data]

    def _explained(self, error: Exception, y: Any) -> Exception:
        """Return the exception to raise: one that names the argument, if its values may be the cause."""
        if not is_about_inputs(error):
            return error
        reason = error_line(error)
        if "No loss to compute" in reason:
            problem = "`y` is given, but there is no loss: the model was compiled without one"
            remedy = "Pass loss=, or leave y out."
            return InitxError("loss", None, "a loss if y is given", remedy, problem)
        if self._current == _LOSS:
            shapes, outputs = (
                keras.tree.map_structure(lambda v: tuple(v.shape), part) for part in (y, self.graph.results)
            )
            remedy = "Categorical losses take one-hot rows, sparse losses class numbers."
            if shapes == outputs:
                remedy = "Take categorical_crossentropy for rows of probabilities or one-hot rows."
            if keras.tree.is_nested(self.graph.results):
                remedy = f"The outputs are {outputs}: `y` needs the same structure and names."
            problem = f"`y` of shape {shapes} does not fit the loss ({reason})"
            return InitxError("y", f"targets of shape {shapes}", "targets that fit the loss", remedy, problem)
        argument, names = ("x", "`x`") if y is None or self._current else ("x, y", "`x` or `y`")
        values = f"values that {self._current or 'the model'} cannot take"
        allowed = "values that the model and its loss can be computed on"
        return InitxError(argument, values, allowed, "", f"{names} has {values} ({reason})")

    def call(self, inputs: Any) -> Any:
        """Return the model's outputs, in the model's own structure."""
        self._current = ""
        outputs = replay(self.graph, inputs, self._step)
        return keras.tree.pack_sequence_as(self.graph.results, outputs)

    def _step(self, step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute one step and measure it."""
        self._current = step.path or step.kind
        if not self._measures:
            return compute(step, args, kwargs)
        number = self._point_numbers.get(step.number)
        point = None if number is None else self.points[number]
        if number is not None and number == self._first_on_data:
            # Row numbers of a table have no scale, and a subclassed model takes them as floats.
            self._input_rms.assign(ops.zeros((1,)) if step.is_lookup else _rms(args, kwargs))
        if point is not None and point.applies_activation:
            outputs = self._compute_tapped(step, args, kwargs, number)
        else:
            outputs = compute(step, args, kwargs)
            if point is not None:
                outputs = self._replace_first(outputs, lambda z: self._tapped(number, z))
        for reader in self._output_points.get(step.number, ()):
            read = self.points[reader]
            tensor = first_tensor(outputs)
            if (extremes := self.extremes[reader]) is not None:
                extremes.assign(reductions.extremes(tensor, read.output_unit_axis))
            numbers = reductions.output(tensor, read.output_unit_axis, read.bounds)
            self.activation_outputs[reader].assign(numbers)
        if (attention := self._attention_numbers.get(step.number)) is not None:
            source = self.attention_steps[attention].source
            weights = attention_weights(source, step, args, kwargs, outputs)
            self.attention[attention].assign(reductions.attention(*weights))
        return outputs

    def _compute_tapped(self, step: Step, args: Any, kwargs: Any, number: Any) -> Any:
        """Compute a layer that applies its activation itself, and measure the input of the first call."""
        layer = step.call.operation
        calls: list[bool] = []
        activation = layer.activation

        def tap(z: Any) -> Any:
            if calls:
                return activation(z)
            calls.append(True)
            return activation(self._tapped(number, z))

        with patched_attribute(layer, "activation", tap):
            return compute(step, args, kwargs)

    def _tapped(self, number: Any, z: Any) -> Any:
        """Measure the pre-activation of a point, and return it with a tap on its gradient."""
        numbers = reductions.forward(z, self.points[number].unit_axis)
        self.pre_activations[number].assign(numbers)
        z = reductions.after(z, numbers)
        if self._details:
            self.histograms[number].assign(reductions.histogram(z))
        scale, units = self._scale, self.points[number].unit_axis

        @ops.custom_gradient
        def tap(z: Any, variable: Any) -> Any:
            def backward(*args: Any, upstream: Any = None) -> Any:
                upstream = args[-1] if upstream is None else upstream
                gradient = ops.cast(upstream, "float32")
                # A division by 1 would be a copy.
                numbers = reductions.gradient(gradient if scale == 1 else gradient / scale, units)
                return reductions.after(upstream, numbers), numbers

            return ops.copy(z), backward

        return tap(z, self.gradient_taps[number].value)

    def _compare_with_targets(self, y: Any, outputs: Any) -> None:
        """Measure the activations that return the model's outputs again, given targets of that shape."""
        targets, results = keras.tree.flatten(y), keras.tree.flatten(outputs)
        if len(targets) != len(results):
            return
        for number, target, result in zip(self.graph.outputs, targets, results, strict=True):
            # Keras compares targets of shape (samples,) with outputs of shape (samples, 1), too.
            if (
                ops.is_tensor(target)
                and tuple(target.shape) == (*result.shape,)[:-1]
                and result.shape[-1] == 1
            ):
                target = target[..., None]
            for reader, point in enumerate(self.points):
                if point.output == number and ops.is_tensor(target) and target.shape == result.shape:
                    units, bounds = point.output_unit_axis, point.bounds
                    self.activation_outputs[reader].assign(reductions.output(result, units, bounds, target))

    @staticmethod
    def _replace_first(outputs: Any, change: Callable[[Any], Any]) -> Any:
        """Return the outputs with their first tensor changed."""
        flat = keras.tree.flatten(outputs)
        first = next(n for n, t in enumerate(flat) if ops.is_tensor(t))
        flat[first] = change(flat[first])
        return keras.tree.pack_sequence_as(outputs, flat)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the loss argument's value or the model's own loss; without y a random projection."""
        self._current = _LOSS
        if self._measures:
            for sizes, output in zip(self._output_sizes, keras.tree.flatten(y_pred), strict=True):
                values = ops.cast(output, "float32")
                sizes.assign(ops.stack([ops.sqrt(ops.mean(ops.square(values))), ops.std(values)]))
        if y is None:
            loss = _projection(y_pred)
        else:
            loss = self.loss_of(Batch(x, y, sample_weight), y_pred, training)
        if y is not None and self._measures:
            self._compare_with_targets(y, y_pred)
        # The trace is complete: a later error comes from the values.
        self._current = ""
        return loss * self._scale

    def loss_of(self, batch: Batch, outputs: Any, training: bool = True) -> Any:
        """Return the loss of some outputs on a batch with targets, not scaled."""
        compute = self.model.compute_loss if self.loss_argument is None else super().compute_loss
        return compute(x=batch.x, y=batch.y, y_pred=outputs, sample_weight=batch.weights, training=training)


def _projection(outputs: Any) -> Any:
    """Return the mean over samples of r . f / sqrt(number of outputs), a loss for any outputs f.

    r is standard normal and different for each sample. With one r for all, a batch normalization would
    subtract the gradient that all samples share.
    """
    loss = 0.0
    for n, tensor in enumerate(keras.tree.flatten(outputs)):
        tensor = ops.cast(tensor, "float32")
        direction = keras.random.normal(tensor.shape, seed=20261127 + n)
        loss = loss + ops.sum(tensor * direction) / tensor.shape[0] / math.sqrt(math.prod(tensor.shape[1:]))
    return loss


def _rms(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the root mean square of the first float tensor in the arguments as a vector; 0 without one."""
    for value in keras.tree.flatten((args, kwargs)):
        if ops.is_tensor(value) and "float" in keras.backend.standardize_dtype(value.dtype):
            return ops.sqrt(ops.mean(ops.square(ops.cast(value, "float32"))))[None]
    return ops.zeros((1,))
