"""Where each weighted step of a graph stands: its activation, its roles, the chain it is part of."""

from dataclasses import dataclass

import keras

from keras_initx._graph.classify import SUMS, activation_after
from keras_initx._graph.records import Graph, Step
from keras_initx._graph.roles import attention_roles, declared_roles, is_gate, residual_ends
from keras_initx._theory import LINEAR, Activation

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
# What scales or shifts a signal, or moves its pairs apart.
_CHANGING = frozenset(
    [
        "Mean",
        "Multiply",
        "Divide",
        "TrueDivide",
        "Add",
        "Subtract",
        "Rescaling",
        "Permute",
        "Transpose",
        "Moveaxis",
        "Swapaxes",
    ]
)


@dataclass(frozen=True)
class WeightContext:
    """Where a weighted step stands in the graph.

    Attributes:
        step: Its number in the graph.
        path, kind: The layer's path and class; of an operation with a weight, the path of the layer around
            it and the operation's class.
        activation: The first activation that its result meets, through normalizations, dropout, reshapes
            and sums; linear where it meets none.
        roles: Names from `ROLES`.
        previous: The weighted step before it in a plain chain: with nothing but activations, dropout,
            reshapes and pooling between, and no other reader on the way. None at the start of one.
        arriving: The activation between the two; linear at the start.
        direct: Whether nothing but that activation lies between (and what moves values, like Flatten).
        depth: How many weighted steps the chain has.
        residual_number: Which residual sum of the model its result goes into, from 1; 0 where none.
        residuals: How many residual sums the model has.
        normalized: Whether a normalization is the next that its result meets.
        biased: Whether the layer adds a bias of its own.
        summing: Whether it is a layer that sums over all axes of its kernel but the last, so that its bias,
            or the mean direction of its kernel, can shift its inputs.
        pairable: Whether every output sums over all inputs, so that units can be paired.
        drawn: Whether its weights are drawn, and not frozen, left out or copied: what two weights of a chain
            have in common needs both.
    """

    step: int
    path: str
    kind: str
    activation: Activation = LINEAR
    roles: tuple[str, ...] = ()
    previous: int | None = None
    arriving: Activation = LINEAR
    direct: bool = True
    depth: int = 1
    residual_number: int = 0
    residuals: int = 0
    normalized: bool = False
    biased: bool = False
    summing: bool = False
    pairable: bool = False
    drawn: bool = True

    @property
    def convolves(self) -> bool:
        """Whether it is a convolution of any kind."""
        return "Conv" in self.kind


def weight_contexts(graph: Graph) -> dict[int, WeightContext]:
    """The weighted steps of a graph by their numbers, in order."""
    weighted = [step for step in graph.steps if step.is_weighted]
    declared = declared_roles(graph)
    ends, residuals = _ends(graph, declared)
    attention = attention_roles(graph)
    links = {step.number: link for step in weighted if (link := _next_in_chain(graph, step))}
    before = {link[0]: (number, link[1], link[2]) for number, link in links.items()}
    depths = _depths([step.number for step in weighted], {n: link[0] for n, link in links.items()})
    # Bit n is set if a weighted step depends on step n.
    read = 0
    for step in weighted:
        for tensor in step.inputs:
            read |= graph.ancestors[tensor]
    found = {}
    for step in weighted:
        previous, arriving, direct = before.get(step.number, (None, LINEAR, True))
        names = [
            *(name for name, _ in declared.get(step.number, ())),
            *(["residual_end"] if step.number in ends else []),
            *(["gate"] if is_gate(graph, step) else []),
            *attention.get(step.number, ()),
            *(["embedding"] if step.is_lookup else []),
            *([] if read >> step.number & 1 else ["head"]),
        ]
        found[step.number] = WeightContext(
            step=step.number,
            path=step.path,
            kind=step.kind,
            activation=effective_activation(graph, step),
            roles=tuple(dict.fromkeys(names)),
            previous=previous,
            arriving=arriving,
            direct=direct,
            depth=depths[step.number],
            residual_number=ends.get(step.number, 0),
            residuals=residuals,
            normalized=normalization_after(graph, step) is not None,
            biased=step.bias is not None,
            summing=_is_summing(step),
            pairable=_is_pairable(step),
        )
    return found


