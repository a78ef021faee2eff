"""Test the summaries of scalars without files; test_writer.py reads all kinds back from files."""

import pytest
from keras_initx.tuning.dashboards.summaries import curve_summaries, objective_summaries

pytestmark = pytest.mark.one_backend


def tags(summaries: list) -> list[str]:
    return [value.tag for summary in summaries for value in summary.value]


def test_summaries_need_no_folder() -> None:
    assert tags(objective_summaries({0: 1.0, 1: 2.0}, "stopped")) == [
        "objective/n",
        "objective/mean",
        "objective/std",
    ]
    assert [(step, summary.value[0].tag) for step, summary in curve_summaries({"loss": [2.0, 1.0]})] == [
        (0, "epoch/loss"),
        (1, "epoch/loss"),
    ]
