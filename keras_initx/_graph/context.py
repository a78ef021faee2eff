"""Give each weighted step its context: the activation that follows, its roles, its chain."""

from dataclasses import dataclass, field

import keras

from keras_initx._graph.classify import SUMS, activation_after
from keras_initx._graph.records import Graph, Step, union
from keras_initx._graph.roles import (
    addends,
    attention_roles,
    declared_roles,
    is_gate,
    residual_ends,
    routers,
    score_factors,
)
from keras_initx._theory import LINEAR, Activation

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
# Steps that scale or shift a signal, or that reorder its units.
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
    """The position of a weighted step in the graph.

    Attributes:
        step: The number of the step.
        path, kind: The path and class of the layer. For an operation with a weight, the path of the layer
            that contains it and the class of the operation.
        activation: The first activation that the result reaches through normalizations, dropout, reshapes
            and sums; linear if it reaches none.
        roles: Names from `ROLES`.
        previous: The number of the weighted step before it in a plain chain: only activations, dropout,
            reshapes and pooling lie between the two, and nothing else reads the signal on the way. None at
            the start of a chain.
        incoming_activation: The activation between `previous` and this step; linear at the start.
        direct: Whether nothing but that activation lies between the two, apart from steps that only move
            values, such as Flatten.
        depth: The number of weighted steps in the chain.
        residual_number: The number of the residual sum that the result is added to, counted from 1; 0 if it
            is added to none.
        residuals: The number of residual sums in the model.
        normalized: Whether the next step that changes the result is a normalization.
        biased: Whether the layer adds a bias.
        summing: Whether the step is a layer that sums over all axes of its kernel except the last, so that
            its bias, or the mean direction of its kernel, can shift its inputs.
        channels_last: Whether the units are on the last axis of the result.
        pairable: Whether every output sums over all inputs, so that units can be paired.
        score_factor: The factor that gives the scores of an attention, or an output that is a product of two
            signals, variance 1, if the model does not divide them by a number; 1 elsewhere.
        addends: How many weighted results, this one included, one sum adds up, if it adds nothing else and
            is not a residual sum; 1 for a result that is not added.
        depends_on: The weighted steps that the inputs depend on, as a set of bits: bit n stands for step n.
        drawn: Whether the weights are drawn, rather than frozen, excluded or copied. A property that two
            weights of a chain share requires both to be drawn.
    """

    step: int
    path: str
    kind: str
    activation: Activation = LINEAR
    roles: tuple[str, ...] = ()
    previous: int | None = None
    incoming_activation: Activation = LINEAR
    direct: bool = True
    depth: int = 1
    residual_number: int = 0
    residuals: int = 0
    normalized: bool = False
    biased: bool = False
    summing: bool = False
    channels_last: bool = True
    pairable: bool = False
    score_factor: float = 1.0
    addends: int = 1
    depends_on: int = field(default=0, repr=False)
    drawn: bool = True

    @property
    def reads_inputs(self) -> bool:
        """Return whether no weighted step lies between the inputs of the model and the step."""
        return self.depends_on == 0

    @property
    def convolves(self) -> bool:
        """Return whether the step is a convolution of any kind."""
        return "Conv" in self.kind


@dataclass(frozen=True)
class _Link:
    """The connection from one weighted step to the next one in a plain chain.

    Attributes:
        source, target: The numbers of the two steps.
        activation: The activation between them.
        direct: Whether nothing else changes the signal between them.
    """

    source: int
    target: int
    activation: Activation
    direct: bool


def weight_contexts(graph: Graph) -> dict[int, WeightContext]:
    """Return the context of each weighted step by the number of the step, in the order of the graph."""
    weighted = [step for step in graph.steps if step.is_weighted]
    declared = declared_roles(graph)
    visible, sums = residual_ends(graph)
    ends, residuals = _numbered_ends(graph, declared, visible, len(sums))
    added = addends(graph, sums)
    attention, factors, routing = attention_roles(graph), score_factors(graph), routers(graph)
    links = [link for step in weighted if (link := _next_in_chain(graph, step))]
    incoming = {link.target: link for link in links}
    depths = _chain_depths([step.number for step in weighted], {link.source: link.target for link in links})
    # Sets of steps, as bits.
    bits = sum(1 << step.number for step in weighted)
    depends_on = {step.number: _ancestors(graph, step) & bits for step in weighted}
    before_weights = union(depends_on.values())
    contexts = {}
    for step in weighted:
        link = incoming.get(step.number)
        gates = step.number in routing or is_gate(graph, step)
        roles = [
            *(name for name, _ in declared.get(step.number, ())),
            *(["residual_end"] if step.number in ends else []),
            *(["gate"] if gates else []),
            *attention.get(step.number, ()),
            *(["embedding"] if step.is_lookup else []),
            *([] if before_weights >> step.number & 1 or step.number in routing else ["head"]),
        ]
        contexts[step.number] = WeightContext(
            step=step.number,
            path=step.path,
            kind=step.kind,
            activation=effective_activation(graph, step),
            roles=tuple(dict.fromkeys(roles)),
            previous=link.source if link else None,
            incoming_activation=link.activation if link else LINEAR,
            direct=link.direct if link else True,
            depth=depths[step.number],
            residual_number=ends.get(step.number, 0),
            residuals=residuals,
            normalized=normalization_after(graph, step) is not None,
            biased=step.bias is not None,
            summing=_is_summing(step),
            channels_last=_is_channels_last(step),
            pairable=_is_pairable(step),
            score_factor=factors.get(step.number, 1.0),
            addends=added.get(step.number, 1),
            depends_on=depends_on[step.number],
        )
    return contexts


