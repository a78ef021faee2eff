"""Figures that follow from the measured ones, and the two lists of verdicts."""

from dataclasses import replace

import numpy as np
import pytest

from keras_initx.diagnostics.records import NOTED, VERDICTS
from tests.support.networks import layer_signals

pytestmark = pytest.mark.check


def of_gradient(entries):
    """Return the record of a layer whose gradient has these entries."""
    return replace(
        layer_signals(count=1)[0],
        shape=entries.shape,
        gradient_mean=float(np.mean(entries)),
        gradient_second_moment=float(np.mean(entries**2)),
    )


def test_norm_and_variance_of_the_gradient_are_those_of_its_entries():
    gradient = np.random.default_rng(0).normal(0.3, 2.0, size=(16, 5))
    row = of_gradient(gradient)
    assert row.gradient_rms == pytest.approx(np.sqrt(np.mean(gradient**2)))
    assert row.gradient_norm == pytest.approx(np.linalg.norm(gradient))
    assert row.gradient_variance == pytest.approx(np.var(gradient))


def test_a_gradient_that_was_not_measured_has_no_size():
    assert np.isnan(of_gradient(np.full((2, 2), np.nan)).gradient_rms)


def test_notes_are_verdicts():
    assert VERDICTS.keys() > NOTED
