"""The compiled pass: a model that computes what another one does, and keeps what is measured on the way.

Keras has no gradients of its own that would work on every backend but those of training. So the other model
is trained for one step by an optimizer that changes nothing. What flows back through a tensor is caught by an
identity with a gradient of its own: that of a small variable beside it is what the gradient is reduced to.
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
from keras_initx.diagnostics.probe.attention import Heads, attention_weights
from keras_initx.diagnostics.probe.points import ProbePoint
from keras_initx.errors import InitxError

# Gradients of half precision would round to zero.
_SCALE = 2.0**10

# What is being traced, where it is no layer.
_LOSS = "loss"


class Probe(keras.Model):
    """Computes what a model does, one forward and one backward pass, and reduces what it sees.

    Args:
        model: The model.
        graph: The model, traced on a batch of the size that will be given.
        places, heads: What is measured.
        loss: A loss of (y, outputs); None is the model's own, or, without y, a random projection of its
            outputs.
        details: Whether to keep histograms, and the least and largest value of each unit, too.
    """

    def __init__(
        self,
        model: keras.Model,
        graph: Graph,
        places: Sequence[ProbePoint],
        heads: Sequence[Heads],
        loss: Any = None,
        details: bool = False,
    ) -> None:
        # Of its own type, whatever the policy is that holds now: it computes nothing but what it measures.
        super().__init__(name="probe", dtype="float32")
        # Each layer of the model casts its own inputs.
        self.autocast = False
        self.model, self.graph, self._given = model, graph, loss
        self._numbers = {place.site.step: n for n, place in enumerate(places)}
        self._met: dict[int, list[int]] = {}
        self._first_on_data = next((n for n, place in enumerate(places) if place.on_data), None)
        self.places, self.heads = tuple(places), tuple(heads)
        self._head_numbers = {h.step: n for n, h in enumerate(heads)}
        for n, place in enumerate(places):
            if place.met is not None and (producer := graph.producer(place.met)) is not None:
                self._met.setdefault(producer.number, []).append(n)
        # PyTorch's modules have a `forward` of their own.
        self.signal = [self._kept(len(reductions.FORWARD)) for _ in places]
        self.after = [self._kept(len(reductions.AFTER)) for _ in places]
        self.attention = [self._kept(2, head.shape[1]) for head in heads]
        self.upstream = [
            self.add_weight(
                shape=(len(reductions.GRADIENT),), initializer="zeros", dtype="float32", name="backward"
            )
            for _ in places
        ]
        bins = 2 + reductions.BINS
        self.histograms = [self._kept(bins) for _ in places] if details else []
        self.extremes = [
            self._kept(2, self._width(place)) if details and place.met is not None else None
            for place in places
        ]
        # Of what the first of them is given.
        self.received = self._kept(1)
        self._details = details
        self._recorder: _Recorder | None = None
        self.built = True
        half = keras.backend.standardize_dtype(model.compute_dtype) == "float16"
        self._scale = _SCALE if half else 1.0

    def _kept(self, *shape: int) -> keras.Variable:
        return self.add_weight(
            shape=shape, initializer="zeros", trainable=False, dtype="float32", name="kept"
        )

    def _width(self, place: ProbePoint) -> int:
        assert place.met is not None
        producer = self.graph.producer(place.met)
        assert producer is not None
        return int(producer.shapes[0][place.met_units] or 1)

    def run(self, batch: Batch, jit_compile: bool) -> tuple[float, dict[int, list[float]]]:
        """One pass; returns the loss, and by id what the gradient of each weight is reduced to."""
        if self._recorder is None:
            own = {id(v) for v in self.upstream}
            reduced = {n for n, v in enumerate(self.trainable_variables) if id(v) in own}
            self._recorder = _Recorder(self.trainable_variables, reduced, self._scale, self._details)
            # The loss is scaled here, by what the gradients are divided by before they are reduced.
            options = {"jit_compile": jit_compile, "auto_scale_loss": False}
            self.compile(optimizer=self._recorder, loss=self._given, **options)
        if keras.backend.backend() == "jax":
            # A step takes its variables' buffers, which a training around this one may still hold.
            for variable in self.model.variables:
                variable.assign(ops.copy(variable))
        with warnings.catch_warnings(), without_retracing_advice():
            # What the trace saw as a constant, such as a class token, has none here.
            warnings.filterwarnings("ignore", "Gradients do not exist", UserWarning)
            try:
                loss = float(self.train_on_batch(*batch, return_dict=True)["loss"]) / self._scale
            except Exception as error:
                raise self._named(error, batch.y) from error
        found = {
            id(v): [float(n) for n in ops.convert_to_numpy(kept)]
            for v, kept in zip(self.trainable_variables, self._recorder.kept, strict=True)
        }
        return loss, found

    def _named(self, error: Exception, y: Any) -> Exception:
        """What to raise for an error: one that names the argument, where the values may be to blame."""
        if not is_about_inputs(error):
            return error
        reason = f"{type(error).__name__}: {_said(error)}"
        if "No loss to compute" in reason:
            allowed = "a loss, since y is given and the model was compiled without one"
            return InitxError("loss", None, allowed, "Pass loss=, or leave y out.")
        if self._at == _LOSS:
            shapes, outputs = (
                keras.tree.map_structure(lambda v: tuple(v.shape), part) for part in (y, self.graph.results)
            )
            allowed = f"targets that the loss takes (it raised {reason})"
            remedy = "One-hot rows belong to categorical losses, class numbers to sparse ones."
            if keras.tree.is_nested(self.graph.results):
                remedy = f"The outputs are {outputs}: y has to have their structure and their names."
            return InitxError("y", f"targets of shape {shapes}", allowed, remedy)
        allowed = f"what the model, and its loss, can be computed on (it raised {reason})"
        argument = "x" if y is None or self._at else "x, y"
        return InitxError(argument, f"values that {self._at or 'the model'} cannot take", allowed)

    def call(self, inputs: Any) -> Any:
        """The model's outputs, in its own structure."""
        self._at = ""
        outputs = replay(self.graph, inputs, self._step)
        return keras.tree.pack_sequence_as(self.graph.results, outputs)

    def _step(self, step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._at = step.path or step.kind
        number = self._numbers.get(step.number)
        place = None if number is None else self.places[number]
        if number is not None and number == self._first_on_data:
            self.received.assign(_size(args, kwargs))
        if place is not None and place.own:
            outputs = self._activated(step, args, kwargs, number)
        else:
            outputs = compute(step, args, kwargs)
            if place is not None:
                outputs = self._first(outputs, lambda z: self._tapped(number, z))
        for met in self._met.get(step.number, ()):
            other = self.places[met]
            if (extremes := self.extremes[met]) is not None:
                extremes.assign(reductions.extremes(first_tensor(outputs), other.met_units))
            self.after[met].assign(reductions.after(first_tensor(outputs), other.met_units, other.bounds))
        if (head := self._head_numbers.get(step.number)) is not None:
            weights = attention_weights(self.heads[head].how, step, args, kwargs, outputs)
            self.attention[head].assign(reductions.attention(*weights))
        return outputs

    def _activated(self, step: Step, args: Any, kwargs: Any, number: Any) -> Any:
        """The result of a layer, measured at its activation: in its first call of that."""
        layer = step.call.operation
        seen: list[bool] = []
        activation = layer.activation

        def tap(z: Any) -> Any:
            if seen:
                return activation(z)
            seen.append(True)
            return activation(self._tapped(number, z))

        with patched_attribute(layer, "activation", tap):
            return compute(step, args, kwargs)

    def _tapped(self, number: Any, z: Any) -> Any:
        self.signal[number].assign(reductions.forward(z, self.places[number].units))
        if self._details:
            self.histograms[number].assign(reductions.histogram(z))
        scale, units = self._scale, self.places[number].units

        @ops.custom_gradient
        def tap(z: Any, kept: Any) -> Any:
            def backward(*given: Any, upstream: Any = None) -> Any:
                upstream = given[-1] if upstream is None else upstream
                return upstream, reductions.gradient(ops.cast(upstream, "float32") / scale, units)

            return ops.copy(z), backward

        return tap(z, self.upstream[number].value)

    @staticmethod
    def _first(outputs: Any, change: Callable[[Any], Any]) -> Any:
        flat = keras.tree.flatten(outputs)
        place = next(n for n, t in enumerate(flat) if ops.is_tensor(t))
        flat[place] = change(flat[place])
        return keras.tree.pack_sequence_as(outputs, flat)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The loss that was given, or the model's own; without y a random projection of the outputs."""
        self._at = _LOSS
        if y is None:
            loss = _projection(y_pred)
        elif self._given is not None:
            loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        else:
            loss = self.model.compute_loss(
                x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training
            )
        # From here on it is the values that are computed with.
        self._at = ""
        return loss * self._scale


class _Recorder(keras.optimizers.Optimizer):
    """An optimizer that keeps what each gradient is reduced to, and changes nothing."""

    def __init__(
        self, variables: Sequence[keras.Variable], reduced: set[int], scale: float, details: bool
    ) -> None:
        super().__init__(learning_rate=1.0, name="recorder")
        self._reduced, self._scale, self._details = reduced, scale, details
        self.build(variables)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes a small place for each variable."""
        super().build(variables)
        least, most = len(reductions.GRADIENT), len(reductions.GRADIENT) + 2 + reductions.BINS
        shapes = [
            (most if self._details and n not in self._reduced else least,) for n in range(len(variables))
        ]
        self.kept = [self.add_variable(s, initializer="zeros", dtype="float32", name="kept") for s in shapes]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Keeps a gradient that is reduced already, or reduces it."""
        # On some backends it is handed the backend's own variable.
        number = self._get_variable_index(variable)
        if number not in self._reduced:
            # That of a look-up table comes in pieces, which a sum puts together.
            whole = ops.add(ops.zeros(variable.shape, dtype=gradient.dtype), gradient)
            whole = ops.cast(whole, "float32") / self._scale
            gradient = reductions.gradient(whole)
            if self._details:
                gradient = ops.concatenate([gradient, reductions.histogram(whole)])
        self.assign(self.kept[number], gradient)


def _projection(outputs: Any) -> Any:
    """Mean over samples of r . f / sqrt(number of outputs): a loss for any outputs.

    r is standard normal, another one for each sample: what all samples have in common a batch normalization
    takes off, of the outputs as of their gradients.
    """
    loss = 0.0
    for n, tensor in enumerate(keras.tree.flatten(outputs)):
        tensor = ops.cast(tensor, "float32")
        direction = keras.random.normal(tensor.shape, seed=20261127 + n)
        loss = loss + ops.sum(tensor * direction) / tensor.shape[0] / math.sqrt(math.prod(tensor.shape[1:]))
    return loss


def _size(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The root mean square of the first tensor of floats among the arguments, in a vector; 0 without any."""
    for value in keras.tree.flatten((args, kwargs)):
        if ops.is_tensor(value) and "float" in keras.backend.standardize_dtype(value.dtype):
            return ops.sqrt(ops.mean(ops.square(ops.cast(value, "float32"))))[None]
    return ops.zeros((1,))


def _said(error: Exception) -> str:
    """The line of an error that says what is wrong: a backend puts a traceback before it."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and "[[" not in line and not line.startswith("File ")]
    told = lines[-1:] if type(error).__name__ == "InvalidArgumentError" else lines[:1]
    return told[0][:300] if told else ""
