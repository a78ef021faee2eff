"""What is said while a search runs: a line for each trial, in a log too."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from keras_initx.tuning import OptunaOracle
from keras_initx.tuning.dashboards.progress_bar import ProgressObserver
from rich.console import Console

pytestmark = pytest.mark.one_backend


def test_a_log_with_times_beside_the_results(quick: Any, tmp_path: Path) -> None:
    quick(initializers=["zeros", "he_normal"], learning_rates=[0.1], tuner="grid", trials=None)
    lines = (tmp_path / "results/search.log").read_text().splitlines()
    assert len(lines) == 2
    assert all(re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d trial \d", line) for line in lines)
    assert any(" screened: initializer=zeros learning_rate=0.1: symmetric" in line for line in lines)
    assert "(2 of 2, 1 screened" in lines[1]


def test_the_log_goes_on_when_the_search_does_and_ends_with_overwrite(quick: Any, tmp_path: Path) -> None:
    log = tmp_path / "results/search.log"
    quick(trials=1)
    quick(trials=3, resume=True)
    assert [line.split(" trial ")[1][0] for line in log.read_text().splitlines()] == ["0", "1", "2"]
    quick(trials=1, overwrite=True)
    assert len(log.read_text().splitlines()) == 1


def test_a_bar_with_the_best_its_interval_and_what_ended_early(quick: Any) -> None:
    found = quick(initializers=["zeros", "he_normal"], learning_rates=[0.1], tuner="grid", trials=None)
    oracle: OptunaOracle = found.tuner.oracle
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=200)
    with ProgressObserver(oracle, 2, 2, console) as bar:
        for trial in oracle.get_best_trials(1):
            bar.on_trial_begin(trial, [0, 1])
            bar.on_trial_end(trial, "completed")
    shown = text.getvalue()
    assert re.search(r"best 0\.\d{3} ± 0\.\d{3} \(n=2\) \[0\.\d{3}, [01]\.\d{3}\], 1 screened", shown)
    # The bar says it: no line besides.
    assert "trial 1 completed" not in shown


def test_nothing_is_logged_by_a_silent_helper(quick: Any, tmp_path: Path) -> None:
    quick(trials=1, join=True)
    assert not (tmp_path / "results/search.log").exists()
