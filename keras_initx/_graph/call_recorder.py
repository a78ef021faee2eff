"""Intercept and record the calls of one symbolic pass: which layer or operation was called, on what."""

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_initx._graph.classify import CONTRACTIONS
from keras_initx._graph.masks import (
    REMOVED,
    carried_mask,
    implied_masks,
    is_mask_helper,
    propagate_through_layer,
    propagate_through_operation,
)
from keras_initx._graph.operands import WeightSources, operators_for_tensors
from keras_initx._graph.records import Call
from keras_initx._graph.side_effects import held_back
from keras_initx.errors import error_line

# The hooks affect the whole process while they are set, so only one thread may set them.
_LOCK = threading.RLock()


class CallRecorder:
    """Recorder of one symbolic call of `model`: it numbers the tensors and collects a record per step.

    Attributes:
        model: The model.
        records: The fields of each `Step`, in the order of the computation.
        opened: `Graph.opened`.
    """

    def __init__(self, model: keras.Model) -> None:
        self.records: list[dict[str, Any]] = []
        self._numbers: dict[int, int] = {}
        # References to the numbered tensors, so that none of their addresses is used again.
        self._tensors: list[Any] = []
        self._calls: list[tuple[int, keras.Layer]] = []
        self._count = 0
        self.opened: dict[int, tuple[int, ...]] = {}
        # The tensors that carried a mask at some time.
        self._masked: set[int] = set()
        self.model = model
        # Whether a layer infers the shapes of its outputs, during which nothing is recorded.
        self._inferring = False
        self._sources = WeightSources(model)

    def numbers(self, tensors: Any) -> tuple[int, ...]:
        """Return the numbers of all symbolic tensors in a structure."""
        return tuple(self.number(t) for t in keras.tree.flatten(tensors) if is_symbolic(t))

    def masks(self, tensors: Any) -> tuple[int | None, ...]:
        """Return the number of the mask that each symbolic tensor in a structure carries now.

        The number is None if the tensor never carried a mask, and `REMOVED` if it did so before.
        """
        return tuple(self._mask(t) for t in keras.tree.flatten(tensors) if is_symbolic(t))

    def _mask(self, tensor: Any) -> int | None:
        mask = carried_mask(tensor)
        if is_symbolic(mask):
            self._masked.add(self.number(tensor))
            return self.number(mask)
        return REMOVED if mask is None and self.number(tensor) in self._masked else None

    def number(self, tensor: Any) -> int:
        """Return the number of a symbolic tensor; the first request assigns it."""
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = len(self._numbers)
            self._tensors.append(tensor)
        return self._numbers[id(tensor)]

    def on_layer(self, layer: keras.Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Replace `Layer.__call__`: enter a composite layer, record any other."""
        if self._inferring or is_mask_helper(layer):
            # While shapes are inferred, the backend traces the inside of a layer itself.
            return NotImplemented
        kwargs = _accepted_arguments(layer.call, kwargs)
        reason = ""
        self._count += 1
        number = self._count
        self._calls.append((number, layer))
        first, masks = first_argument(layer, args, kwargs), self.masks((args, kwargs))
        previous = mask_argument(layer, args, kwargs)
        if previous is None:
            # Some layers remove the mask of their input in their call, so read it before.
            previous = keras.tree.map_structure(carried_mask, first)
        try:
            if _is_composite(layer):
                before = len(self.records)
                try:
                    outputs = _entered(layer, args, {**kwargs, **implied_masks(layer, args, kwargs)})
                    self._check_weights(layer, before)
                    self._propagate_masks(layer, first, previous, outputs)
                    self.opened[number] = self.numbers(outputs)
                    return outputs
                except Exception as error:
                    # For example, the backend's own functions have no symbolic form: record the whole layer.
                    del self.records[before:]
                    # Keras's messages are long; their first sentence suffices.
                    reason = error_line(error).split(". ")[0]
            self._inferring = True
            try:
                outputs = _output_spec(layer, args, kwargs)
            finally:
                self._inferring = False
            call = self._call(layer, args, kwargs, outputs, is_layer=True)
            self._record(call, True, [v.path for v in layer.variables], reason, masks)
            before = len(self.records)
            try:
                self._propagate_masks(layer, first, previous, outputs)
            except Exception:
                # The backend's own functions compute this mask: the layer propagates it when it is replayed.
                del self.records[before:]
            return outputs
        finally:
            self._calls.pop()

    def _check_weights(self, layer: keras.Layer, before: int) -> None:
        """Raise an error if an entered layer multiplies with a matrix that it computes from its own weights.

        An example is the product of a kernel and a mask. The steps then show a constant and not the weight;
        only the layer as a whole shows what the weight does.
        """
        calls = [record["call"] for record in self.records[before:]]
        if not any(_has_computed_matrix(call) for call in calls):
            return
        inner = {id(v) for part in layer._flatten_layers(include_self=False) for v in part.variables}
        seen = inner | {id(v) for call in calls for v in (*call.variables, *_layer_variables(call))}
        hidden = [v.name for v in layer.trainable_variables if len(v.shape) > 1 and id(v) not in seen]
        if hidden:
            raise ValueError(f"its steps multiply with a matrix that it computes from {', '.join(hidden)}")

    def _propagate_masks(self, layer: keras.Layer, inputs: Any, previous: Any, outputs: Any) -> None:
        """Give the outputs of a layer their masks, and mark the steps that compute those."""
        before = len(self.records)
        propagate_through_layer(layer, inputs, previous, outputs)
        for record in self.records[before:]:
            record["of_mask"] = True

    def finished(self, outputs: Any) -> list[dict[str, Any]]:
        """Return the records that lead to the outputs or to weights.

        Others compute masks that nothing reads, or losses and metrics, which training may use but the model's
        result does not.
        """
        read = {*self.numbers(outputs), *self.masks(outputs)}
        records = []
        for record in reversed(self.records):
            is_weighted = not record["of_mask"] and _is_weighted(record["call"], record["is_layer"])
            if is_weighted or read.intersection(record["outputs"]):
                records.append(record)
                read.update(record["inputs"], record["masks"])
        return records[::-1]

    def on_operation(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Replace `Operation.symbolic_call`: return the same result without adding a node."""
        try:
            outputs = operation.compute_output_spec(*args, **kwargs)
        except Exception:
            # Keras infers no shapes for some valid arguments, such as capital letters in einsum.
            self._inferring = True
            try:
                outputs = keras.Operation.compute_output_spec(operation, *args, **kwargs)
            except Exception:
                outputs = None
            finally:
                self._inferring = False
            if outputs is None:
                raise
        propagate_through_operation(operation, args, kwargs, outputs)
        call = self._call(operation, args, kwargs, outputs)
        self._record(call, False, [v.path for v in call.variables], "")
        return outputs

    def _record(
        self,
        call: Call,
        is_layer: bool,
        weight_paths: list[str],
        opaque: str,
        masks: tuple[int | None, ...] = (),
    ) -> None:
        layer = self._calls[-1][1]
        self.records.append(
            {
                "kind": type(call.operation).__name__,
                "path": layer.path or layer.name,
                "is_layer": is_layer,
                "inputs": self.numbers((call.args, call.kwargs)),
                "outputs": self.numbers(call.outputs),
                "shapes": tuple(tuple(t.shape) for t in keras.tree.flatten(call.outputs) if is_symbolic(t)),
                "weight_paths": tuple(weight_paths),
                "opaque": opaque,
                "call": call,
                "calls": tuple(self._calls),
                "masks": masks,
                "of_mask": False,
            }
        )

    def _call(
        self,
        operation: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: Any,
        is_layer: bool = False,
    ) -> Call:
        flat = keras.tree.flatten((args, kwargs))
        sources = {
            n: source for n, value in enumerate(flat) if (source := self._sources.source(value)) is not None
        }
        if sources and _holds_copies(self._calls[-2:-1] if is_layer else self._calls[-1:]):
            return Call(operation, args, kwargs, outputs, {}, tuple(sources.values()))
        if sources:
            # With PyTorch they may be views of the variable, which would change with it.
            flat = [keras.ops.copy(value) if n in sources else value for n, value in enumerate(flat)]
            args, kwargs = keras.tree.pack_sequence_as((args, kwargs), flat)
        return Call(operation, args, kwargs, outputs, sources)


def _holds_copies(calls: list[tuple[int, keras.Layer]]) -> bool:
    """Return whether the constants of a step date from when a functional model was built, not from its call.

    They then keep the values that the weights had. With PyTorch they are views that change with the weights.
    """
    owner = calls[-1][1] if calls else None
    is_built = isinstance(owner, keras.Model) and is_keras_call(owner)
    return is_built and keras.backend.backend() != "torch"


def _is_weighted(call: Call, is_layer: bool) -> bool:
    """Return whether a call uses weights that training or a method may change."""
    variables = _layer_variables(call) if is_layer else call.variables
    return any(v.trainable or len(v.shape) > 1 for v in variables)


def _has_computed_matrix(call: Call) -> bool:
    """Return whether an operation multiplies its signal with a matrix of values that come from no weight."""
    return type(call.operation).__name__ in CONTRACTIONS and any(
        keras.ops.is_tensor(value)
        and not isinstance(value, keras.KerasTensor | keras.Variable)
        and len(value.shape) > 1
        for position, value in enumerate(call.arguments)
        if position not in call.sources
    )


def _layer_variables(call: Call) -> list[keras.Variable]:
    """Return the variables of the layer that is called; none for an operation."""
    return list(call.operation.variables) if isinstance(call.operation, keras.Layer) else []


@contextlib.contextmanager
def intercepted(on_layer: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Replace every layer call of this thread by `on_layer(layer, args, kwargs)`; yield the original call.

    A call for which it returns NotImplemented is made as usual. The hook is removed even if an error occurs.
    """
    thread = threading.get_ident()
    with _LOCK:
        call = keras.Layer.__call__

        def hooked(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != thread:
                return call(layer, *args, **kwargs)
            outputs = on_layer(layer, args, kwargs)
            return call(layer, *args, **kwargs) if outputs is NotImplemented else outputs

        try:
            keras.Layer.__call__ = hooked
            yield call
        finally:
            keras.Layer.__call__ = call


@contextlib.contextmanager
def observed(recorder: CallRecorder) -> Iterator[None]:
    """Pass all calls of this thread to `recorder`. The hooks are removed even if an error occurs."""
    thread = threading.get_ident()
    with intercepted(recorder.on_layer), operators_for_tensors(), held_back(recorder.model):
        symbolic_call, initialize = keras.Operation.symbolic_call, keras.Operation.__init__

        def hooked(operation: Any, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != thread:
                return symbolic_call(operation, *args, **kwargs)
            return recorder.on_operation(operation, args, kwargs)

        def initialized(operation: Any, name: str | None = None) -> None:
            # An automatic name would advance the counter of the process, and so rename the user's next layer.
            is_traced = threading.get_ident() == thread and not isinstance(operation, keras.Layer)
            initialize(operation, type(operation).__name__ if name is None and is_traced else name)

        try:
            keras.Operation.symbolic_call, keras.Operation.__init__ = hooked, initialized
            yield
        finally:
            keras.Operation.symbolic_call, keras.Operation.__init__ = symbolic_call, initialize


def is_symbolic(value: Any) -> bool:
    """Return whether a value is a tensor without values."""
    return isinstance(value, keras.KerasTensor)


def _is_composite(layer: keras.Layer) -> bool:
    """Return whether to enter the `call` of a layer: it contains other layers, or a user wrote it."""
    # The loop of a recurrent layer has no symbolic form; its cell is one step.
    if isinstance(layer, keras.layers.RNN):
        return False
    if isinstance(layer, keras.layers.Lambda):
        return True
    has_layers = bool(list(layer._flatten_layers(include_self=False, recursive=False)))
    return has_layers or not is_keras_call(layer)


def is_keras_call(layer: keras.Layer) -> bool:
    """Return whether the `call` of a layer is Keras's own, as in a subclass that does not override it."""
    definition = next(cls for cls in type(layer).__mro__ if "call" in vars(cls))
    return definition.__module__.startswith("keras.")


def _entered(layer: keras.Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the result of a composite layer, computed by its parts."""
    if not isinstance(layer, keras.layers.TimeDistributed) or not is_keras_call(layer):
        return layer.call(*args, **kwargs)
    # The loop of TimeDistributed would add steps for every time, and only the first time would be measured.
    # Times become samples instead.
    inputs, mask = first_argument(layer, args, kwargs), mask_argument(layer, args, kwargs)
    arguments = {name: value for name, value in kwargs.items() if name == "training"}
    if mask is not None:
        arguments["mask"] = keras.ops.reshape(mask, (-1, *mask.shape[2:]))
    folded = keras.ops.reshape(inputs, (-1, *inputs.shape[2:]))
    outputs = layer.layer(folded, **_accepted_arguments(layer.layer.call, arguments))

    def unfold(tensor: Any) -> Any:
        return keras.ops.reshape(tensor, (-1, inputs.shape[1], *tensor.shape[1:]))

    return keras.tree.map_structure(unfold, outputs)


def first_argument(layer: keras.Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the first argument of a layer's call, passed by position or by name."""
    if args:
        return args[0]
    # If the first parameter has a default, the call may pass another one only.
    first = next(iter(inspect.signature(layer.call).parameters))
    return kwargs.get(first, next(iter(kwargs.values()), None))


def mask_argument(layer: keras.Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the explicit mask of a layer's call, passed by name or by position; None without one."""
    if (mask := kwargs.get("mask")) is not None:
        return mask
    names = list(inspect.signature(layer.call).parameters)
    position = names.index("mask") if "mask" in names else len(args)
    return args[position] if position < len(args) else None


def _accepted_arguments(call: Callable[..., Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return `kwargs` without the names that `call` does not accept, as `Layer.__call__` drops them."""
    parameters = inspect.signature(call).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return kwargs
    names = {p.name for p in parameters}
    return {name: value for name, value in kwargs.items() if name in names}


def _output_spec(layer: keras.Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the symbolic result of a layer from its shape inference, or from a trace if that knows more."""
    outputs = layer.compute_output_spec(*args, **kwargs)
    if _has_unknown(outputs) and not _has_unknown((args, kwargs)):
        with contextlib.suppress(Exception):
            return keras.Operation.compute_output_spec(layer, *args, **kwargs)
    return outputs


def _has_unknown(tensors: Any) -> bool:
    return any(None in t.shape for t in keras.tree.flatten(tensors) if is_symbolic(t))
