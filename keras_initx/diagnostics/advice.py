"""`Advice`: recommend `initialize` only for weights that it would draw."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import keras

from keras_initx._graph import steps_before
from keras_initx._weights import WeightIndex
from keras_initx.diagnostics.probe import Probe
from keras_initx.errors import InitxError
from keras_initx.initializers import is_overridden
from keras_initx.model_init import statuses

_DRAWN = (
    "initialize(model) has drawn these weights already: normalize the inputs or the layers, or add residual "
    "connections"
)
_KEPT = (
    "`initialize` keeps {path} as set on purpose. If it is not, name it in only=, or give the layer another "
    "initializer"
)
_FROZEN = "These weights are frozen: normalize the inputs, or make the layers trainable first"
_UNSEEN = "Normalize the inputs or the layers, or add residual connections"


class Advice:
    """What helps the weights of a finding, by what `initialize(model)` would do with each of them.

    Args:
        probe: The probe of the model.
        index: The model's weights by layer.
    """

    def __init__(self, probe: Probe, index: WeightIndex) -> None:
        self._graph, self._index = probe.graph, index
        self._contexts = {point.context.step: point.context for point in probe.points}

    @cached_property
    def _statuses(self) -> dict[int, str]:
        try:
            return statuses(self._graph, self._contexts, self._index)
        except InitxError:
            # `initialize` refuses this model too.
            return {}

    def draws(self, kernels: Iterable[keras.Variable]) -> bool:
        """Return whether `initialize(model)` would draw one of some weights, and has not done so before."""
        return any(not is_overridden(k) and self._statuses.get(id(k)) == "drawn" for k in kernels)

    def on(self, kernels: Sequence[keras.Variable]) -> str:
        """Return the advice on some weights, without a full stop."""
        kept = {self._statuses.get(id(kernel), ""): kernel.path for kernel in reversed(kernels)}
        # The signal and the gradient must pass these: while they stay, another draw of the others is no help.
        if path := kept.get("small", kept.get("zeros")):
            return _KEPT.format(path=f"`{path}`")
        if self.draws(kernels):
            return "Try initialize(model)"
        if path := kept.get("structured"):
            return _KEPT.format(path=f"`{path}`")
        if all(map(is_overridden, kernels)):
            return _DRAWN
        return _UNSEEN if any(kernel.trainable for kernel in kernels) else _FROZEN

    def draws_scores(self, numbers: Iterable[int]) -> bool:
        """Return whether `initialize(model)` would draw a kernel of the queries or keys of some attentions.

        Args:
            numbers: The numbers of the steps that compute or apply the attention weights.
        """
        tensors = [tensor for number in numbers for tensor in self._graph.steps[number].inputs]
        before = [step for step in steps_before(self._graph, tensors) if step.number in self._contexts]
        compared = [s for s in before if {"query", "key"} & set(self._contexts[s.number].roles)]
        return self.draws(kernel for step in compared for kernel in step.kernels)
