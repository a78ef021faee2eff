"""Measure one model: initialize and diagnose it, and train it from both starts at three rates."""

import gc
import time
import traceback
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

import keras_initx
from wild.registry import Batch, Wild

STARTS = ("keras", "initialize")
FACTORS = (1 / 3, 1.0, 3.0)
LAST = 20


def measured(entry: Wild, seeds: int, factors: tuple[float, ...], steps: int) -> dict[str, Any]:
    """Return the row of one model. An exception becomes an entry of its "errors" and never ends the run."""
    row: dict[str, Any] = {"model": entry.name, "seeds": seeds, "factors": list(factors), "steps": steps}
    row |= {"errors": [], "health": {}, "runs": []}
    began = time.perf_counter()
    keras.backend.clear_session()
    gc.collect()
    trainer = None
    for seed in range(seeds):
        starts, model = _starts(entry, seed, row)
        if trainer is None and model is not None:
            trainer = _Trainer(entry, model)
        for name, values in starts.items():
            for factor in factors:
                run = {"seed": seed, "start": name, "factor": factor}
                try:
                    run |= trainer.run(values, factor, steps, seed)
                except Exception as error:
                    run |= {"first": None, "last": None}
                    _note(row, "training", error)
                row["runs"].append(run)
    if trainer is not None:
        row |= {"rate": trainer.rates[0], "ms_per_step": round(trainer.milliseconds(), 2)}
    row["seconds"] = round(time.perf_counter() - began, 1)
    return row


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
        self.drawn: tuple[int, list[Batch]] = (-1, [])
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
        for count in (min(5, steps - last), max(steps - last - 5, 0), last):
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
        if self.drawn[0] != seed or len(self.drawn[1]) < count:
            rng = np.random.default_rng([seed, 1])
            self.drawn = seed, [self.entry.batch(rng) for _ in range(count)]
        return iter(self.drawn[1])

    def milliseconds(self) -> float:
        """Return the mean time of a training step."""
        return 1000 * self.time / max(self.steps, 1)
