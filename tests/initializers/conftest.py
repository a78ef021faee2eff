"""Fixtures for every initializer, with the facts that the contract tests need."""

from dataclasses import dataclass, field
from typing import Any

import keras
import pytest

import keras_initx as kx


@dataclass(frozen=True)
class Case:
    """One initializer: its class, its string, and arguments that differ from the defaults."""

    cls: type
    name: str | None
    arguments: dict[str, Any] = field(default_factory=dict)
    weight: str = "kernel"
    bad: tuple[tuple[str, Any], ...] = ()

    def make(self, **changes):
        """Create the initializer with its defaults, and with `changes` to them."""
        required = {"p": 0.2} if self.cls is kx.PriorBias else {}
        return self.cls(**{**required, **changes})

    def layer(self, initializer, units=8, **keywords):
        """Return a dense layer that uses the initializer for its kind of weight."""
        if self.cls is kx.PriorBias:
            keywords = {**keywords, "activation": "sigmoid"}
        return keras.layers.Dense(units, **{f"{self.weight}_initializer": initializer}, **keywords)

    def drawn(self, layer):
        return keras.ops.convert_to_numpy(getattr(layer, self.weight))

    def of(self, initializer):
        """Return the string of the initializer, if it has one, as a user would write it."""
        return self.name or initializer


_SCALED = {"mode": "fan_out", "seed": 3, "activation": "tanh", "gain": 1.5}
_VARIANCE = {**_SCALED, "distribution": "uniform"}
_LECUN = {key: value for key, value in _VARIANCE.items() if key != "activation"}
_BAD_SEED = (("seed", 1.5), ("seed", True))
_BAD_SCALED = (
    *_BAD_SEED,
    ("mode", "fan"),
    ("gain", -1),
    ("gain", float("nan")),
    ("gain", "2"),
    ("activation", "rleu"),
)
_BAD_VARIANCE = (*_BAD_SCALED, ("distribution", "gaussian"))
_BAD_SCALE = (("scale", -1), ("scale", float("inf")), ("scale", "1"), ("scale", True))
_BAD_BASELINE = (*_BAD_SEED, *_BAD_SCALE)
_BAD_PRIOR = (
    ("p", 0.0),
    ("p", [0.5, 1.0]),
    ("p", float("nan")),
    ("p", "rare"),
    ("p", []),
    ("p", [[0.5, 0.5]]),
)

VARIANCE = {
    "he_auto": Case(kx.HeAuto, "he_auto", _VARIANCE, bad=_BAD_VARIANCE),
    "xavier_auto": Case(kx.XavierAuto, "xavier_auto", _VARIANCE, bad=_BAD_VARIANCE),
    "glorot_auto": Case(kx.XavierAuto, "glorot_auto", _VARIANCE, bad=_BAD_VARIANCE),
    "lecun_auto": Case(kx.LecunAuto, "lecun_auto", _LECUN, bad=(*_BAD_SEED, ("gain", 0), ("mode", "fan"))),
    "auto": Case(kx.Auto, "auto", _VARIANCE, bad=_BAD_VARIANCE),
}
SCALED = {
    **VARIANCE,
    "orthogonal_auto": Case(kx.OrthogonalAuto, "orthogonal_auto", _SCALED, bad=_BAD_SCALED),
}
_BASELINE = {"scale": 0.3, "seed": 3}
RANDOM = {
    **SCALED,
    "small_normal": Case(kx.SmallNormal, "small_normal", _BASELINE, bad=_BAD_BASELINE),
    "unit_uniform": Case(kx.UnitUniform, "unit_uniform", _BASELINE, bad=_BAD_BASELINE),
}
EVERY = {
    **RANDOM,
    "all_zeros": Case(kx.AllZeros, "all_zeros", {"scale": 0.3}, bad=_BAD_SCALE),
    "bias_auto": Case(kx.BiasAuto, "bias_auto", weight="bias"),
    "prior_bias": Case(
        kx.PriorBias,
        None,
        {"p": [0.25, 0.75], "class_counts": None, "activation": None},
        weight="bias",
        bad=_BAD_PRIOR,
    ),
    "prior_bias_counts": Case(
        kx.PriorBias, None, {"p": None, "class_counts": [30.0, 10.0], "activation": "softmax"}, weight="bias"
    ),
}


@pytest.fixture(params=EVERY)
def case(request):
    """Every initializer."""
    return EVERY[request.param]


@pytest.fixture(params=RANDOM)
def random_case(request):
    """Every initializer that draws at random."""
    return RANDOM[request.param]


@pytest.fixture(params=SCALED)
def scaled(request):
    """Every initializer with a gain and fans."""
    return SCALED[request.param]


@pytest.fixture(params=[name for name in SCALED if name != "lecun_auto"])
def by_activation(request):
    """Every initializer whose size depends on the activation."""
    return SCALED[request.param]


@pytest.fixture(params=VARIANCE)
def variance(request):
    """Every initializer with a choice of distributions."""
    return VARIANCE[request.param]


@pytest.fixture
def every_case():
    """All initializers at once."""
    return list(EVERY.values())
