"""Test the progress of a search: a bar on a terminal, lines elsewhere and in the log."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from keras_initx.tuning import OptunaOracle, SearchResult
from keras_initx.tuning.dashboards.progress_bar import ProgressObserver
from rich.console import Console

pytestmark = pytest.mark.one_backend


def test_the_log_has_a_line_with_the_time_for_each_trial(screened_search: SearchResult) -> None:
    lines = (screened_search.folders.results / "search.log").read_text().splitlines()
    assert len(lines) == 2
    assert all(re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d trial \d", line) for line in lines)
    assert any(" screened: initializer=zeros learning_rate=0.1: symmetric" in line for line in lines)
    assert "(2 of 2, 1 screened" in lines[1]


def test_the_log_continues_with_the_search_and_restarts_with_overwrite(quick: Any, tmp_path: Path) -> None:
    log = tmp_path / "results/search.log"
    quick(trials=1, seeds=1)
    quick(trials=2, seeds=1, mode="resume")
    assert [line.split(" trial ")[1][0] for line in log.read_text().splitlines()] == ["0", "1"]
    quick(trials=1, seeds=1, epochs=1, mode="overwrite")
    assert len(log.read_text().splitlines()) == 1


def test_the_bar_shows_the_best_trial_its_interval_and_early_ends(screened_search: SearchResult) -> None:
    oracle: OptunaOracle = screened_search.tuner.oracle
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=200)
    with ProgressObserver(oracle, 2, 2, console) as bar:
        for trial in oracle.get_best_trials(1):
            bar.on_trial_begin(trial, [0, 1])
            bar.on_trial_end(trial, "completed")
    shown = text.getvalue()
    assert re.search(r"best 0\.\d{3} ± 0\.\d{3} \(n=2\) \[0\.\d{3}, [01]\.\d{3}\], 1 screened", shown)
    # With a bar there are no lines.
    assert "trial 1 completed" not in shown


def test_a_search_that_finds_all_trials_finished_says_so(quick: Any, tmp_path: Path) -> None:
    quick(trials=1, seeds=1, epochs=1)
    quick(trials=1, seeds=1, epochs=1, mode="resume")
    first, second = (tmp_path / "results/search.log").read_text().splitlines()
    assert " trial 0 " in first
    assert second.endswith(" Nothing to run: every trial of the study is finished (1 in all).")


def test_a_quiet_process_that_joins_writes_no_log(quick: Any, tmp_path: Path) -> None:
    quick(trials=1, seeds=1, epochs=1, mode="join")
    assert not (tmp_path / "results/search.log").exists()
