"""Train a model from several starts, keep each run in a JSONL file, and compare the starts seed by seed."""

import argparse
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import keras
import numpy as np
from scipy import stats

Run = tuple[str, int, float]


def parser_of(
    description: str, starts: Sequence[str], rates: list[float], steps: int, seeds: int
) -> argparse.ArgumentParser:
    """Return a command line that chooses the runs of a benchmark.

    Args:
        description: The benchmark's docstring.
        starts: The names of all starts.
        rates, steps, seeds: The defaults of the learning rates, the training steps and the number of seeds.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="the JSONL file of the runs")
    parser.add_argument("--starts", nargs="+", choices=starts, default=starts)
    parser.add_argument("--rates", type=float, nargs="+", default=rates)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--seeds", type=int, default=seeds)
    return parser


def chosen_runs(options: argparse.Namespace) -> list[Run]:
    """Return the runs that the command line chooses."""
    return [(s, seed, r) for seed in range(options.seeds) for r in options.rates for s in options.starts]


def run_missing(path: Path, runs: Iterable[Run], score: Callable[[str, int, float], float]) -> list[dict]:
    """Return the rows of all runs (start, seed, rate); compute those that `path` lacks, and append them.

    Args:
        path: A JSONL file, which is created if need be.
        runs: The runs of the table.
        score: Trains one run and returns its score, lower is better.
    """
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    known = {(row["start"], row["seed"], row["rate"]): row for row in rows}
    wanted = list(runs)
    for run in wanted:
        if run not in known:
            known[run] = dict(zip(("start", "seed", "rate"), run, strict=True)) | {"score": score(*run)}
            with path.open("a") as file:
                file.write(json.dumps(known[run]) + "\n")
    return [known[run] for run in wanted]


def set_start(model: keras.Model, values: list[np.ndarray], rate: float) -> None:
    """Give a model with a compiled Adam the weights `values`, and set the optimizer back."""
    model.set_weights(values)
    model.optimizer.build(model.trainable_variables)
    for variable in model.optimizer.variables:
        variable.assign(np.zeros(tuple(variable.shape)))
    model.optimizer.learning_rate = rate


def table(rows: list[dict], reference: str) -> str:
    """Return one row for each start: its scores at the rate with the best mean, and the paired difference.

    The difference to `reference` has a 95 % interval by Student's t over the seeds.
    """
    best = {start: _best(rows, start) for start in dict.fromkeys(row["start"] for row in rows)}
    lines = [f"| start | rate | mean | each seed | minus {reference} |", "| --- | --- | --- | --- | --- |"]
    for start, (rate, scores) in best.items():
        difference = scores - best[reference][1]
        paired = "" if start == reference else _interval(difference)
        each = ", ".join(f"{score:.3g}" for score in scores)
        lines.append(f"| {start} | {rate:g} | {scores.mean():.3g} | {each} | {paired} |")
    return "\n".join(lines)


def _best(rows: list[dict], start: str) -> tuple[float, np.ndarray]:
    """Return the rate with the lowest mean score, and the scores of its seeds. NaN counts as the worst."""
    by_rate: dict[float, dict[int, float]] = {}
    for row in rows:
        if row["start"] == start:
            by_rate.setdefault(row["rate"], {})[row["seed"]] = row["score"]
    means = {rate: np.mean(list(scores.values())) for rate, scores in by_rate.items()}
    rate = min(means, key=lambda rate: math.inf if math.isnan(means[rate]) else means[rate])
    return rate, np.array([by_rate[rate][seed] for seed in sorted(by_rate[rate])])


def _interval(differences: np.ndarray) -> str:
    count = len(differences)
    if count < 2:
        return f"{differences.mean():+.3g}"
    half = stats.t.ppf(0.975, count - 1) * differences.std(ddof=1) / math.sqrt(count)
    return f"{differences.mean():+.3g} ± {half:.2g}"
