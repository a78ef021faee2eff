"""Test the data and the colours of the plots, read from the page."""

from pathlib import Path

import pytest
from keras_initx.tuning import write_report
from optuna.trial import TrialState, create_trial

from tests.support.report_page import Page, folder_of, plots, trial

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_plots_show_the_numbers_and_the_best_trial_in_blue(tmp_path: Path, direction: str) -> None:
    low, high = trial("zeros", 0.1, 0.2), trial("auto", 0.7, 0.9)
    pruned = trial("auto", 0.3, state=TrialState.PRUNED)
    folder = folder_of(tmp_path, low, high, pruned, direction=direction)
    charts = plots(Page(write_report(folder)))
    curves, (during, parallel, slices, history, timeline) = charts[:3], charts[3:]
    first = curves[0 if direction == "minimize" else 1]
    assert [(line["name"], line["x"], line["y"]) for line in first] == [
        ("seed 0", [1, 2, 3], [0.05, 0.1, 0.1 / 3]),
        ("seed 1", [1, 2, 3], [0.1, 0.2, 0.2 / 3]),
    ]
    assert [line["y"] for line in during] == [[0.1, 0.2], [0.7, 0.9], [0.3]]
    assert history[0]["y"] == [pytest.approx(0.15), pytest.approx(0.8)]
    assert {tuple(dots["y"]) for dots in slices if len(dots["y"]) > 1} == {tuple(history[0]["y"])}
    assert {bars["name"]: bars["marker"]["color"] for bars in timeline} == {
        "COMPLETE": "#0072B2",
        "PRUNED": "#E69F00",
    }
    colours = [line["line"]["color"] for line in parallel if line["mode"] == "lines"]
    blue, orange = "rgb(0, 114, 178)", "rgb(230, 159, 0)"
    assert colours == ([blue, orange] if direction == "minimize" else [orange, blue])
    (scale,) = [trace["marker"] for trace in parallel if trace["mode"] == "markers"]
    assert scale.get("reversescale", False) == (direction == "minimize")
    assert scale["colorscale"][-1][1].lower() == "#0072b2"


def test_a_surplus_trial_is_left_out_and_the_others_keep_their_numbers(tmp_path: Path) -> None:
    surplus = create_trial(state=TrialState.FAIL, user_attrs={"surplus": True})
    waiting = create_trial(state=TrialState.WAITING)
    page = Page(write_report(folder_of(tmp_path, surplus, trial("auto", 0.8, 0.9), waiting)))
    assert "1 trial: 1 completed." in page.text
    assert list(page.table("95 % interval"))[1:] == ["1"]
    timeline = {bars["name"]: bars["y"] for bars in plots(page)[-1]}
    assert timeline["COMPLETE"] == [1]
    assert "WAITING" not in timeline
