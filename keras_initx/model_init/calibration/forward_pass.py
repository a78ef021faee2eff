"""The forward pass that scales every weight to its target at the moment its output is computed."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_initx._graph import (
    Graph,
    Step,
    compute,
    first_tensor,
    intercepted,
    is_about_inputs,
    is_concrete,
    own_weights,
    replay,
)
from keras_initx.errors import InitxError, error_line
from keras_initx.model_init.calibration.activation import (
    has_own_activation,
    is_activated,
    scale_at_activation,
    size_without_bias,
)
from keras_initx.model_init.calibration.handlers import (
    LAYER_HANDLERS,
    OPERATION_HANDLERS,
    scale_by_response,
)
from keras_initx.model_init.calibration.measure import root_mean_square
from keras_initx.model_init.calibration.scaler import LayerCall, Scaler
from keras_initx.model_init.calibration.unrolled import computed
from keras_initx.model_init.tasks import WeightTask


class ScalingPass:
    """A forward pass over a model that scales its weights and records the measurements in their tasks.

    Args:
        graph: The model, traced after its weights were drawn.
        tasks: The weights to scale. Each is scaled where it is first used; a look-up table that is also a
            matrix, where it first multiplies a signal.
        on_data: Whether the inputs are the user's data, not noise. Only error messages depend on it.
        held: Whether weights with several uses keep their size, and are only measured.
    """

    def __init__(
        self, graph: Graph, tasks: Sequence[WeightTask], on_data: bool = False, held: bool = False
    ) -> None:
        self._graph, self._on_data = graph, on_data
        self._scaler = Scaler(tasks, on_data, held)
        # How often each shared weight was used so far.
        self._used: Counter[int] = Counter()
        self._place = ""

    def run(self, inputs: Any) -> list[Any]:
        """Scale the weights on `inputs`, and return the outputs of the scaled model.

        Raises:
            InitxError: If an output is not finite, or is all zeros because the inputs are; the error names
                the weight.
        """
        self._scaler.measure_inputs(inputs)
        try:
            return replay(self._graph, inputs, self._step)
        except Exception as error:
            # Keras wraps errors that are raised inside a layer's call.
            if self._scaler.failure is not None:
                raise self._scaler.failure from None
            if self._on_data and is_about_inputs(error):
                raise InitxError(
                    "data",
                    f"values that {self._place!r} cannot take",
                    "inputs that the model can be called on",
                    "Check that ids are below the input_dim of their Embedding, and that types are right.",
                    f"`data` has values that {self._place!r} cannot take ({error_line(error)})",
                ) from error
            if is_about_inputs(error):
                raise InitxError(
                    "data",
                    None,
                    "a batch of data",
                    "Pass data=: one batch in the form that the model takes.",
                    f"{self._place}: noise cannot replace `data` here ({error_line(error)})",
                ) from error
            raise

    def factor(self, variable: keras.Variable) -> float:
        """Return the factor that a weight was scaled by."""
        return self._scaler.factors.get(id(variable), 1.0)

    def _step(self, step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute a step of the graph, and scale its weights on the way."""
        self._place = step.path or step.kind
        outputs = self._scaled(step, *self._rescale_constants(step, args, kwargs))
        for task in self._scaler.shared_tasks(step.kernels):
            number = self._used[id(task.variable)]
            self._used[id(task.variable)] += 1
            if number < len(task.uses) and not step.is_recurrent:
                task.uses[number].rms = self._result_size(step, args, kwargs, outputs)
        return outputs

    def _result_size(self, step: Step, args: Any, kwargs: Any, outputs: Any) -> float:
        """Return the root mean square of the result of a step, without its bias and its activation."""
        layer = step.operation
        if not step.is_layer or step.call.sources or not has_own_activation(layer):
            return root_mean_square(first_tensor(outputs))[0]
        return size_without_bias(LayerCall(layer, args, kwargs, lambda a, k: compute(step, a, k)))

    def _scaled(self, step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute a step of the graph, and scale the weights that are scaled there."""
        if step.is_lookup and any(task.is_tied for task in self._scaler.shared_tasks(step.kernels)):
            return compute(step, args, kwargs)
        if step.is_layer and not step.call.sources:
            call = LayerCall(step.call.operation, args, kwargs, lambda a, k: compute(step, a, k))
            # An embedding that has a projection too uses one of the two in each call.
            return self._layer(call, step.kernels if isinstance(call.layer, keras.layers.Embedding) else ())
        variables = [v for v in keras.tree.flatten((args, kwargs)) if isinstance(v, keras.Variable)]
        tasks = self._scaler.open_tasks([*variables, *step.call.sources.values()])
        if not tasks:
            return compute(step, args, kwargs)
        if step.kind in OPERATION_HANDLERS:
            args, kwargs = OPERATION_HANDLERS[step.kind](self._scaler, step, args, kwargs, tasks)
            return compute(step, args, kwargs)
        outputs = compute(step, args, kwargs)
        return outputs * self._scaler.scale(tasks[0], outputs, "operation")

    def _rescale_constants(self, step: Step, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Scale constants that the trace computed from weights, as those weights were scaled since."""
        factors = {
            position: self._scaler.factors[id(variable)]
            for position, variable in step.call.sources.items()
            if id(variable) in self._scaler.factors
        }
        if not factors:
            return args, kwargs
        flat = [
            value * ops.cast(factors[position], value.dtype) if position in factors else value
            for position, value in enumerate(keras.tree.flatten((args, kwargs)))
        ]
        args, kwargs = keras.tree.pack_sequence_as((args, kwargs), flat)
        return args, kwargs

    def _layer(self, call: LayerCall, weights: Sequence[keras.Variable] = ()) -> Any:
        """Compute a layer, and scale its weights, or some of them, where their output can be measured."""
        tasks = self._scaler.open_tasks(weights or call.layer.weights)
        for classes, handler in LAYER_HANDLERS:
            if tasks and isinstance(call.layer, classes):
                tasks = handler(self._scaler, call, tasks)
        if not tasks:
            return computed(call)
        own = [task for task in tasks if any(task.variable is v for v in own_weights(call.layer))]
        if len(own) == 1 and is_activated(call, own[0].variable):
            outputs = scale_at_activation(self._scaler, call, own[0])
            if self._scaler.is_done(own[0]):
                return outputs
        elif len(tasks) > len(own):
            outputs = self._inside(call)
            return scale_by_response(self._scaler, call, own) if own else outputs
        return scale_by_response(self._scaler, call, own)

    def _inside(self, call: LayerCall) -> Any:
        """Compute a layer that the trace could not open, and scale the layers that it calls."""

        def on_layer(inner: keras.Layer, args: Any, kwargs: Any) -> Any:
            def compute_inner(args: Any, kwargs: Any) -> Any:
                return true_call(inner, *args, **kwargs)

            if inner is call.layer or not is_concrete((args, kwargs)):
                return compute_inner(args, kwargs)
            return self._layer(LayerCall(inner, args, kwargs, compute_inner))

        with intercepted(on_layer) as true_call:
            return call()
