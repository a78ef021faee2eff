"""One model under several starts: nothing of it may stay changed, and each start is what it is called."""

import json

import keras
import numpy as np
import pytest

from keras_initx import InitxError, compare, diagnose, initialize, reinitialize
from tests.support import recorder

pytestmark = pytest.mark.one_backend


class TestCompare:
    def test_each_start_is_what_a_call_of_its_own_shows(self, model, x):
        found = compare(model, ["he_normal"], ["auto"], x, seed=3)
        assert list(found.reports) == ["as it is", "he_normal", "initialize: auto"]
        assert found.reports["as it is"] == diagnose(model, x)
        reinitialize(model, "he_normal", seed=3)
        assert found.reports["he_normal"].rows == diagnose(model, x).rows
        initialize(model, "auto", seed=3)
        assert found.reports["initialize: auto"].rows == diagnose(model, x).rows

    def test_weights_and_declared_initializers_come_back(self, model, x):
        before = recorder.values(model)
        config = model.get_config()
        compare(model, ["zeros", keras.initializers.Constant(2.0)], ["lsuv"], x)
        assert recorder.same(before, model)
        assert model.get_config() == config
        # What each weight is known to be drawn from is what `reinitialize` draws it from.
        reinitialize(model, seed=1)
        assert np.std(keras.ops.convert_to_numpy(model.layers[1].kernel)) == pytest.approx(0.25, rel=0.2)

    def test_an_error_in_the_middle_leaves_the_model(self, model, x):
        before, config = recorder.values(model), model.get_config()
        with pytest.raises(InitxError, match="he_nromal"):
            compare(model, ["ones", "he_nromal"], x=x)
        assert recorder.same(before, model)
        assert model.get_config() == config

    def test_html_has_every_start(self, model, x):
        found = compare(model, ["zeros"], x=x)
        assert found._repr_html_().count("<tr>") == 3
        assert "<td>zeros</td>" in found._repr_html_()
        assert repr(found).startswith("<Comparison of ")

    def test_all_starts_see_the_one_batch_of_a_generator(self, model, x):
        found = compare(model, ["he_normal"], ["lsuv"], iter([x[:16], x[16:]]), samples=16)
        expected = compare(model, ["he_normal"], ["lsuv"], x[:16])
        assert {name: report.rows for name, report in found.reports.items()} == {
            name: report.rows for name, report in expected.reports.items()
        }

    def test_two_of_one_name_are_told_apart(self, model, x):
        normal = [keras.initializers.RandomNormal(stddev=s, seed=1) for s in (0.1, 1.0)]
        found = compare(model, normal, x=x, as_is=False)
        assert list(found.reports) == ["RandomNormal", "RandomNormal (2)"]
        stds = [report.rows[0].kernel_std for report in found.reports.values()]
        assert stds == pytest.approx([0.1, 1.0], rel=0.3)

    def test_nothing_to_compare(self, model):
        with pytest.raises(InitxError, match="one initializer or method at least"):
            compare(model, as_is=False)

    def test_tables_and_json(self, model, x):
        found = compare(model, ["zeros"], x=x)
        assert found.table().row_count == 2
        assert "zeros" in str(found)
        assert found.layers().row_count == len(model.layers)
        read = json.loads(found.to_json())
        assert read["reports"]["zeros"]["healthy"] is False
        assert read["reports"]["as it is"]["rows"][0]["std"] == found.reports["as it is"].rows[0].std
