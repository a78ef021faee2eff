"""The records of a traced model: its calls, its steps with their classes, and the graph that they form."""

import functools
import operator
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_initx._theory import Activation

# Operations whose result depends on the shape of their argument alone.
SHAPE_ONLY = frozenset({"OnesLike", "ZerosLike", "FullLike", "EmptyLike", "Shape"})


@dataclass(frozen=True)
class Call:
    """A recorded call of a layer or an operation, with everything needed to repeat it on other tensors.

    Attributes:
        operation: The layer or operation.
        args, kwargs: Its arguments; symbolic tensors stand for the real ones of a later pass.
        outputs: The symbolic result.
        sources: The variable that a constant among the arguments was made from, by the constant's position
            in the flat list of arguments.
        copies: The variables that a functional model copied into constants of the call when it was built.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Any
    sources: dict[int, keras.Variable]
    copies: tuple[keras.Variable, ...] = ()

    @property
    def arguments(self) -> list[Any]:
        """The arguments as a flat list."""
        return list(keras.tree.flatten((self.args, self.kwargs)))

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables among the arguments, then the variables whose values became constants."""
        direct = [value for value in self.arguments if isinstance(value, keras.Variable)]
        return direct + list(self.sources.values())


@dataclass(frozen=True)
class Step:
    """A layer or an operation of a model, with everything that later code asks about it.

    The fields from `kernels` on are the class of the step. `classified` fills them once, when `trace` builds
    the graph.

    Attributes:
        number: The position of the step in the order of the computation.
        kind: The name of the class: "Dense", "Add", "Relu".
        path: The layer's path; for a bare operation, the path of the layer whose `call` contains it.
        is_layer: Whether the step is a layer rather than a bare operation.
        inputs, outputs: The numbers of the tensors that the step reads and returns.
        shapes: The shapes of the outputs.
        weight_paths: The paths of the variables that a layer owns or an operation receives, including
            variables that were converted to constants first.
        opaque: Why the trace could not enter a composite layer; "" if it did not have to.
        call: The recorded call.
        calls: The layer calls that contain the step, each with its number: the model's own call first, the
            layer's own call last. For an operation the last one is the layer whose `call` contains it.
        masks: For a layer, the number of the mask that each of `inputs` carries at the call: None if the
            trace saw no mask, `REMOVED` if an earlier layer removed it.
        of_mask: Whether the step only computes a mask for Keras, and is not part of the model's own code.
        kernels: The weights that multiply the signal: matrices, convolution kernels, look-up tables.
        bias: The bias that a layer adds to the product with its kernel.
        activation: The activation that the step is; None for any other step.
        applied_activation: The activation that a weighted layer applies to its own result; None if it is
            linear, or if the layer has gates.
        is_normalization: Whether the step brings its signal to mean 0 or variance 1.
        is_merge: Whether the step joins two or more different signals.
        is_pass_through: Whether an activation after the step acts on the signal before it, up to its scale
            and shape.
        is_lookup: Whether the step looks up rows of a weight.
        of_statistics: Whether the step only computes statistics of a normalization, such as a mean square.
    """

    number: int
    kind: str
    path: str
    is_layer: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    shapes: tuple[tuple[int | None, ...], ...]
    weight_paths: tuple[str, ...]
    opaque: str
    call: Call = field(repr=False, compare=False)
    calls: tuple[tuple[int, keras.Layer], ...] = field(repr=False, compare=False)
    masks: tuple[int | None, ...] = field(repr=False, compare=False)
    of_mask: bool
    kernels: tuple[keras.Variable, ...] = field(default=(), repr=False, compare=False)
    bias: keras.Variable | None = field(default=None, repr=False, compare=False)
    activation: Activation | None = None
    applied_activation: Activation | None = None
    is_normalization: bool = False
    is_merge: bool = False
    is_pass_through: bool = False
    is_lookup: bool = False
    of_statistics: bool = False

    @property
    def operation(self) -> Any:
        """The layer or operation that the step calls."""
        return self.call.operation

    @property
    def layer(self) -> keras.Layer | None:
        """The layer, or for an operation the layer whose `call` contains it."""
        return self.calls[-1][1] if self.calls else None

    @property
    def signals(self) -> tuple[int, ...]:
        """The numbers of the floating-point tensors that the step reads the values of."""
        if self.kind in SHAPE_ONLY:
            return ()
        return tuple(n for n, t in self.tensors if "float" in keras.backend.standardize_dtype(t.dtype))

    @property
    def tensors(self) -> list[tuple[int, keras.KerasTensor]]:
        """The symbolic tensors that the step reads, each with its number."""
        tensors = [t for t in self.call.arguments if isinstance(t, keras.KerasTensor)]
        return list(zip(self.inputs, tensors, strict=True))

    @property
    def is_weighted(self) -> bool:
        """Return whether the step multiplies its signal by weights."""
        return bool(self.kernels)

    @property
    def is_recurrent(self) -> bool:
        """Return whether the step is a recurrent layer."""
        return isinstance(self.operation, keras.layers.RNN)

    @property
    def is_product(self) -> bool:
        """Return whether the step multiplies two signals element by element."""
        return self.kind == "Multiply" and self.is_merge


