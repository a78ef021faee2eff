"""Print the result of `keras-initx tune`: its tables, the winner and where the files are."""

from typing import Any

from keras_initx.cli import common
from keras_initx.tuning import (
    ACTIVATION,
    INITIALIZER,
    DenseNetwork,
    SearchResult,
    cross_table,
    describe_lead_by,
    score_format,
)

from .subjects import Subject

_ENDED_EARLY = {
    "failed": "failed",
    "screened": "were ended before training, since they could not learn",
    "pruned": "were ended in training, since others were better",
}


def print_outcome(result: SearchResult, subject: Subject, raced: bool) -> None:
    """Print the trials, how many ended early and why, the winner and its lead, and the files.

    Args:
        result: The result.
        subject: What was trained.
        raced: Whether further seeds were run for the best trials.
    """
    name = result.objective.name
    network = subject.model if isinstance(subject.model, DenseNetwork) else None
    common.console.print()
    if network is None:
        common.console.print(result.table())
    else:
        values = network.initializers, network.activations
        title = f"{_words(name).capitalize()}, mean ± std over seeds (the best learning rate of each pair)"
        table = cross_table(
            result.trials, INITIALIZER, ACTIVATION, result.objective.direction, title, *values
        )
        common.console.print(table)
    for status, text in _ENDED_EARLY.items():
        if trials := [t for t in result.trials if t.status == status]:
            share = f"{len(trials)} of {len(result.trials)} trials {text}"
            common.print_plain(f"{share}; the first: {trials[0].reason}")
    common.print_plain(f"Winner: {_winner(result, network is not None)}")
    lead = result.verdict()
    if network is not None and not raced:
        lead = describe_lead_by(result.trials, INITIALIZER, result.objective)
    if lead:
        common.print_plain(lead)
    common.print_locations(result)


def _winner(result: SearchResult, is_dense: bool) -> str:
    """Return the best trial's values, score, interval and test score in one sentence."""
    best, name = result.best, result.objective.name
    values = dict(best.values)
    chosen = ", ".join(f"{key} {_text(value)}" for key, value in values.items())
    if is_dense:
        optimizer = f"{values['optimizer']}, " if "optimizer" in values else ""
        rate = f"learning rate {values['learning_rate']:g}"
        chosen = f"{values[INITIALIZER]} with {values[ACTIVATION]}, {optimizer}{rate}"
    within = (0.0, 1.0) if name.endswith("accuracy") else (float("-inf"), float("inf"))
    low, high = best.sample.interval(within=within)
    form = score_format(best.sample.mean)
    interval = f", 95 % interval {low:{form}} to {high:{form}}" if best.sample.n > 1 else ""
    metric = name.removeprefix("val_")
    tested = best.test_scores(metric)
    test = f"; test {_words(metric)} {best.test_sample(metric).describe()}" if tested else ""
    return f"{chosen}: {_words(name)} {best.sample.describe()}{interval}{_ties(result)}{test}."


def _words(metric: str) -> str:
    """Return a metric in words.

    >>> _words("val_accuracy")
    'validation accuracy'
    """
    return (
        metric.replace("val_", "validation ", 1).replace("_", " ")
        if metric.startswith("val_")
        else (metric.replace("_", " "))
    )


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _ties(result: SearchResult) -> str:
    """Return how many other trials have the winner's mean, in which case their order decided."""
    mean = result.best.sample.mean
    others = sum(t.status == "completed" and t.sample.mean == mean for t in result.trials) - 1
    return f" (a tie with {others} other{'s' if others > 1 else ''})" if others > 0 else ""
