import io
import json
import math

import keras
import pytest
from rich.console import Console

from keras_initx import Plan, PlanRow, initialize
from tests.support import zoo

pytestmark = pytest.mark.check


@pytest.fixture(scope="module")
def plan():
    return initialize(zoo.lstm_tagger(), seed=0)


def test_the_table_has_every_weight(plan):
    text = io.StringIO()
    Console(width=160, file=text).print(plan.table())
    for row in plan.rows:
        assert row.path.rpartition("/")[2] in text.getvalue()
    assert plan.summary() in str(plan)


def test_json_has_no_nan(plan):
    parsed = json.loads(plan.to_json(), parse_constant=lambda name: pytest.fail(name))
    assert len(parsed["rows"]) == len(plan.rows)
    # Recurrent kernels are not measured.
    assert any(row["rms_after"] is None for row in parsed["rows"])
    assert all(math.isnan(row.rms_after) for row in plan.rows if row.path.endswith("recurrent_kernel"))


def test_html_is_escaped():
    row = PlanRow("<b>", "Dense", (1, 1), "relu", (), 1, "auto", 1, 1, 1, 1, 1, 1, 0, "", "a < b & c")
    page = Plan("model", "auto", (row,), ("<i>",))._repr_html_()
    assert "&lt;b&gt;" in page
    assert "a &lt; b &amp; c" in page
    assert "&lt;i&gt;" in page
    assert "<b></b>" not in page


def test_fans_and_gain_describe_the_weight():
    x = keras.Input((9, 9, 64))
    model = keras.Model(x, keras.layers.DepthwiseConv2D(3, activation="relu")(x))
    row = initialize(model, "variance", seed=0).rows[0]
    assert row.fan_in == 9
    assert row.gain == pytest.approx(2, rel=0.2)
    assert row.shape == (3, 3, 64, 1)


def test_names_with_brackets_are_printed():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="block[bold]")])
    assert "block[bold]" in str(initialize(model, seed=0))


def test_the_summary_counts_in_the_singular_and_the_plural():
    for units, words in ((1, "1 weight by"), (2, "2 weights by")):
        layers = [keras.layers.Dense(3, use_bias=False) for _ in range(units)]
        model = keras.Sequential([keras.Input((4,)), *layers])
        assert f": would initialize {words}" in initialize(model, dry_run=True).summary()
