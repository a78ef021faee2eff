"""Watches the calls of one symbolic pass: which layer or operation was called, on what."""

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_initx._graph.masks import TAKEN_OFF, arriving, carried_mask, hand_on, is_about_masks, keep
from keras_initx._graph.records import Call

# The hooks are process-wide while they last.
_LOCK = threading.RLock()
_LEFT_OF_TENSOR = {
    "__add__": "add",
    "__sub__": "subtract",
    "__mul__": "multiply",
    "__truediv__": "divide",
    "__matmul__": "matmul",
    "__pow__": "power",
}


class Observer:
    """Numbers the tensors of one call of `model` and writes down its steps, as `records`."""

    def __init__(self, model: keras.Model) -> None:
        self.records: list[dict[str, Any]] = []
        self._numbers: dict[int, int] = {}
        # Kept, so that no tensor is given the address of another.
        self._tensors: list[Any] = []
        self._calls: list[tuple[int, keras.Layer]] = []
        self._count = 0
        self.opened: dict[int, tuple[int, ...]] = {}
        self._masked: set[int] = set()
        self._model = model
        self._inferring = False
        self._tables: list[tuple[keras.Variable, np.ndarray]] | None = None

    def numbers(self, tensors: Any) -> tuple[int, ...]:
        """The numbers of all symbolic tensors in a structure."""
        return tuple(self.number(t) for t in keras.tree.flatten(tensors) if is_symbolic(t))

    def masks(self, tensors: Any) -> tuple[int | None, ...]:
        """For each symbolic tensor in a structure the number of the mask that it carries now.

        None where it carries none, `TAKEN_OFF` where it did before.
        """
        return tuple(self._mask(t) for t in keras.tree.flatten(tensors) if is_symbolic(t))

    def _mask(self, tensor: Any) -> int | None:
        mask = carried_mask(tensor)
        if is_symbolic(mask):
            self._masked.add(self.number(tensor))
            return self.number(mask)
        return TAKEN_OFF if mask is None and self.number(tensor) in self._masked else None

    def number(self, tensor: Any) -> int:
        """The number of a symbolic tensor, a new one where it has none."""
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = len(self._numbers)
            self._tensors.append(tensor)
        return self._numbers[id(tensor)]

    def layer(self, layer: keras.Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """In place of `Layer.__call__`: follows a composite layer, writes down any other."""
        if self._inferring or is_about_masks(layer):
            # The backend traces the inside of a layer for its shapes.
            return NotImplemented
        kwargs = _accepted(layer.call, kwargs)
        reason = ""
        self._count += 1
        number = self._count
        self._calls.append((number, layer))
        first, masks = first_argument(layer, args, kwargs), self.masks((args, kwargs))
        previous = mask_argument(layer, args, kwargs)
        if previous is None:
            # Some layers take it off in their call.
            previous = keras.tree.map_structure(carried_mask, first)
        try:
            if _is_composite(layer):
                before = len(self.records)
                try:
                    outputs = _opened(layer, args, {**kwargs, **arriving(layer, args, kwargs)})
                    self._hand_masks_on(layer, first, previous, outputs)
                    self.opened[number] = self.numbers(outputs)
                    return outputs
                except Exception as error:
                    # Such as a call of the backend's own functions, which have no symbolic form.
                    del self.records[before:]
                    # Keras explains itself at length.
                    reason = f"{type(error).__name__}: {error}".splitlines()[0].split(". ")[0]
            self._inferring = True
            try:
                outputs = _output_spec(layer, args, kwargs)
            finally:
                self._inferring = False
            call = self._call(layer, args, kwargs, outputs)
            self._write(call, True, [v.path for v in layer.variables], reason, masks)
            before = len(self.records)
            try:
                self._hand_masks_on(layer, first, previous, outputs)
            except Exception:
                # Computed by the backend's own functions: the layer itself hands it on where it is called.
                del self.records[before:]
            return outputs
        finally:
            self._calls.pop()

    def _hand_masks_on(self, layer: keras.Layer, inputs: Any, previous: Any, outputs: Any) -> None:
        """Gives what a layer returned its masks; the steps that compute them are marked as such."""
        before = len(self.records)
        hand_on(layer, inputs, previous, outputs)
        for record in self.records[before:]:
            record["of_mask"] = True

    def finished(self, outputs: Any) -> list[dict[str, Any]]:
        """The records, without those of masks that nothing reads."""
        read = set(self.masks(outputs))
        kept = []
        for record in reversed(self.records):
            if not record["of_mask"] or read.intersection(record["outputs"]):
                kept.append(record)
                read.update(record["inputs"], record["masks"])
        return kept[::-1]

    def operation(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """In place of `Operation.symbolic_call`: the same result, without a node."""
        outputs = operation.compute_output_spec(*args, **kwargs)
        keep(operation, args, kwargs, outputs)
        given = [v for v in keras.tree.flatten((args, kwargs)) if isinstance(v, keras.Variable)]
        call = self._call(operation, args, kwargs, outputs)
        self._write(call, False, [v.path for v in (*given, *call.tables.values())], "")
        return outputs

    def _write(
        self,
        call: Call,
        is_layer: bool,
        parameters: list[str],
        opaque: str,
        masks: tuple[int | None, ...] = (),
    ) -> None:
        owner = self._calls[-1][1]
        self.records.append(
            {
                "kind": type(call.operation).__name__,
                "path": owner.path or owner.name,
                "is_layer": is_layer,
                "inputs": self.numbers((call.args, call.kwargs)),
                "outputs": self.numbers(call.outputs),
                "shapes": tuple(tuple(t.shape) for t in keras.tree.flatten(call.outputs) if is_symbolic(t)),
                "parameters": tuple(parameters),
                "opaque": opaque,
                "call": call,
                "calls": tuple(self._calls),
                "masks": masks,
                "of_mask": False,
            }
        )

    def _call(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> Call:
        flat = keras.tree.flatten((args, kwargs))
        tables = {n: table for n, value in enumerate(flat) if (table := self._table(value)) is not None}
        if tables:
            # PyTorch's may be views of the variable, which would change with it.
            flat = [keras.ops.copy(value) if n in tables else value for n, value in enumerate(flat)]
            args, kwargs = keras.tree.pack_sequence_as((args, kwargs), flat)
        return Call(operation, args, kwargs, outputs, tables)

    def _table(self, value: Any) -> keras.Variable | None:
        """The variable that a constant was made from before it got here: sliced, broadcast, reshaped."""
        if is_symbolic(value) or isinstance(value, keras.Variable | np.ndarray):
            return None
        if not keras.ops.is_tensor(value) or not tuple(value.shape) or tuple(value.shape)[-1] == 1:
            return None
        if "float" not in keras.backend.standardize_dtype(value.dtype):
            return None
        rows = _rows(keras.ops.convert_to_numpy(value))
        # Only of rows that differ from zero can be said where they come from.
        if not rows.size or not np.any(rows[0]):
            return None
        for variable, table in self._variables_of(rows.shape[-1]):
            same = np.flatnonzero((table[:, 0] == rows[0, 0]) & np.all(table == rows[0], axis=1))
            if same.size:
                return variable
        for variable, table in self._variables_of(None):
            if table.size == rows.size and np.array_equal(
                np.sort(table, axis=None), np.sort(rows, axis=None)
            ):
                return variable
        return None

    def _variables_of(self, width: int | None) -> list[tuple[keras.Variable, np.ndarray]]:
        """The model's weights as rows: those of one width, or all."""
        if self._tables is None:
            self._tables = [
                # Larger ones are kernels and look-up tables, which are not taken apart.
                (variable, _rows(keras.ops.convert_to_numpy(variable)))
                for variable in self._model.trainable_variables
                if variable.shape and np.prod(variable.shape) <= _LARGEST_TABLE
            ]
        return [(v, rows) for v, rows in self._tables if width in (None, rows.shape[-1])]


# A table of 65,536 positions of 128 features.
_LARGEST_TABLE = 2**23


def _rows(values: np.ndarray) -> np.ndarray:
    return np.reshape(np.asarray(values, dtype="float32"), (-1, np.shape(values)[-1]))


@contextlib.contextmanager
def intercepted(on_layer: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Hands every layer call of this thread to `on_layer(layer, args, kwargs)`; yields the true call.

    What it returns NotImplemented for is called as ever. Whatever is raised, the hook is taken off again.
    """
    thread = threading.get_ident()
    with _LOCK:
        call = keras.Layer.__call__

        def watched(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != thread:
                return call(layer, *args, **kwargs)
            outputs = on_layer(layer, args, kwargs)
            return call(layer, *args, **kwargs) if outputs is NotImplemented else outputs

        try:
            keras.Layer.__call__ = watched
            yield call
        finally:
            keras.Layer.__call__ = call


@contextlib.contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Hands the calls of this thread to `observer`; whatever is raised, the hooks are taken off again."""
    thread = threading.get_ident()
    with intercepted(observer.layer):
        symbolic_call, initialize = keras.Operation.symbolic_call, keras.Operation.__init__
        operators = {name: getattr(keras.Variable, name) for name in _LEFT_OF_TENSOR}

        def watched(operation: Any, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != thread:
                return symbolic_call(operation, *args, **kwargs)
            return observer.operation(operation, args, kwargs)

        def named(operation: Any, name: str | None = None) -> None:
            # Automatic names count up for the whole process: the user's next layer would be called otherwise.
            ours = threading.get_ident() == thread and not isinstance(operation, keras.Layer)
            initialize(operation, type(operation).__name__ if name is None and ours else name)

        try:
            keras.Operation.symbolic_call, keras.Operation.__init__ = watched, named
            for name, original in operators.items():
                setattr(
                    keras.Variable, name, _for_tensors(original, getattr(keras.ops, _LEFT_OF_TENSOR[name]))
                )
            yield
        finally:
            keras.Operation.symbolic_call, keras.Operation.__init__ = symbolic_call, initialize
            for name, original in operators.items():
                setattr(keras.Variable, name, original)


def _for_tensors(original: Callable[..., Any], operation: Callable[..., Any]) -> Callable[..., Any]:
    """A variable's operator that leaves a symbolic tensor to `keras.ops`, which the backend's does not."""

    def operator(variable: keras.Variable, other: Any) -> Any:
        return operation(variable, other) if is_symbolic(other) else original(variable, other)

    return operator


def is_symbolic(value: Any) -> bool:
    """Whether a value is a tensor without values."""
    return isinstance(value, keras.KerasTensor)


def _is_composite(layer: keras.Layer) -> bool:
    """Whether a layer is to be read in its `call`: it has layers of its own, or a user wrote it."""
    # The loop of a recurrent layer has no symbolic form, and its cell is scaled as a whole.
    if isinstance(layer, keras.layers.RNN):
        return False
    if isinstance(layer, keras.layers.Lambda):
        return True
    has_layers = bool(list(layer._flatten_layers(include_self=False, recursive=False)))
    return has_layers or not is_keras_call(layer)


def is_keras_call(layer: keras.Layer) -> bool:
    """Whether Keras wrote the `call` of a layer: a subclass without its own is what it is called."""
    author = next(cls for cls in type(layer).__mro__ if "call" in vars(cls))
    return author.__module__.startswith("keras.")


def _opened(layer: keras.Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of a composite layer, computed by what it is made of."""
    if not isinstance(layer, keras.layers.TimeDistributed) or not is_keras_call(layer):
        return layer.call(*args, **kwargs)
    # Its own loop would be as many steps as there are times, and only the first would be measured.
    inputs, mask = first_argument(layer, args, kwargs), mask_argument(layer, args, kwargs)
    given = {name: value for name, value in kwargs.items() if name == "training"}
    if mask is not None:
        given["mask"] = keras.ops.reshape(mask, (-1, *mask.shape[2:]))
    folded = keras.ops.reshape(inputs, (-1, *inputs.shape[2:]))
    outputs = layer.layer(folded, **_accepted(layer.layer.call, given))

    def unfold(tensor: Any) -> Any:
        return keras.ops.reshape(tensor, (-1, inputs.shape[1], *tensor.shape[1:]))

    return keras.tree.map_structure(unfold, outputs)


def first_argument(layer: keras.Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a layer was called on, by position or by the name of its first parameter."""
    if args:
        return args[0]
    # One whose first parameter has a default may be called by another.
    first = next(iter(inspect.signature(layer.call).parameters))
    return kwargs.get(first, next(iter(kwargs.values()), None))


def mask_argument(layer: keras.Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The mask that a layer's call is given, by name or by position; None where it is not."""
    if (given := kwargs.get("mask")) is not None:
        return given
    names = list(inspect.signature(layer.call).parameters)
    place = names.index("mask") if "mask" in names else len(args)
    return args[place] if place < len(args) else None


def _accepted(call: Callable[..., Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """`kwargs` without those that `call` does not take, which `Layer.__call__` drops itself."""
    parameters = inspect.signature(call).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return kwargs
    names = {p.name for p in parameters}
    return {name: value for name, value in kwargs.items() if name in names}


def _output_spec(layer: keras.Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The symbolic result of a layer, by its own inference where that knows as much as a trace does."""
    outputs = layer.compute_output_spec(*args, **kwargs)
    if _has_unknown(outputs) and not _has_unknown((args, kwargs)):
        with contextlib.suppress(Exception):
            return keras.Operation.compute_output_spec(layer, *args, **kwargs)
    return outputs


def _has_unknown(tensors: Any) -> bool:
    return any(None in t.shape for t in keras.tree.flatten(tensors) if is_symbolic(t))
