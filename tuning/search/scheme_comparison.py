"""Compare the classical schemes (random, Xavier, He) as textbooks do, with intervals and tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from rich.table import Table

from keras_initx.errors import InitxError, unknown_name

from ..data import Dataset
from ..space import ACTIVATION, INITIALIZER, DenseNetwork
from ..stats import GroupComparison, compare
from ..study import Sample, TrialResult
from .options import Results, Stopping
from .result import SearchResult
from .search import search

# Each scheme as textbooks present it: one distribution for all layers, regardless of the activation.
SCHEMES = {"Random": "random_uniform", "Xavier": "glorot_uniform", "He": "he_normal"}
# Further schemes of the literature that are known to fail.
MORE_SCHEMES = {"Small normal": "small_normal", "Uniform 0..1": "unit_uniform", "Zeros": "all_zeros"}
ALL_SCHEMES = {**SCHEMES, **MORE_SCHEMES}
ACTIVATIONS = ("relu", "tanh", "sigmoid")
METRIC = "accuracy"

_DISTRIBUTIONS = {
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


def compare_schemes(
    data: Dataset,
    *,
    epochs: int = 100,
    seeds: int | Sequence[int] = 5,
    depth: int = 3,
    width: int = 64,
    learning_rate: float = 1e-3,
    schemes: Sequence[str] = tuple(SCHEMES),
    stopping: Stopping | None = None,
    results: str | Path | Results = "results/study",
    **options: Any,
) -> SearchResult:
    """Train every scheme with every activation over several seeds, as a grid search with one learning rate.

    Args:
        data: The data.
        epochs: Epochs of each run. There is no early stopping by default, since a sigmoid network may make
            no progress for many epochs before it learns.
        seeds: Number of runs of each pair, or their seeds.
        depth, width: Number of hidden layers, and units in each.
        learning_rate: Adam's learning rate.
        schemes: The schemes of `ALL_SCHEMES` to compare, by label in any case or by initializer.
        stopping: As in `search`. A scheme that cannot learn belongs in the comparison too, so None does not
            screen.
        results: As in `search`.
        **options: Further options of `search`, such as `execution` and `verbose`.

    Raises:
        InitxError: If a scheme is unknown, or the data have no classes; also whatever `search` raises.
    """
    names = [ALL_SCHEMES[label] for label in labels_of(schemes)]
    if not data.classes:
        problem = f"`data` {data.name!r} is for a regression, but the schemes are compared by accuracy"
        remedy = "Bin the target into classes."
        raise InitxError("data", data.name, "data of a classification", remedy, problem)
    model = DenseNetwork(data, ACTIVATIONS, names, [learning_rate], depth, width)
    return search(
        model,
        data,
        tuner="grid",
        stopping=stopping or Stopping(screening=False),
        epochs=epochs,
        seeds=seeds,
        results=results,
        **options,
    )


def labels_of(schemes: Sequence[str]) -> list[str]:
    """Return the labels of schemes that are named by label, in any case, or by initializer.

    Raises:
        InitxError: If a scheme is unknown; the message suggests the nearest one.

    Example:

    >>> labels_of(["he", "unit_uniform", "Zeros"])
    ['He', 'Uniform 0..1', 'Zeros']
    """
    known = {text.lower(): label for label, name in ALL_SCHEMES.items() for text in (label, name)}
    for scheme in schemes:
        if scheme.strip().lower() not in known:
            raise unknown_name("schemes", scheme, [*ALL_SCHEMES, *ALL_SCHEMES.values()])
    if not schemes:
        raise InitxError("schemes", schemes, "a list of at least one scheme")
    return list(dict.fromkeys(known[scheme.strip().lower()] for scheme in schemes))


def schemes_in(result: SearchResult) -> list[str]:
    """Return the labels of the schemes that a comparison trained."""
    return [label for label in ALL_SCHEMES if any(_trial(result, label, a) for a in ACTIVATIONS)]


def scheme_verdict(scheme: str, width: int) -> str:
    """Return how a scheme fails in a hidden layer of that width before any training; "" if it does not."""
    initializer = keras.initializers.get(ALL_SCHEMES[scheme])
    return initializer.verdict((width, width)) if hasattr(initializer, "verdict") else ""


def scheme_table(result: SearchResult, scheme: str) -> Table:
    """Return a table with one row for each run of a scheme."""
    table = Table(title=f"{scheme}: {_DISTRIBUTIONS[scheme]}", title_justify="left")
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


def accuracy_table(result: SearchResult) -> Table:
    """Return a table of the test accuracy of all schemes: mean, standard deviation and interval."""
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


def scheme_differences(result: SearchResult) -> dict[str, list[GroupComparison]]:
    """Test which schemes differ for each activation, corrected over all pairs of all activations.

    An activation is left out if a scheme has fewer than two runs with it, since there is nothing to test.
    """
    differences = {}
    for activation in ACTIVATIONS:
        groups = {scheme: _sample(result, scheme, activation) for scheme in schemes_in(result)}
        if len(groups) > 1 and min(sample.n for sample in groups.values()) > 1:
            differences[activation] = compare(groups, families=len(ACTIVATIONS))
    return differences


def _trial(result: SearchResult, scheme: str, activation: str) -> TrialResult | None:
    values = {INITIALIZER: ALL_SCHEMES[scheme], ACTIVATION: activation}
    for trial in result.trials:
        if values.items() <= dict(trial.values).items():
            return trial
    return None


def _sample(result: SearchResult, scheme: str, activation: str) -> Sample:
    trial = _trial(result, scheme, activation)
    return Sample(()) if trial is None else trial.test_sample(METRIC)
