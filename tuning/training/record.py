"""The record of one run: its score, its best epoch and its curves, from whatever its training returned."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import keras
import keras_tuner
import numpy as np

from keras_initx.errors import is_number

from ..space import WrongInEveryTrial
from .callbacks import BestEpoch, losses_are_finite, value_of


def missing_objective(name: str, metrics: Iterable[str], remedy: str = "") -> WrongInEveryTrial:
    """Return the error for an objective that is none of a model's metrics.

    Example:

    >>> print(missing_objective("acc", ["loss", "accuracy"]))
    `objective` must be a metric of the model (loss, accuracy), got 'acc'. Did you mean 'accuracy'?
    """
    names = list(metrics)
    # A little below the usual cutoff, because "acc" must find "accuracy".
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    found = f"Did you mean {near[0]!r}?" if near else ""
    return WrongInEveryTrial(
        "objective", name, f"a metric of the model ({', '.join(names)})", f"{found} {remedy}".strip()
    )


def run_record(
    returned: Any, best: BestEpoch, metric: keras_tuner.Objective, epochs: int, seed: int
) -> dict[str, Any]:
    """Return the score, the best epoch, the metrics at that epoch and the curves of a run.

    Args:
        returned: What the training returned: a `keras.callbacks.History`; the metrics by name; the metric
            alone; or a list of these, whose mean counts. Only a history has curves.
        best: The callback that followed the run. If a training loop of the user's own has not called it, it
            gets the epochs of the history.
        metric: The metric that makes the score.
        epochs: The largest number of epochs.
        seed: The seed, for errors.

    Raises:
        FloatingPointError: In no epoch both the metric and the losses were finite, or the returned metric
            belongs to an epoch whose loss was not.
        WrongInEveryTrial: The training had no such metric, or returned something else.
    """
    curves = {}
    if isinstance(returned, keras.callbacks.History):
        curves = {name: [float(v) for v in values] for name, values in returned.history.items()}
        if curves and not best.values:
            parts = getattr(metric, "objectives", [metric])
            missing = next((part.name for part in parts if part.name not in curves), None)
            if missing is not None:
                raise missing_objective(missing, curves)
            _follow(best, metric, curves)
        values = best.values
    else:
        metrics = metrics_of(returned, metric)
        value = float(metric.get_value(metrics))
        if best.best is not None and np.isclose(value, best.best, rtol=1e-5):
            # The loop returned the score of its best epoch. It need not tell the callbacks that it has ended,
            # so the weights of that epoch are put back here. Another score belongs to the present weights.
            best.on_train_end()
        elif _is_of_diverged_epoch(value, best, metric):
            value = np.nan
        # The returned number decides, whatever the epochs said: it may be computed after them.
        last = max(best.values, default=epochs - 1)
        values = {last: value if losses_are_finite(metric, metrics) else np.nan}
    finite = {epoch: value for epoch, value in values.items() if np.isfinite(value)}
    if not finite:
        if curves:
            reason = f"no epoch of seed {seed} has a finite loss and a finite {metric.name}"
        else:
            reason = (
                f"the loss or {metric.name} was not finite in the epoch of the returned value of seed {seed}"
            )
        raise FloatingPointError(reason)
    diverged = [epoch for epoch, loss in enumerate(curves.get("loss", ())) if not np.isfinite(loss)]
    choose = max if metric.direction == "max" else min
    # The first of equal epochs.
    best_epoch = choose(finite, key=lambda epoch: (finite[epoch], -epoch if choose is max else epoch))
    if curves:
        metrics = best.logs[best_epoch]
    return {
        "score": finite[best_epoch],
        "best_epoch": best_epoch + 1,
        "epochs": len(curves["loss"]) if "loss" in curves else max(best.values, default=epochs - 1) + 1,
        "metrics": {name: float(np.mean(value)) for name, value in metrics.items()},
        "curves": curves,
        "diverged_in_epoch": diverged[0] + 1 if diverged else None,
    }


def _follow(best: BestEpoch, metric: keras_tuner.Objective, curves: Mapping[str, Sequence[float]]) -> None:
    """Record the epochs of a history in the callback; the weights remain those of the last epoch."""
    warnings.warn(
        "The HyperModel's `fit` did not pass `callbacks` to `model.fit`, so the saved weights are from the "
        "last epoch, and pruners see no epochs.",
        stacklevel=2,
    )
    for epoch, logs in _epochs_of(curves, metric):
        value = value_of(metric, logs)
        if value is not None:
            best.values[epoch], best.logs[epoch] = value, logs


def _epochs_of(
    curves: Mapping[str, Sequence[float]], metric: keras_tuner.Objective
) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield each epoch of a history that has the metric, from 0, and what was measured in it.

    With `validation_freq` some curves are shorter than others; the rest may have any length.
    """
    parts = [part.name for part in getattr(metric, "objectives", [metric])]
    counts = [len(curves[name]) for name in parts if name in curves]
    if not counts:
        return
    count = min(counts)
    total = max(count, len(curves.get("loss", ())))
    for number in range(count):
        epoch = (number + 1) * (total // count) - 1
        at = {count: number, total: epoch}
        yield epoch, {n: float(v[at[len(v)]]) for n, v in curves.items() if len(v) in at}


def _is_of_diverged_epoch(value: float, best: BestEpoch, metric: keras_tuner.Objective) -> bool:
    """Return whether a returned value comes from a diverged epoch, or every epoch has diverged."""
    diverged = [logs for logs in best.logs.values() if not losses_are_finite(metric, logs)]
    if diverged and len(diverged) == len(best.logs):
        return True
    return any(np.isclose(value, metric.get_value(logs), rtol=1e-5) for logs in diverged)


def metrics_of(returned: Any, objective: keras_tuner.Objective) -> dict[str, float]:
    """Return the metrics by name that a training loop of the user's own returned.

    Args:
        returned: The objective as a number, metrics by name, a History, whose best epoch counts, or a list
            of these, whose mean counts.
        objective: The objective that must be among them.

    Raises:
        WrongInEveryTrial: It is something else, or lacks the objective.
    """
    if isinstance(returned, list) and returned:
        tables = [metrics_of(part, objective) for part in returned]
        return mean_of(tables)
    if isinstance(returned, keras.callbacks.History):
        tables = [logs for _, logs in _epochs_of(returned.history, objective)]
        tables = [table for table in tables if objective.has_value(table)]
        finite = [
            t for t in tables if losses_are_finite(objective, t) and np.isfinite(objective.get_value(t))
        ]
        if tables:
            choose = max if objective.direction == "max" else min
            return choose(finite or tables, key=objective.get_value)
    if is_number(returned):
        return {objective.name: float(returned)}
    if isinstance(returned, Mapping) and objective.has_value(returned):
        return {name: float(value) for name, value in returned.items()}
    allowed = f"a History, a number, or a dictionary with {objective.name!r}"
    problem = f"The HyperModel's `fit` must return {allowed}, got {returned!r}"
    raise WrongInEveryTrial("fit", returned, allowed, problem=problem)


def mean_metrics(records: list[dict[str, Any]]) -> dict[str, float]:
    """Return the mean over runs of each metric that all of them have."""
    return mean_of([record.get("metrics", {}) for record in records])


def mean_of(tables: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each metric that all tables have."""
    names = [name for name in tables[0] if all(name in table for table in tables)] if tables else []
    return {name: float(np.mean([table[name] for table in tables])) for name in names}
