"""What all runs of a search share: the arguments of `fit`, a sample of the data, the compiled models."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner

from keras_initx.errors import InitxError, check_positive

from ..data import Batch, FitArguments, check_data, check_limits, copied_callbacks
from ..pruning import Screen
from ..space import InitializerHyperModel
from .devices import Strategy
from .model_cache import CompiledModels


def check_validates(metric: keras_tuner.Objective, data: FitArguments) -> None:
    """Raise an `InitxError` for a metric of the validation where the arguments of `fit` lead to none."""
    names = [part.name for part in getattr(metric, "objectives", [metric])]
    if not any(name.startswith("val_") for name in names):
        return
    if not data.validates:
        allowed = "a metric of the training, as there are no validation data"
        remedy = "Pass validation_data=(x, y), or validation_split=0.2 for arrays."
        raise InitxError("objective", ", ".join(names), allowed, remedy)
    every = data.values.get("validation_freq") or 1
    epochs = range(data.values.get("initial_epoch", 0) + 1, data.epochs + 1)
    if not any(epoch in every if isinstance(every, list) else epoch % every == 0 for epoch in epochs):
        problem = f"`validation_freq={every}` leaves no validation in epochs {epochs[0]} to {epochs[-1]}"
        remedy = "Include one of them." if isinstance(every, list) else "Pass a smaller one."
        raise InitxError("validation_freq", every, "one that validates", remedy, problem)


def check_batch_sizes(
    hypermodel: InitializerHyperModel, values: Mapping[str, Any], data: FitArguments | None
) -> None:
    """Raise an `InitxError` for batch sizes to search that no run could use.

    Args:
        hypermodel: Has them, or None.
        values: The arguments of `fit` by name.
        data: The same, bound; None if the HyperModel overrides `fit`.
    """
    sizes = hypermodel.batch_sizes
    if sizes is None:
        return
    if data is not None and data.rows is None:
        remedy = "Their batch size is fixed. Pass arrays, or leave out batch_sizes."
        allowed = f"None for data in batches, as of a {type(data.x).__name__}"
        raise InitxError("batch_sizes", list(sizes), allowed, remedy)
    if (fixed := values.get("batch_size")) is not None:
        problem = f"`batch_size={fixed!r}` has no effect, since batch_sizes={list(sizes)} are searched"
        remedy = "Leave out `batch_size`, or `batch_sizes` of the SearchSpace."
        raise InitxError("batch_size", fixed, "None for this space", remedy, problem)
    if hypermodel.has_own_fit and not hypermodel.fit_takes("batch_size"):
        problem = "`batch_sizes` has no effect: the HyperModel's own fit has no argument `batch_size`"
        remedy = "Give it one and pass it to model.fit, or leave out `batch_sizes`."
        raise InitxError("batch_sizes", list(sizes), "None for this HyperModel", remedy, problem)


class EndedEarly(Exception):
    """Raised to end a hopeless trial before it is finished.

    Attributes:
        how: "screened" or "pruned".
        reason: Why, in words.
    """

    def __init__(self, how: str, reason: str) -> None:
        super().__init__(reason)
        self.how, self.reason = how, reason


class Job:
    """The work of a search, whatever its trials are.

    Args:
        args, kwargs: The arguments of `fit`, or of the HyperModel's own `fit`.
        own_fit: Whether the HyperModel overrides `fit`. Its arguments may then be anything, so
            nothing is measured before the training, and no compiled model is used twice.
        strategy: The devices.
        jit_compile: As in `CompiledModels`.
        screening: Whether to screen.
        data: The arguments of `fit` if they were bound before, with the batches that were read; or None.

    Attributes:
        epochs: The largest number of epochs.
        data: The arguments of `fit`; None if the HyperModel overrides `fit`.
        sample: A batch of training data; None in the same case.
        models: The compiled models; None in the same case.
        screen: The screening; None if there is none.
    """

    def __init__(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        own_fit: bool,
        strategy: Strategy,
        jit_compile: bool,
        screening: bool,
        data: FitArguments | None = None,
    ) -> None:
        self.args, self.kwargs = tuple(args), dict(kwargs)
        self._strategy = strategy
        self.data: FitArguments | None = None
        self.sample: Batch | None = None
        self.models: CompiledModels | None = None
        self.screen: Screen | None = None
        if own_fit:
            self.epochs = check_positive("epochs", kwargs.get("epochs", 1))
            return
        if data is None:
            data = FitArguments(args, kwargs)
            check_limits(data.values)
            check_data(data)
        if strategy.replicas > 1 and data.rows is not None:
            data = data.trimmed(strategy.even(data.rows, data.batch_size))
        self.data, self.epochs = data, data.epochs
        self.sample = data.batches[0]
        held_out = data.validation
        validation = held_out.batches[0] if held_out is not None and held_out.rows else None
        self.models = CompiledModels(jit_compile and strategy.jit_compile, self.sample, validation=validation)
        if screening:
            self.screen = Screen(data.batches)

    def check(self, hypermodel: Any, metric: keras_tuner.Objective) -> None:
        """Check what a search asks of the arguments of `fit`.

        Args:
            hypermodel: Builds and trains the model.
            metric: The metric of each epoch.

        Raises:
            InitxError: A callback cannot be copied, the batch sizes to search have no effect, or there are no
                validation data for the metric.
        """
        copied_callbacks(self.callbacks)
        check_batch_sizes(hypermodel, self.kwargs if self.data is None else self.data.values, self.data)
        if self.data is not None:
            check_validates(metric, self.data)

    def is_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Return whether the job has these very objects as its arguments."""
        return (
            len(args) == len(self.args)
            and kwargs.keys() == self.kwargs.keys()
            and all(a is b for a, b in zip(args, self.args, strict=True))
            and all(kwargs[name] is value for name, value in self.kwargs.items())
        )

    def for_run(self, callbacks: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return positional and keyword arguments for one run with these callbacks, copied before."""
        if self.data is None:
            return self.args, {**self.kwargs, "callbacks": list(callbacks)}
        sizes = {}
        held_out = self.data.validation
        if self._strategy.equal and held_out is not None and held_out.rows is not None:
            sizes["validation_batch_size"] = self._strategy.evaluation_batch(held_out.rows)
        return (), {**self.data.for_run(**sizes), "callbacks": list(callbacks)}

    @property
    def callbacks(self) -> Any:
        """The user's callbacks."""
        return (self.kwargs if self.data is None else self.data.values).get("callbacks")
