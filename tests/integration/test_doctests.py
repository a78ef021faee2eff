"""The examples in the docstrings."""

import doctest
import importlib

import pytest

MODULES = [
    "keras_initx.errors",
    "keras_initx.initializers.fans",
    "keras_initx._theory.moments",
    "keras_initx._theory.gains",
    "keras_initx._theory.activation",
    "keras_initx.initializers.base",
    "keras_initx.initializers.gain_scaled",
    "keras_initx.initializers.variance",
    "keras_initx.initializers.orthogonal",
    "keras_initx.initializers.bias",
    "keras_initx.initializers.baselines",
    "keras_initx._weights.reinitialize",
    "keras_initx._graph.trace",
    "keras_initx._graph.roles",
    "keras_initx._graph.groups",
    "keras_initx._theory.looks_linear",
    "keras_initx._theory.mean_field",
    "keras_initx._theory.dks",
    "keras_initx._weights.snapshot",
    "keras_initx.model_init.initialize",
    "keras_initx._event_files",
    "keras_initx.diagnostics.compare",
    "keras_initx.diagnostics.diagnose",
    "keras_initx.diagnostics.monitor",
    "keras_initx.diagnostics.plot",
    "keras_initx.tuning.data.dataset",
    "keras_initx.tuning.stats",
    "keras_initx.tuning.storage.failures",
    "keras_initx.tuning.study.environment",
    "keras_initx.tuning.histograms",
    "keras_initx.tuning.dashboards.hparams",
    "keras_initx.tuning.replicates",
    "keras_initx.tuning.keras_tuner_import.to_study",
    "keras_initx.tuning.report.page",
    "keras_initx.tuning.study.samplers",
    "keras_initx.tuning.pruning.screening",
    "keras_initx.tuning.training.session",
    "keras_initx.tuning.parallel.workers",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0