@dataclass(frozen=True)
class Graph:
    """The steps of a model, with the numbers of the tensors that it takes and returns.

    Attributes:
        steps: The steps, in the order of the computation.
        inputs, outputs: The numbers of the model's own input and output tensors.
        opened: The numbers of the tensors that each call of a composite layer returned, by the number of
            the call in `Step.calls`; inner calls come first.
        symbolic: The inputs of the traced call, for their structure, shapes and dtypes.
        results: The result of the traced call, for its structure.
        masks: The number of the mask that each of `outputs` carries, as in `Step`.
        activations: The cache of `activation_after`, by the number of the tensor.
    """

    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    opened: dict[int, tuple[int, ...]] = field(repr=False, compare=False)
    symbolic: Any = field(repr=False, compare=False)
    results: Any = field(repr=False, compare=False)
    masks: tuple[int | None, ...]
    activations: dict[int, tuple[Activation, int] | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @functools.cached_property
    def _producers(self) -> dict[int, Step]:
        producers: dict[int, Step] = {}
        for step in self.steps:
            for tensor in step.outputs:
                # A layer that returns its input, as a Dropout of rate 0 may, does not produce it.
                if tensor not in step.inputs:
                    producers.setdefault(tensor, step)
        return producers

    @functools.cached_property
    def _consumers(self) -> dict[int, tuple[Step, ...]]:
        consumers: dict[int, list[Step]] = {}
        for step in (s for s in self.steps if not (s.of_mask or s.of_statistics)):
            for tensor in dict.fromkeys(step.inputs):
                consumers.setdefault(tensor, []).append(step)
        return {tensor: tuple(steps) for tensor, steps in consumers.items()}

    @functools.cached_property
    def ancestors(self) -> dict[int, int]:
        """The steps that each tensor depends on, as a set of bits: bit n stands for step n."""
        ancestors: dict[int, int] = dict.fromkeys(self.inputs, 0)
        for step in self.steps:
            bits = 1 << step.number
            for tensor in step.inputs:
                bits |= ancestors.get(tensor, 0)
            for tensor in step.outputs:
                ancestors.setdefault(tensor, bits)
        return ancestors

    @property
    def closed(self) -> tuple[str, ...]:
        """The paths of the layers with weights that the trace could not open."""
        return tuple(dict.fromkeys(step.path for step in self.steps if step.opaque and step.weight_paths))

    def producer(self, tensor: int) -> Step | None:
        """Return the step that computes a tensor; None for an input of the model."""
        return self._producers.get(tensor)

    def consumers(self, tensor: int) -> tuple[Step, ...]:
        """Return the steps that read a tensor, except those that compute masks or statistics."""
        return self._consumers.get(tensor, ())


def union(sets: Iterable[int]) -> int:
    """Return the union of sets that are given as bits."""
    return functools.reduce(operator.or_, sets, 0)
