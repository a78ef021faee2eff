"""Test the tables as they are printed."""

import io
from typing import Any

import keras_tuner
import pytest
from keras_initx.tuning.report.tables import cross_table, ranking
from keras_initx.tuning.study.results import TrialResult
from rich.console import Console
from rich.table import Table

pytestmark = pytest.mark.one_backend

REASON = "ValueError: [/dense] of shape [3, 4] | [bold]"


def trial(
    number: int, *scores: float, status: str = "completed", reason: str = "", **values: Any
) -> TrialResult:
    return TrialResult(number, values, status, reason, {i: {"score": s} for i, s in enumerate(scores)})


TRIALS = (
    trial(0, 0.5, 0.6, initializer="auto", rate=0.001),
    trial(1, status="failed", reason=REASON, initializer="zeros", rate=0.001),
    trial(2, 0.8, 0.9, initializer="auto", rate=0.01, gain=2.0),
    trial(3, 0.2, initializer="zeros", rate=0.01),
)


def shown(table: Table) -> str:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def column(table: Table, number: int) -> list[str]:
    return [str(cell) for cell in table.columns[number].cells]


@pytest.mark.parametrize(("direction", "order"), [("max", "2031"), ("min", "3021")])
def test_ranking(direction: str, order: str) -> None:
    table = ranking(TRIALS, keras_tuner.Objective("val_accuracy", direction))
    headers = [str(c.header) for c in table.columns]
    assert headers == ["trial", "hyperparameters", "val_accuracy", "95 % interval", "status"]
    assert column(table, 0) == list(order)
    at = order.index("2")
    assert column(table, 1)[at] == "initializer=auto rate=0.01 gain=2"
    assert column(table, 2)[at] == "0.850 ± 0.071 (n=2)"
    assert column(table, 3)[at] == "0.215 to 1.000"
    # One seed has no interval; a failed trial has no scores either.
    assert column(table, 3)[order.index("3")] == "–"
    assert [column(table, i)[-1] for i in (2, 3)] == ["–", "–"]


def test_a_reason_is_shown_unchanged() -> None:
    assert f"failed: {REASON}" in shown(ranking(TRIALS, keras_tuner.Objective("val_accuracy", "max")))


def test_nothing_to_rank() -> None:
    assert "status" in shown(ranking((), keras_tuner.Objective("val_accuracy", "max")))


@pytest.mark.parametrize(("direction", "best"), [("max", "0.850"), ("min", "0.200")])
def test_cross_table(direction: str, best: str) -> None:
    table = cross_table(TRIALS, "initializer", "rate", direction, "Title")
    assert [str(c.header) for c in table.columns] == ["initializer", "0.001", "0.01"]
    cells = [column(table, i) for i in range(3)]
    assert cells[0] == ["auto", "zeros"]
    assert cells[1] == ["0.550 ± 0.071 (n=2)", "–"]
    bold = [c for line in cells for c in line if c.startswith("[bold]")]
    assert len(bold) == 1
    assert bold[0].startswith(f"[bold]{best}")


def test_cross_table_of_nothing_completed() -> None:
    assert "zeros" in shown(cross_table(TRIALS[1:2], "initializer", "rate", "max", "Title"))
