"""Run `benchmarks/models_in_the_wild.py` on small models, and check what its table says."""

import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy import stats

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = [
    pytest.mark.one_backend,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="some models train by GradientTape"),
]


@pytest.fixture
def wild(monkeypatch):
    """Import the benchmark as its command does, and give back the environment that it sets."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, {"KERAS_BACKEND": "tensorflow"}.get(name, "3"))
    import models_in_the_wild

    return models_in_the_wild


def _row(name, own, other, factors=(1.0,), **options):
    runs = [
        {"start": start, "seed": seed, "factor": factor, "first": 1.0, "last": value}
        for start, values in (("keras", own), ("initialize", other))
        for factor, by_seed in zip(factors, values, strict=True)
        for seed, value in enumerate(by_seed)
    ]
    return {"model": name, "runs": runs, "errors": [], "health": {}, "rate": 1e-3, "seconds": 1.0} | options


def test_a_quick_run_trains_both_starts_on_the_same_batches(wild):
    (row,) = wild.main(["--quick", "--only", "mixture density", "--steps", "4"])
    assert row["errors"] == []
    assert [(run["start"], run["factor"]) for run in row["runs"]] == [("keras", 1.0), ("initialize", 1.0)]
    assert set(row["health"]) == {"keras", "initialize"}
    assert all(np.isfinite([run["first"], run["last"]]).all() for run in row["runs"])
    again = wild.main(["--quick", "--only", "mixture density", "--steps", "4"])[0]
    assert again["runs"] == row["runs"]


def test_every_run_starts_from_the_same_weights_and_optimizer(wild):
    from wild.trials import _Trainer, _values

    entry = wild.MODELS["mixture density"]
    model = entry.build()
    trainer, values = _Trainer(entry, model), _values(model)
    first = trainer.run(values, 1.0, 6, seed=0)
    assert trainer.run(values, 3.0, 6, seed=0) != first
    assert trainer.run(values, 1.0, 6, seed=0) == first


def test_an_error_becomes_a_row(wild, tmp_path, monkeypatch):
    def broken():
        raise RuntimeError("no such layer")

    monkeypatch.setitem(wild.MODELS, "broken", wild.MODELS["MADE"].__class__("broken", "", broken, None))
    results = tmp_path / "rows.jsonl"
    arguments = [
        "--only",
        "broken",
        "--seeds",
        "2",
        "--results",
        str(results),
        "--write",
        str(tmp_path / "a.md"),
    ]
    (row,) = wild.main(arguments)
    assert [entry["error"] for entry in row["errors"]] == ["build: RuntimeError: no such layer"]
    assert json.loads(results.read_text())["model"] == "broken"
    assert "- broken: build: RuntimeError: no such layer" in (tmp_path / "a.md").read_text()
    wild.main(arguments)
    assert len(results.read_text().splitlines()) == 1


def test_the_difference_is_a_paired_interval_on_logarithms(wild):
    from wild.table import outcome

    rng = np.random.default_rng(0)
    words = set()
    for shift in (0.0, 0.5, -0.5):
        own = rng.uniform(0.5, 2, 3)
        other = own * np.exp(shift + rng.normal(0, 0.1, 3))
        found = outcome(_row("MADE", [own.tolist()], [other.tolist()]))
        test = stats.ttest_rel(np.log(other), np.log(own))
        assert found.difference == pytest.approx(np.log(other / own).mean())
        assert found.difference / found.error == pytest.approx(test.statistic)
        assert (found.word == "same") == (test.pvalue > 0.05)
        words.add(found.word)
    assert words == {"same", "worse", "better"}


def test_each_start_is_taken_at_its_own_best_rate(wild):
    from wild.table import outcome

    row = _row("MADE", [[3.0, 3.0], [1.0, 2.0]], [[0.5, 1.0], [None, 0.1]], (1 / 3, 1.0))
    found = outcome(row)
    assert found.factor == {"keras": 1.0, "initialize": 1 / 3}
    assert found.last == {"keras": 1.5, "initialize": 0.75}
    assert found.difference == pytest.approx(-math.log(2))


@pytest.mark.parametrize("best", [(0, 0), (1, -2), (3, 0), (9, 2), (-1, 2)])
@pytest.mark.parametrize("diverges_at", [2, 9])
def test_the_rates_widen_until_each_start_is_best_between_two(wild, best, diverges_at):
    from wild.grid import FACTORS, factors

    row = {"model": "MADE", "runs": []}
    for factor in factors(row, FACTORS, widens=True):
        power = round(math.log(factor, 3))
        for start, at in zip(("keras", "initialize"), best, strict=True):
            last = None if power >= diverges_at else 1.0 + abs(power - at)
            row["runs"].append({"start": start, "seed": 0, "factor": factor, "first": 1.0, "last": last})
    tried = [run["factor"] for run in row["runs"][::2]]
    # One rate beyond the best of each start, or the first that diverges, within 1/27 to 27.
    reach = [min(at, diverges_at - 1) for at in best]
    low, high = max(min(reach) - 1, -3), min(max(reach) + 1, 3)
    assert sorted(tried) == [3.0**power for power in range(min(low, -1), max(high, 1) + 1)]


def test_rates_fall_while_every_run_diverges(wild):
    from wild.grid import best_factor, next_factor

    row = _row("MADE", [[None], [None]], [[None], [None]], (1 / 3, 1.0))
    assert best_factor(row, "keras") is None
    assert next_factor(row) == 1 / 9
    row = _row("MADE", [[None], [None]], [[None], [None]], (1 / 27, 1.0))
    assert next_factor(row) is None


def test_runs_of_an_earlier_row_count_if_the_start_is_the_same(wild, monkeypatch):
    from wild.trials import measured

    import keras_initx

    entry = wild.MODELS["mixture density"]
    options = {"widens": False}
    row = measured(entry, 1, (1.0,), 12, **options)
    marked = [{**run, "last": 7.0} for run in row["runs"]]
    again = measured(entry, 1, (1.0, 3.0), 12, **options, earlier={**row, "runs": marked})
    assert [run["last"] for run in again["runs"] if run["factor"] == 1.0] == [7.0, 7.0]
    assert all(run["last"] != 7.0 for run in again["runs"] if run["factor"] == 3.0)
    # A changed `initialize` repeats its own runs and keeps the runs of Keras's start.
    true_initialize = keras_initx.initialize
    monkeypatch.setattr(keras_initx, "initialize", lambda part, seed: true_initialize(part, seed=seed + 1))
    again = measured(entry, 1, (1.0,), 12, **options, earlier={**row, "runs": marked})
    assert [run["last"] == 7.0 for run in again["runs"]] == [True, False]


def test_the_page_shows_rates_remarks_and_rows_that_are_older(wild, tmp_path):
    rows = [
        _row("Deep Sets", [[1.0, 2.0]] * 3, [[1.0, 2.0]] * 3, (1 / 3, 1.0, 3.0)),
        _row("MADE", [[1.0]], [[1.0]]),
    ]
    for row, name in zip(rows, ("old", "new"), strict=True):
        (tmp_path / name).write_text(json.dumps(row | {"seeds": 2, "steps": 200}))
    files = [
        "--recheck",
        str(tmp_path / "old"),
        "--results",
        str(tmp_path / "new"),
        "--write",
        str(tmp_path / "a.md"),
    ]
    assert [row["model"] for row in wild.main(["--report-only", *files])] == ["MADE", "Deep Sets"]
    text = (tmp_path / "a.md").read_text()
    assert "1/3 to 3, open" in text
    assert "Measured before the last change of the code, not yet again: Deep Sets." in text
    assert f"- Deep Sets: {wild.MODELS['Deep Sets'].remark}." in text


def test_a_log_likelihood_is_compared_in_nats(wild):
    from wild.table import outcome

    found = outcome(_row("RealNVP", [[-1.0, 0.5]], [[-1.5, -0.5]]))
    assert found.difference == pytest.approx(-0.75)


def test_a_start_that_never_ends_finite_is_worse(wild):
    from wild.table import outcome

    assert outcome(_row("MADE", [[1.0, 1.0]], [[None, 1.0]])).word == "worse"
    assert outcome(_row("MADE", [[None, 1.0]], [[1.0, 1.0]])).word == "better"


@pytest.mark.slow
def test_every_model_builds_and_is_called_on_its_data(wild):
    assert len(wild.MODELS) >= 40
    for name, entry in wild.MODELS.items():
        model = entry.build()
        parts = entry.parts(model, *entry.batch(np.random.default_rng(0)))
        for part, x, y in parts:
            outputs = keras.tree.flatten(part(keras.tree.map_structure(keras.ops.convert_to_tensor, x)))
            assert all(np.isfinite(keras.ops.convert_to_numpy(output)).all() for output in outputs), name
            assert y is None or len(keras.tree.flatten(y)[0]) == len(keras.tree.flatten(x)[0]), name
