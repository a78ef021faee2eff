"""The limits of each verdict, on figures just within and just beyond them."""

import math

import pytest

from keras_initx.diagnostics import HeadSignal
from keras_initx.diagnostics.verdicts import head_verdicts, layer_finding, layer_verdicts
from tests.support.networks import layer_signals

pytestmark = pytest.mark.one_backend


class TestLimits:
    """Each verdict starts at its documented limit and not before."""

    @pytest.mark.parametrize(
        ("verdict", "beyond", "within"),
        [
            ("exploding", {"std": 1.1e3}, {"std": 0.9e3}),
            ("exploding", {"gradient_second_moment": 1.1e10}, {"gradient_second_moment": 0.9e10}),
            ("exploding", {"periods": 1.01}, {"periods": 0.99}),
            ("symmetric", {"unit_spread": 0.9e-4, "gradient_unit_spread": 0.0}, {"unit_spread": 0.9e-4}),
            # Half and three standard errors of a fair coin for 64 units; all units for a few.
            ("dead", {"dead": 0.69, "shape": (8, 64)}, {"dead": 0.68, "shape": (8, 64)}),
            ("dead", {"dead": 0.516, "shape": (8, 10000)}, {"dead": 0.514, "shape": (8, 10000)}),
            ("dead", {"dead": 1.0, "shape": (8, 4)}, {"dead": 0.75, "shape": (8, 4)}),
            ("saturated", {"saturated": 0.51}, {"saturated": 0.49}),
            ("saturated", {"saturated": 0.51, "is_output": True}, {"saturated": 0.49, "is_output": True}),
            (
                "saturated",
                {"saturated": 0.51, "is_output": True, "spread": 1.01},
                {"saturated": 0.51, "is_output": True, "spread": 0.99},
            ),
            ("non-finite", {"not_finite": 1e-6}, {"not_finite": 0.0}),
            ("non-finite", {"gradient_not_finite": 1e-6}, {"gradient_not_finite": 0.0}),
        ],
    )
    def test_verdicts_of_one_layer(self, verdict, beyond, within):
        for change, expected in ((beyond, (verdict,)), (within, ())):
            signals = layer_signals((1, change))
            assert layer_verdicts(signals[1], signals) == expected

    def test_a_signal_vanishes_only_if_no_later_layer_has_one(self):
        lost = layer_signals(*((n, {"std": 0.9e-3}) for n in (1, 2, 3)))
        assert [layer_verdicts(row, lost) for row in lost] == [(), *[("vanishing",)] * 3]
        back = layer_signals((1, {"std": 0.9e-3}))
        assert not any(layer_verdicts(row, back) for row in back)
        kept = layer_signals(*((n, {"std": 1.1e-3}) for n in (1, 2, 3)))
        assert not any(layer_verdicts(row, kept) for row in kept)

    @pytest.mark.parametrize(
        ("verdict", "beyond", "within"),
        [
            ("inputs alike", {"spread": 0.9e-3}, {"spread": 1.1e-3}),
            ("rank collapse", {"token_cosine": 0.99995}, {"token_cosine": 0.9998}),
        ],
    )
    def test_samples_or_tokens_are_alike_only_if_no_later_layer_tells_them_apart(
        self, verdict, beyond, within
    ):
        for change, expected in ((beyond, (verdict,)), (within, ())):
            signals = layer_signals(*((n, change) for n in (1, 2, 3)))
            assert [layer_verdicts(row, signals) for row in signals] == [(), *[expected] * 3]
        branch = layer_signals((1, beyond))
        assert not any(layer_verdicts(row, branch) for row in branch)

    def test_a_gradient_vanishes_only_if_no_earlier_layer_has_one(self):
        lost = layer_signals(*((n, {"gradient_second_moment": 0.9e-10}) for n in (0, 1)))
        assert [layer_verdicts(row, lost) for row in lost] == [("vanishing",), ("vanishing",), (), ()]
        branch = layer_signals((1, {"gradient_second_moment": 0.9e-10}))
        assert not any(layer_verdicts(row, branch) for row in branch)
        # An output layer of zeros passes no gradient on until its first step opens it.
        closed = layer_signals(
            *((n, {"gradient_second_moment": 0.0}) for n in (0, 1, 2)), (3, {"kernel_std": 0.0})
        )
        assert not any(layer_verdicts(row, closed) for row in closed)

    def test_a_lookup_may_be_the_same_for_all_samples(self):
        change = {"spread": 0.0, "dead": 1.0, "token_cosine": 1.0}
        assert len(layer_verdicts(layer_signals((3, change))[3], layer_signals((3, change)))) == 3
        signals = layer_signals((3, {**change, "is_lookup": True}))
        assert layer_verdicts(signals[3], signals) == ()

    @pytest.mark.parametrize(
        ("entropy", "spread", "expected"),
        [
            (0.019, 0.5, ("entropy collapse",)),
            (0.021, 0.5, ()),
            (0.9, 0.9e-4, ("rank collapse",)),
            (0.9, 1.2e-4, ()),
            (math.nan, math.nan, ()),
        ],
    )
    def test_verdicts_of_one_head(self, entropy, spread, expected):
        assert head_verdicts(HeadSignal("attention", 0, entropy, spread)) == expected

    def test_the_worst_layer_is_named_with_its_figures(self):
        signals = layer_signals((1, {"std": 2e3}), (2, {"std": 5e4}))
        found = layer_finding("exploding", signals[1:3], signals[-1], "Try initialize(model)")
        assert found.path == "dense_2"
        assert "(and 1 more), exploding: pre-activation std 5e+04" in found.text
