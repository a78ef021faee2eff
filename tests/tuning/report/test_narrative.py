"""Test the sentences and rows of a report, read from its page."""

import re
from pathlib import Path

import pytest
from keras_initx.tuning import write_report
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from tests.support.report_page import Page, folder_of, plotly, seeds, trial

pytestmark = pytest.mark.one_backend


@pytest.mark.parametrize(
    ("trials", "lines"),
    [
        ((), ["No trial has begun.", "The study has no trials.", "no score to draw"]),
        (
            (trial("he_auto", 0.9, 0.92),),
            ["1 trial: 1 completed.", "No other trial is completed", "only one trial is completed"],
        ),
        (
            (trial("he_auto", 0.9), trial("zeros", 0.5)),
            ["With one seed per trial, a difference may be chance."],
        ),
        (
            (trial("zeros", state=TrialState.FAIL, reason="it broke"),) * 2,
            ["2 trials: 2 failed.", "No trial is completed, so there is no best one.", "it broke"],
        ),
        (
            (trial("he_auto", 0.9, 0.91), trial("auto", 0.8, state=TrialState.RUNNING)),
            [
                "1 running or interrupted",
                "The search is still running, or was interrupted",
                "val_accuracy 0.905",
            ],
        ),
        (
            (trial("he_auto", 0.9, 0.9), trial("zeros", 0.9, 0.9)),
            ["at least two completed trials of different scores", "every run of each gave the same score"],
        ),
    ],
    ids=["nothing", "one", "one-seed", "all-failed", "running", "all-alike"],
)
def test_a_study_with_little_to_show(
    tmp_path: Path, trials: tuple[FrozenTrial, ...], lines: list[str]
) -> None:
    page = Page(write_report(folder_of(tmp_path, *trials)))
    for sentence in lines:
        assert sentence in page.text
    assert "nan" not in re.sub(r"\w*nan\w+|\w+nan", "", page.text)
    # A page without plots does not contain Plotly's four megabytes.
    assert (plotly() in page.source) == bool(trials)


def test_a_hyperparameter_that_some_trials_lack(page: Page) -> None:
    assert "Left out, since not every completed trial has it: gain." in page.text
    assert set(page.table("share")) == {"hyperparameter", "initializer", "learning_rate"}
    assert "2 completed trials are few for 2 hyperparameters" in page.text


def test_a_study_of_another_program_with_a_single_hyperparameter(tmp_path: Path) -> None:
    rate = {"rate": FloatDistribution(0, 1)}
    alone = [create_trial(value=v, params={"rate": v}, distributions=rate) for v in (0.1, 0.5, 0.9)]
    page = Page(write_report(folder_of(tmp_path, *alone)))
    # A study of another program: one value for each trial, and no seeds.
    assert "Best: trial 2 (rate=0.9), val_accuracy 0.900." in page.text
    assert "no seeds, so a difference may be chance" in page.text
    assert list(page.table("share")) == ["hyperparameter", "rate"]
    assert [cells[1] for cells in list(page.table("95 % interval").values())[1:]] == [
        "0.900",
        "0.500",
        "0.100",
    ]


def test_no_hyperparameter_at_all(tmp_path: Path) -> None:
    bare = [create_trial(value=v) for v in (0.1, 0.2)]
    page = Page(write_report(folder_of(tmp_path, *bare)))
    assert page.text.count("No hyperparameter was searched.") >= 2


def test_the_lowest_loss_is_the_best(tmp_path: Path) -> None:
    page = Page(
        write_report(
            folder_of(
                tmp_path, trial("zeros", 2.0, 2.2), trial("he_auto", 0.00012, 0.00014), direction="minimize"
            )
        )
    )
    assert "Best: trial 1" in page.text
    rows = page.table("95 % interval")
    assert list(rows)[1:] == ["1", "0"]
    # Three decimals would be zeros; and the interval of a loss is not cut at 1.
    assert rows["1"][1] == "0.00013"
    assert float(rows["0"][3].split()[-1]) > 2.2


def test_the_race_decides_and_its_seeds_are_marked(tmp_path: Path) -> None:
    race = {f"race_{n}_{s}": seeds(score)["seed_0"] for n, score in ((0, 0.80), (1, 0.95)) for s in (7, 8)}
    page = Page(
        write_report(folder_of(tmp_path, trial("he_auto", 0.9, 0.94), trial("auto", 0.89, 0.92), **race))
    )
    assert "Best: trial 1 " in page.text
    assert page.tables[1][0] == ["trial", "seed 0", "seed 1", "seed 7*", "seed 8*"]
    assert page.table("seed 7*")["1"][2] == "0.950epoch 2 of 3"
    assert "at most 2 seeds each, which is too few to decide" in page.text