def _ancestors(graph: Graph, step: Step) -> int:
    """Return the steps that the inputs of a step depend on, as a set of bits."""
    return union(graph.ancestors[tensor] for tensor in step.inputs)


def _numbered_ends(
    graph: Graph, roles: dict[int, tuple[tuple[str, int], ...]], visible: dict[int, int], residuals: int
) -> tuple[dict[int, int], int]:
    """Return the number of the residual sum for each branch end, and the number of residual sums.

    Declared branch ends are added to the visible ones: the steps that `roles` gives the role residual_end.
    """
    # The sum of these layer calls is visible in the graph and must not be counted twice.
    known = {call for number in visible for name, call in roles.get(number, ()) if name == "residual_end"}
    ends: dict[int, int] = {}
    latest = 0
    # By the layer call: all branches that end in one layer go into one sum.
    hidden: dict[int, int] = {}
    for step in graph.steps:
        calls = [
            call for name, call in roles.get(step.number, ()) if name == "residual_end" and call not in known
        ]
        if step.number in visible:
            latest = max(latest, visible[step.number])
            ends[step.number] = visible[step.number] + len(hidden)
        elif calls:
            # The graph does not show this sum: it gets the next number.
            hidden.setdefault(calls[0], latest + len(hidden) + 1)
            ends[step.number] = hidden[calls[0]]
    return ends, residuals + len(hidden)


def effective_activation(graph: Graph, step: Step) -> Activation:
    """Return the first activation that the result of a step reaches; linear if it reaches none."""
    return step.applied_activation or activation_met(graph, step)[0]


def activation_met(graph: Graph, step: Step) -> tuple[Activation, int | None]:
    """Return the first activation after a step and the number of its result; (linear, None) without one."""
    # Breadth-first: the nearest activation wins even if a skip connection leads further.
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
    # Flatten keeps paired units adjacent only if the channels come last.
    return _is_summing(step) and getattr(step.operation, "groups", 1) == 1 and _is_channels_last(step)


def _is_channels_last(step: Step) -> bool:
    return getattr(step.operation, "data_format", "channels_last") == "channels_last"


def normalization_after(graph: Graph, step: Step) -> Step | None:
    """Return the normalization that reads the result of a step before anything else changes it."""
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


def _next_in_chain(graph: Graph, step: Step) -> _Link | None:
    """Return the link to the next weighted step of a plain chain; None if the chain ends here."""
    if step.is_recurrent or len(step.outputs) != 1 or step.is_lookup:
        return None
    tensor, activation, direct = step.outputs[0], step.applied_activation, True
    while True:
        if after := activation_after(graph, tensor):
            if activation is not None:
                # The theory covers one activation per layer, not two in a row.
                return None
            activation, tensor = after
            continue
        consumers = graph.consumers(tensor)
        if len(consumers) != 1:
            return None
        consumer = consumers[0]
        if consumer.is_weighted:
            if consumer.is_recurrent or len(set(consumer.inputs)) > 1:
                return None
            return _Link(step.number, consumer.number, activation or LINEAR, direct)
        if consumer.is_merge or consumer.is_normalization or not consumer.is_pass_through:
            return None
        direct = direct and not _changes_statistics(consumer)
        tensor = consumer.outputs[0]


def _changes_statistics(step: Step) -> bool:
    return "Pool" in step.kind or step.kind in _CHANGING


def _chain_depths(numbers: list[int], following: dict[int, int]) -> dict[int, int]:
    """Return the number of weighted steps in the chain of each step."""
    before = dict.fromkeys(numbers, 1)
    for number in numbers:
        if (target := following.get(number)) is not None:
            before[target] = max(before[target], before[number] + 1)
    after = dict.fromkeys(numbers, 1)
    for number in reversed(numbers):
        if (target := following.get(number)) is not None:
            after[number] = after[target] + 1
    return {number: before[number] + after[number] - 1 for number in numbers}
