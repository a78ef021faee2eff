"""`compare` measures each start under its name, and leaves the model unchanged."""

import json

import keras
import numpy as np
import pytest

from keras_initx import InitxError, compare, diagnose, initialize, reinitialize
from tests.support import recorder

pytestmark = pytest.mark.one_backend


class TestCompare:
    @pytest.mark.usefixtures("compiled_pass")
    def test_each_start_is_measured_like_a_separate_call(self, model, x):
        comparison = compare(model, ["he_normal"], ["auto"], x, seed=3)
        assert list(comparison.reports) == ["as it is", "he_normal", "initialize: auto"]
        assert comparison.reports["as it is"] == diagnose(model, x)
        reinitialize(model, "he_normal", seed=3)
        assert comparison.reports["he_normal"].rows == diagnose(model, x).rows
        initialize(model, "auto", seed=3)
        assert comparison.reports["initialize: auto"].rows == diagnose(model, x).rows

    def test_weights_and_declared_initializers_come_back(self, model, x):
        before = recorder.values(model)
        config = model.get_config()
        compare(model, ["zeros", keras.initializers.Constant(2.0)], ["lsuv"], x)
        assert recorder.same(before, model)
        assert model.get_config() == config
        # `reinitialize` still draws each weight from its declared initializer.
        reinitialize(model, seed=1)
        assert np.std(keras.ops.convert_to_numpy(model.layers[1].kernel)) == pytest.approx(0.25, rel=0.2)

    def test_an_error_midway_leaves_the_model_unchanged(self, model, x):
        before, config = recorder.values(model), model.get_config()
        with pytest.raises(InitxError, match="he_nromal"):
            compare(model, ["ones", "he_nromal"], x=x)
        assert recorder.same(before, model)
        assert model.get_config() == config

    def test_a_method_that_does_not_apply_gets_a_row_with_the_reason(self, model, x, monkeypatch):
        before = recorder.values(model)
        comparison = compare(model, [], ["residual", "auto", "residual"], x)
        assert list(comparison.reports) == ["as it is", "initialize: auto"]
        assert list(comparison.refused) == ["initialize: residual", "initialize: residual (2)"]
        reason = "no kernel of the model ends a residual branch"
        # A narrow terminal would break the reason.
        monkeypatch.setenv("COLUMNS", "200")
        assert "does not apply" in str(comparison)
        assert reason in comparison._repr_html_()
        assert comparison._repr_html_().count("<tr>") == 5
        assert reason in json.loads(comparison.to_json())["refused"]["initialize: residual"]
        assert recorder.same(before, model)
        with pytest.raises(InitxError, match=reason):
            compare(model, [], ["residual"], x, as_is=False)

    def test_an_unknown_method_is_an_error_before_any_draw(self, model, x):
        with pytest.raises(InitxError, match=r"^`methods` 'atuo' is not known. Did you mean 'auto'"):
            compare(model, [], ["residual", "atuo"], x)

    def test_html_has_every_start(self, model, x):
        comparison = compare(model, ["zeros"], x=x)
        assert comparison._repr_html_().count("<tr>") == 3
        assert "<td>zeros</td>" in comparison._repr_html_()
        assert repr(comparison).startswith("<Comparison of ")

    def test_all_starts_see_the_one_batch_of_a_generator(self, model, x):
        comparison = compare(model, ["he_normal"], ["lsuv"], iter([x[:16], x[16:]]), samples=16)
        expected = compare(model, ["he_normal"], ["lsuv"], x[:16])
        assert {name: report.rows for name, report in comparison.reports.items()} == {
            name: report.rows for name, report in expected.reports.items()
        }

    def test_two_starts_of_the_same_name_are_numbered(self, model, x):
        normal = [keras.initializers.RandomNormal(stddev=s, seed=1) for s in (0.1, 1.0)]
        comparison = compare(model, normal, x=x, as_is=False)
        assert list(comparison.reports) == ["RandomNormal", "RandomNormal (2)"]
        stds = [report.rows[0].kernel_std for report in comparison.reports.values()]
        assert stds == pytest.approx([0.1, 1.0], rel=0.3)

    def test_nothing_to_compare(self, model):
        with pytest.raises(
            InitxError, match=r"There is nothing to compare.*Pass at least one initializer or method"
        ):
            compare(model, as_is=False)

    @pytest.mark.parametrize("argument", ["initializers", "methods"])
    def test_a_name_instead_of_a_list(self, model, argument):
        with pytest.raises(
            InitxError, match=rf"`{argument}` must be a list of names, got 'auto'.*=\['auto'\]"
        ):
            compare(model, **{argument: "auto"})

    def test_tables_and_json(self, model, x):
        comparison = compare(model, ["zeros"], x=x)
        assert comparison.table().row_count == 2
        assert "zeros" in str(comparison)
        assert comparison.layers().row_count == len(model.layers)
        read = json.loads(comparison.to_json())
        assert read["reports"]["zeros"]["healthy"] is False
        assert read["reports"]["as it is"]["rows"][0]["std"] == comparison.reports["as it is"].rows[0].std
