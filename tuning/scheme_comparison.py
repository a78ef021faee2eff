"""The classical comparison of random, Xavier and He starts, on data of today and with honest statistics."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from rich.table import Table

from keras_initx.errors import InitxError, unknown_name

from .data import Dataset
from .search import search
from .search_result import SearchResult
from .space import ACTIVATION, INITIALIZER, DenseClassifier
from .stats import Comparison, compare
from .study import Sample, TrialResult

# Each scheme as it is taught: one distribution for all layers, whatever the activation.
SCHEMES = {"Random": "random_uniform", "Xavier": "glorot_uniform", "He": "he_normal"}
# What the literature compares besides, and what is known to fail.
MORE_SCHEMES = {"Small normal": "small_normal", "Uniform 0..1": "unit_uniform", "Zeros": "all_zeros"}
ALL_SCHEMES = {**SCHEMES, **MORE_SCHEMES}
ACTIVATIONS = ("relu", "tanh", "sigmoid")
METRIC = "accuracy"

_DRAWN = {
    "Random": "uniform in [-0.05, 0.05]",
    "Xavier": "uniform, variance 2 / (fan_in + fan_out)",
    "He": "truncated normal, variance 2 / fan_in",
    "Small normal": "normal, standard deviation 0.01",
    "Uniform 0..1": "uniform in [0, 1]",
    "Zeros": "zeros",
}
# Textbook accuracies in per cent, for an unnamed data set.
TEXTBOOK = {
    ("Random", "relu"): "78-81",
    ("Random", "tanh"): "78-81",
    ("Random", "sigmoid"): "78-81",
    ("Xavier", "relu"): "85-88",
    ("Xavier", "tanh"): "80-84",
    ("Xavier", "sigmoid"): "79-81",
    ("He", "relu"): "88-89",
}


def run_study(
    data: Dataset,
    *,
    epochs: int = 100,
    seeds: int | Sequence[int] = 5,
    depth: int = 3,
    width: int = 64,
    learning_rate: float = 1e-3,
    schemes: Sequence[str] = tuple(SCHEMES),
    results: str | Path = "results/study",
    logs: str | Path | None = None,
    **options: Any,
) -> SearchResult:
    """Trains every scheme with every activation over several seeds: a grid search of one learning rate.

    Args:
        data: The data.
        epochs: Epochs of each run. There is no early stopping by default: a sigmoid network may stand
            still for many epochs before it learns.
        seeds: How many runs for each pair.
        depth, width: Hidden layers, and their units.
        learning_rate: Adam's.
        schemes: Which of `ALL_SCHEMES` to compare, by their labels in any case, or by the names of
            their initializers.
        results, logs: Folders, as in `search`.
        **options: Further options of `search`, such as `resume` and `quiet`.

    Raises:
        InitxError: A scheme that is unknown, and as `search` does.
    """
    names = [ALL_SCHEMES[label] for label in labels_of(schemes)]
    model = DenseClassifier(data, ACTIVATIONS, names, [learning_rate], depth, width)
    return search(
        model,
        data,
        tuner="grid",
        # What fails belongs to the comparison.
        screening=False,
        epochs=epochs,
        seeds=seeds,
        results=results,
        logs=logs,
        **options,
    )


def labels_of(schemes: Sequence[str]) -> list[str]:
    """The labels of schemes that are named by label, in any case, or by initializer.

    Raises:
        InitxError: An unknown one; the nearest is suggested.

    Example:

    >>> labels_of(["he", "unit_uniform", "Zeros"])
    ['He', 'Uniform 0..1', 'Zeros']
    """
    known = {text.lower(): label for label, name in ALL_SCHEMES.items() for text in (label, name)}
    for scheme in schemes:
        if scheme.strip().lower() not in known:
            raise unknown_name("schemes", scheme, ALL_SCHEMES)
    if not schemes:
        raise InitxError("schemes", schemes, "one scheme or more")
    return list(dict.fromkeys(known[scheme.strip().lower()] for scheme in schemes))


def schemes_in(result: SearchResult) -> list[str]:
    """The labels of the schemes that a study compared."""
    return [label for label in ALL_SCHEMES if any(_trial(result, label, a) for a in ACTIVATIONS)]


def verdict(scheme: str, width: int) -> str:
    """What a scheme does to a hidden layer of that width before any training; "" for a usual one."""
    initializer = keras.initializers.get(ALL_SCHEMES[scheme])
    return initializer.verdict((width, width)) if hasattr(initializer, "verdict") else ""


def scheme_table(result: SearchResult, scheme: str) -> Table:
    """One row for each run of a scheme."""
    table = Table(title=f"{scheme}: {_DRAWN[scheme]}", title_justify="left")
    for header in ("activation", "seed", "best epoch", "validation accuracy", "test accuracy", "seconds"):
        table.add_column(header, justify="left" if header == "activation" else "right")
    for activation in ACTIVATIONS:
        trial = _trial(result, scheme, activation)
        for seed, record in trial.seeds.items() if trial else ():
            table.add_row(
                activation,
                str(seed),
                f"{record['best_epoch']} of {record['epochs']}",
                f"{100 * record['score']:.1f} %",
                f"{100 * record['test'][METRIC]:.1f} %",
                f"{record['seconds']:.1f}",
            )
        table.add_section()
    return table


def summary_table(result: SearchResult) -> Table:
    """Random vs Xavier vs He: mean, standard deviation and interval of the test accuracy."""
    schemes = schemes_in(result)
    title = f"{' vs '.join(schemes)}: test accuracy at the best validation epoch"
    table = Table(title=title, title_justify="left")
    for header in ("scheme", "activation", "mean", "std", "95 % interval", "n", "textbook"):
        table.add_column(header, justify="left" if header in ("scheme", "activation") else "right")
    for scheme in schemes:
        for activation in ACTIVATIONS:
            sample = _sample(result, scheme, activation)
            low, high = sample.interval(within=(0.0, 1.0))
            textbook = TEXTBOOK.get((scheme, activation))
            table.add_row(
                scheme,
                activation,
                f"{100 * sample.mean:.1f} %" if sample.n else "–",
                f"{100 * sample.std:.1f}" if sample.n > 1 else "–",
                f"{100 * low:.1f} to {100 * high:.1f}" if sample.n > 1 else "–",
                str(sample.n),
                f"{textbook} %" if textbook else "–",
            )
        table.add_section()
    return table


def comparisons(result: SearchResult) -> dict[str, list[Comparison]]:
    """For each activation, which schemes differ; corrected over all pairs of all activations.

    An activation with fewer than two runs of some scheme is left out: there is nothing to test.
    """
    found = {}
    for activation in ACTIVATIONS:
        groups = {scheme: _sample(result, scheme, activation) for scheme in schemes_in(result)}
        if len(groups) > 1 and min(sample.n for sample in groups.values()) > 1:
            found[activation] = compare(groups, families=len(ACTIVATIONS))
    return found


def _trial(result: SearchResult, scheme: str, activation: str) -> TrialResult | None:
    wanted = {INITIALIZER: ALL_SCHEMES[scheme], ACTIVATION: activation}
    for trial in result.trials:
        if wanted.items() <= dict(trial.values).items():
            return trial
    return None


def _sample(result: SearchResult, scheme: str, activation: str) -> Sample:
    trial = _trial(result, scheme, activation)
    return Sample(()) if trial is None else trial.test_sample(METRIC)
