"""Measure one model: initialize and diagnose it, and train it from both starts at several rates."""

import gc
import time
import traceback
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

import keras_initx
from wild.grid import STARTS, factors
from wild.registry import Batch, Wild

FIRST, LAST = 5, 20


def measured(
    entry: Wild,
    seeds: int,
    first_factors: tuple[float, ...],
    steps: int,
    *,
    widens: bool = True,
    earlier: dict | None = None,
) -> dict[str, Any]:
    """Return the row of one model. An exception becomes an entry of its "errors" and never ends the run.

    Args:
        entry: The model.
        seeds: How many seeds.
        first_factors: The factors on the source's rate to begin with.
        steps: How many steps each run takes.
        widens: Whether further factors are tried until each start is best inside of those tried.
        earlier: An earlier row of the model, whose runs count if their first steps still come out the same.
    """
    row: dict[str, Any] = {"model": entry.name, "seeds": seeds, "steps": steps}
    row |= {"errors": [], "health": {}, "runs": []}
    began = time.perf_counter()
    keras.backend.clear_session()
    gc.collect()
    trainer, every_start = None, []
    for seed in range(seeds):
        starts, model = _starts(entry, seed, row)
        every_start += [(seed, name, values) for name, values in starts.items()]
        if trainer is None and model is not None:
            trainer = _Trainer(entry, model)
    known = _known_runs(trainer, every_start, row, earlier)
    for factor in factors(row, first_factors, widens=widens):
        for seed, name, values in every_start:
            run = {"seed": seed, "start": name, "factor": factor}
            if (seed, name, factor) in known:
                run = known[seed, name, factor]
            else:
                run |= _run(trainer, values, factor, steps, seed, row)
            row["runs"].append(run)
    if trainer is not None:
        row |= {"rate": trainer.rates[0], "ms_per_step": round(trainer.milliseconds(), 2)}
    row["seconds"] = round(time.perf_counter() - began, 1)
    return row


def _known_runs(trainer: "_Trainer | None", every_start: list, row: dict, earlier: dict | None) -> dict:
    """Return the runs of an earlier row that began with today's weights, by seed, start and factor.

    A start has the same weights as then if its first steps at the lowest rate give the same measure.
    """
    if earlier is None or earlier["steps"] != row["steps"]:
        return {}
    known = {}
    for seed, name, values in every_start:
        runs = [r for r in earlier["runs"] if (r["seed"], r["start"]) == (seed, name)]
        lowest = min(runs, key=lambda run: run["factor"], default=None)
        if lowest is None or lowest["first"] is None:
            continue
        today = _run(trainer, values, lowest["factor"], 2 * FIRST, seed, row)["first"]
        if today is not None and abs(today - lowest["first"]) <= 1e-5 * abs(today):
            known |= {(seed, name, run["factor"]): run for run in runs}
    return known


def _run(trainer: "_Trainer", values: list, factor: float, steps: int, seed: int, row: dict) -> dict:
    try:
        return trainer.run(values, factor, steps, seed)
    except Exception as error:
        _note(row, "training", error)
        return {"first": None, "last": None}


def _starts(entry: Wild, seed: int, row: dict) -> tuple[dict[str, list], keras.Model | None]:
    """Return the weights of both starts, and the model that they are of. Diagnose it for the first seed."""
    try:
        keras.utils.set_random_seed(seed)
        model = entry.build()
        x, y = entry.batch(np.random.default_rng([seed, 99]))
        parts = entry.parts(model, x, y)
    except Exception as error:
        _note(row, "build", error)
        return {}, None
    starts = {STARTS[0]: _values(model)}
    _diagnose(parts, seed, STARTS[0], row)
    try:
        for part, _, _ in parts:
            keras_initx.initialize(part, seed=seed)
        starts[STARTS[1]] = _values(model)
        _diagnose(parts, seed, STARTS[1], row)
    except Exception as error:
        _note(row, "initialize", error)
    return starts, model


def _diagnose(parts: list, seed: int, start: str, row: dict) -> None:
    if seed:
        return
    try:
        reports = [keras_initx.diagnose(part, x, y) for part, x, y in parts]
    except Exception as error:
        _note(row, f"diagnose {start}", error)
        return
    found = [finding for report in reports for finding in report.findings]
    row["health"][start] = {
        "healthy": all(report.healthy for report in reports),
        "verdicts": list(dict.fromkeys(finding.verdict for finding in found)),
        "texts": [f"{finding.verdict}: {finding.text}" for finding in found],
    }


def _note(row: dict, stage: str, error: Exception) -> None:
    """Add an error to the row, once, as one line; the traceback's end tells where it was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = f"{stage}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if text not in [entry["error"] for entry in row["errors"]]:
        row["errors"].append({"error": text, "at": f"{frame.filename}:{frame.lineno}"})


def _values(model: keras.Model) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable) for variable in model.variables]


class _Trainer:
    """Train one compiled model again and again, each time from other weights."""

    def __init__(self, entry: Wild, model: keras.Model) -> None:
        self.entry, self.model = entry, model
        optimizers = [v for v in vars(model).values() if isinstance(v, keras.optimizers.Optimizer)]
        self.optimizers = list({id(v): v for v in [model.optimizer, *optimizers]}.values())
        for optimizer in self.optimizers:
            if not optimizer.built:
                optimizer.build(model.trainable_variables)
        self.rates = [float(keras.ops.convert_to_numpy(v.learning_rate)) for v in self.optimizers]
        self.fresh = [[keras.ops.convert_to_numpy(v) for v in o.variables] for o in self.optimizers]
        self.variables = list(model.variables)
        self.drawn: dict[int, list[Batch]] = {}
        self.steps, self.time = 0, 0.0

    def run(self, values: list[np.ndarray], factor: float, steps: int, seed: int) -> dict[str, float | None]:
        """Return the measure over the first and the last steps; None for one that is not finite."""
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)
        for optimizer, rate, fresh in zip(self.optimizers, self.rates, self.fresh, strict=True):
            for variable, value in zip(optimizer.variables, fresh, strict=True):
                variable.assign(value)
            optimizer.learning_rate = rate * factor
        last = min(LAST, steps // 2)
        results = []
        batches = self._batches(seed, steps)
        for count in (min(FIRST, steps - last), max(steps - last - FIRST, 0), last):
            self.model.reset_metrics()
            logs = {}
            for _ in range(count):
                batch = next(batches)
                began = time.perf_counter()
                logs = self.model.train_on_batch(*batch, return_dict=True)
                self.time += time.perf_counter() - began
            self.steps += count
            if count:
                value = float(logs[self.entry.measure])
                results.append(value if np.isfinite(value) else None)
        return {"first": results[0], "last": results[-1]}

    def _batches(self, seed: int, count: int) -> Iterator[Batch]:
        """Yield the same batches for every run of a seed; they are drawn once."""
        if len(self.drawn.get(seed, [])) < count:
            rng = np.random.default_rng([seed, 1])
            self.drawn[seed] = [self.entry.batch(rng) for _ in range(count)]
        return iter(self.drawn[seed])

    def milliseconds(self) -> float:
        """Return the mean time of a training step."""
        return 1000 * self.time / max(self.steps, 1)
