"""What all runs of a search share: the arguments of `fit`, a sample of the data, the compiled models."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner

from keras_initx.errors import InitxError

from ..data import Batch, FitArguments, copied_callbacks
from ..pruning import Screen
from .devices import Strategy
from .model_cache import CompiledModels


def check_validates(metric: keras_tuner.Objective, data: FitArguments) -> None:
    """Raise an `InitxError` for a metric of the validation where the arguments of `fit` have no such data."""
    names = [part.name for part in getattr(metric, "objectives", [metric])]
    if any(name.startswith("val_") for name in names) and not data.validates:
        allowed = "a metric of the training, as there are no validation data"
        remedy = "Pass validation_data=(x, y), or validation_split=0.2 for arrays."
        raise InitxError("objective", ", ".join(names), allowed, remedy)


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
            self.epochs = int(kwargs.get("epochs", 1))
            return
        data = data or FitArguments(args, kwargs)
        if strategy.replicas > 1 and data.rows is not None:
            data = data.trimmed(strategy.even(data.rows, data.batch_size))
        self.data, self.epochs = data, data.epochs
        self.sample = data.batches[0]
        held_out = data.validation
        validation = held_out.batches[0] if held_out is not None and held_out.rows else None
        self.models = CompiledModels(jit_compile and strategy.jit_compile, self.sample, validation=validation)
        if screening:
            self.screen = Screen(data.batches)

    def check(self, batch_sizes: Any, metric: keras_tuner.Objective) -> None:
        """Check what a search asks of the arguments of `fit`.

        Args:
            batch_sizes: The batch sizes to search, or None.
            metric: The metric of each epoch.

        Raises:
            InitxError: A callback cannot be copied, the data have batches of their own, or there are no
                validation data for the metric.
        """
        copied_callbacks(self.callbacks)
        if self.data is None:
            return
        if batch_sizes is not None and self.data.rows is None:
            remedy = "Their batch size is fixed. Pass arrays, or leave out batch_sizes."
            allowed = f"None for data in batches, as of a {type(self.data.x).__name__}"
            raise InitxError("batch_sizes", list(batch_sizes), allowed, remedy)
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
