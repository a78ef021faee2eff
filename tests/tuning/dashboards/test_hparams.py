"""Test the columns of TensorBoard's HParams page; test_writer.py reads columns and rows back from files."""

import numpy as np
import pytest
from keras_initx.tuning.dashboards.hparams import INACTIVE, Parameter, experiment_summary

pytestmark = pytest.mark.one_backend


class TestParameter:
    @pytest.mark.parametrize(
        ("parameter", "dtype", "values"),
        [
            (Parameter("p", values=("tanh", "relu")), str, [INACTIVE, "relu", "tanh"]),
            (Parameter("p", values=(64, 32)), int, [32, 64]),
            (Parameter("p", values=(1, 0.5)), float, [0.5, 1.0]),
            (Parameter("p", values=(True, False)), bool, [False, True]),
            (Parameter("p", values=(np.int64(3), np.int64(2))), int, [2, 3]),
            (Parameter("p", values=(np.str_("a"),)), str, [INACTIVE, "a"]),
        ],
    )
    def test_discrete(self, parameter: Parameter, dtype: type, values: list) -> None:
        domain = parameter.domain()
        assert domain.dtype is dtype
        assert domain.values == values
        assert {type(value) for value in domain.values} == {dtype}

    @pytest.mark.parametrize(("integer", "dtype"), [(False, float), (True, int)])
    def test_interval(self, integer: bool, dtype: type) -> None:
        domain = Parameter("p", low=np.float32(1), high=8, integer=integer).domain()
        assert (domain.min_value, domain.max_value) == (1, 8)
        assert domain.dtype is dtype

    @pytest.mark.parametrize("values", [("a", 1), (True, 1), (1.0, False)])
    def test_mixed_types(self, values: tuple) -> None:
        with pytest.raises(ValueError, match="must have values of one type, got"):
            Parameter("p", values=values).domain()

    @pytest.mark.parametrize("domain", [{}, {"values": ()}, {"low": 1.0}, {"high": 1.0}])
    def test_no_domain(self, domain: dict) -> None:
        with pytest.raises(ValueError, match="needs values, or both low and high"):
            Parameter("p", **domain).domain()


@pytest.mark.parametrize("names", [("status",), ("units", "units")])
def test_a_name_that_is_taken(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="must be unique and differ from 'status', got"):
        experiment_summary([Parameter(name, values=(1, 2)) for name in names], [])
