"""The report in words, tables, JSON and HTML."""

import json

import keras
import pytest
from keras import layers

from keras_initx.diagnostics import diagnose
from tests.diagnostics.networks import data, dense


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