def _ends(graph: Graph, roles: dict[int, tuple[tuple[str, int], ...]]) -> tuple[dict[int, int], int]:
    """The ends of residual branches with the numbers of their sums, declared ones among them; how many."""
    seen, residuals = residual_ends(graph)
    # A sum that the graph shows is not to be counted again.
    known = {call for number in seen for name, call in roles.get(number, ()) if name == "residual_end"}
    ends: dict[int, int] = {}
    latest = 0
    # By the layer's call: the branches that end in one layer go into one sum.
    declared: dict[int, int] = {}
    for step in graph.steps:
        own = [call for name, call in roles.get(step.number, ()) if name == "residual_end"]
        calls = [call for call in own if call not in known]
        if step.number in seen:
            latest = max(latest, seen[step.number])
            ends[step.number] = seen[step.number] + len(declared)
        elif calls:
            # Its sum is where nobody can see it.
            declared.setdefault(calls[0], latest + len(declared) + 1)
            ends[step.number] = declared[calls[0]]
    return ends, residuals + len(declared)


def effective_activation(graph: Graph, step: Step) -> Activation:
    """The first activation that the result of a step meets; linear where it meets none."""
    own = step.applied_activation
    return activation_met(graph, step)[0] if own is None else own


def activation_met(graph: Graph, step: Step) -> tuple[Activation, int | None]:
    """The first activation after a step, and the number of the tensor it returns; (linear, None) if none."""
    # By width, so that the nearest wins; a skip connection may lead far.
    tensors, seen = list(step.outputs), set(step.outputs)
    while tensors:
        tensor = tensors.pop(0)
        if after := activation_after(graph, tensor):
            return after
        for consumer in graph.consumers(tensor):
            if consumer.is_pass_through or (consumer.is_merge and consumer.kind in SUMS):
                new = [t for t in consumer.outputs if t not in seen]
                seen.update(new)
                tensors += new
    return LINEAR, None


def _is_summing(step: Step) -> bool:
    return step.is_layer and isinstance(step.operation, (keras.layers.Dense, *_CONVOLUTIONS))


def _is_pairable(step: Step) -> bool:
    layer = step.operation
    # Flatten keeps pairs side by side only where the channels come last.
    last = getattr(layer, "data_format", "channels_last") == "channels_last"
    return _is_summing(step) and getattr(layer, "groups", 1) == 1 and last


def normalization_after(graph: Graph, step: Step) -> Step | None:
    """The normalization that reads the result of a step before anything else changes it."""
    if step.applied_activation is not None or not step.outputs:
        return None
    tensor = step.outputs[0]
    while len(consumers := graph.consumers(tensor)) == 1:
        consumer = consumers[0]
        if consumer.is_normalization:
            return consumer
        if not consumer.is_pass_through or consumer.is_merge:
            return None
        tensor = consumer.outputs[0]
    return None


def _next_in_chain(graph: Graph, step: Step) -> tuple[int, Activation, bool] | None:
    """(the next weighted step of a plain chain, the activation between, whether nothing else is)."""
    if step.is_recurrent or len(step.outputs) != 1 or step.is_lookup:
        return None
    tensor, arriving, direct = step.outputs[0], step.applied_activation, True
    while True:
        if after := activation_after(graph, tensor):
            if arriving is not None:
                # Two activations in a row are none of those that the theory knows.
                return None
            arriving, tensor = after
            continue
        consumers = graph.consumers(tensor)
        if len(consumers) != 1:
            return None
        consumer = consumers[0]
        if consumer.is_weighted:
            recurrent = consumer.is_recurrent
            return (
                None
                if recurrent or len(set(consumer.inputs)) > 1
                else (consumer.number, arriving or LINEAR, direct)
            )
        if consumer.is_merge or consumer.is_normalization or not consumer.is_pass_through:
            return None
        direct = direct and not _changes_statistics(consumer)
        tensor = consumer.outputs[0]


def _changes_statistics(step: Step) -> bool:
    return "Pool" in step.kind or step.kind in _CHANGING


def _depths(numbers: list[int], followers: dict[int, int]) -> dict[int, int]:
    up = dict.fromkeys(numbers, 1)
    for number in numbers:
        if (follower := followers.get(number)) is not None:
            up[follower] = max(up[follower], up[number] + 1)
    down = dict.fromkeys(numbers, 1)
    for number in reversed(numbers):
        if (follower := followers.get(number)) is not None:
            down[number] = down[follower] + 1
    return {number: up[number] + down[number] - 1 for number in numbers}
