"""The report in words, tables, JSON and HTML, and its event files."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from keras_initx.diagnostics import Finding, Report, diagnose
from tests.support.networks import data, dense, layer_signals

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


class TestSummary:
    """The words of a report on made-up figures."""

    def report(self, rows=(), findings=()):
        return Report("net", 16, np.nan, "of the loss", tuple(rows), findings=tuple(findings))

    def test_problems_come_before_notes_of_which_eight_are_listed(self):
        notes = [Finding("identical", f"w{n}", f"w{n} is equal.") for n in range(10)]
        lines = self.report(findings=[*notes, Finding("dead", "a", "`a` is dead.")]).summary().splitlines()
        assert lines[0] == "net: 1 problem would slow or stop training (0 weighted layers, 16 samples)."
        assert lines[1:3] == ["- `a` is dead.", "- note: w0 is equal."]
        assert lines[-2:] == ["- note: w7 is equal.", "- and 2 more notes in report.findings"]

    def test_notes_alone_are_no_problem(self):
        report = self.report(findings=[Finding("frozen", "", "no weight is trainable.")])
        assert report.healthy
        assert report.summary().startswith("net: no problems found (")

    def test_figures_are_given_as_ranges(self):
        report = self.report(layer_signals((1, {"std": 40.0}), (3, {"gradient_second_moment": 4.0})))
        assert report.summary().splitlines()[1:] == [
            "The pre-activation std ranges from 1 to 40; "
            "1 of 4 layers is outside the usual range of 0.03 to 30.",
            "The gradient rms is 1 at the first layer and 2 at the last (gradients of the loss).",
        ]
        healthy = self.report(layer_signals()).summary().splitlines()
        assert healthy[1] == "The pre-activation std ranges from 1 to 1."


class TestReport:
    def test_json_has_every_figure_and_no_nan(self):
        report = diagnose(dense(depth=2), data(16, 8))
        read = json.loads(report.to_json())
        assert read["rows"][0]["std"] == report.rows[0].std
        assert read["rows"][0]["gradient_norm"] == report.rows[0].gradient_norm
        assert read["loss"] is None
        assert read["healthy"] is True

    @pytest.mark.parametrize("columns", [80, 150])
    def test_table_and_html_have_every_layer(self, monkeypatch, columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        report = diagnose(dense(depth=2), data(16, 8))
        assert max(map(len, str(report).splitlines())) <= columns
        assert ("chi" in str(report)) == (columns == 150)
        for row in report.rows:
            assert row.path in str(report)
            assert row.path in report._repr_html_()

    def test_html_has_the_heads_and_code(self):
        inputs = keras.Input((10, 16))
        attention = layers.MultiHeadAttention(3, 8, name="attention")
        report = diagnose(keras.Model(inputs, attention(inputs, inputs) * 1e-6), data(8, 10, 16))
        assert report._repr_html_().count("<td>attention</td>") == 3
        assert "<code>attention/attention_output</code>" in report._repr_html_() or not report.findings
        bad = diagnose(dense(kernel="zeros", depth=2), data(16, 8))
        assert f"<code>{bad.findings[0].path}</code>" in bad._repr_html_()
        assert "`" not in bad._repr_html_()

    def test_its_repr_is_one_line(self):
        assert repr(diagnose(dense(), data(16, 8))).startswith("<Report: sequential")

    def test_markup_in_names_is_text(self):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(3, name="bold_b_")], name="x")
        report = diagnose(model, data(16, 8))
        object.__setattr__(report, "model", "[bold]<b>x")
        assert "[bold]<b>x" in str(report)
        assert "<b>x" not in report._repr_html_().replace("<p><b>", "")
