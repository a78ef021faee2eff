"""A run starts from its seed, layer names restart, and everything that the user has set stays."""

import sys
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from keras_initx.tuning import InitializerTuner, SearchSpace
from keras_initx.tuning.training.devices import Strategy
from keras_initx.tuning.training.session import reset_layer_names, seeded

from tests.tuning.training.tuners import line, line_data

pytestmark = pytest.mark.check

config = keras.config
SETTINGS = {
    "flash attention": (
        config.is_flash_attention_enabled,
        config.disable_flash_attention,
        config.enable_flash_attention,
    ),
    "tracebacks": (
        config.is_traceback_filtering_enabled,
        config.disable_traceback_filtering,
        config.enable_traceback_filtering,
    ),
    "logging": (
        config.is_interactive_logging_enabled,
        config.disable_interactive_logging,
        config.enable_interactive_logging,
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_disabled_setting_stays_disabled(name: str) -> None:
    is_enabled, disable, enable = SETTINGS[name]
    reset_layer_names()
    assert is_enabled() is not False
    disable()
    try:
        reset_layer_names()
        assert is_enabled() is False
    finally:
        enable()


def test_dtype_policy_stays_and_names_restart() -> None:
    config.set_dtype_policy("mixed_bfloat16")
    try:
        keras.layers.Dense(1)
        reset_layer_names()
        layer = keras.layers.Dense(1)
        assert (layer.name, layer.compute_dtype) == ("dense", "bfloat16")
    finally:
        config.set_dtype_policy("float32")


def test_permission_to_deserialize_stays() -> None:
    twice = keras.layers.Lambda(lambda x: 2 * x, name="twice")
    config.enable_unsafe_deserialization()
    with keras.saving.custom_object_scope({"Own": Own}):
        reset_layer_names()
        assert keras.layers.Lambda.from_config(twice.get_config()).name == "twice"
        model = keras.Sequential([keras.Input((2,)), Own(1)])
        assert isinstance(keras.Sequential.from_config(model.get_config()).layers[0], Own)


class Own(keras.layers.Dense):
    """A class that is not registered."""


def test_distribution_stays() -> None:
    if keras.backend.backend() != "jax":
        pytest.skip("only JAX has distributions")
    with keras.distribution.DataParallel().scope():
        before = keras.distribution.distribution()
        reset_layer_names()
        assert keras.distribution.distribution() is before


def test_pytorch_is_seeded_on_every_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    # A DataLoader draws its order from PyTorch's own generator.
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(manual_seed=seeds.append))
    with seeded(7, Strategy()):
        assert seeds[-1] == 7


def test_a_pipeline_that_a_function_makes_has_the_order_of_the_seed(tmp_path: Any) -> None:
    tf = pytest.importorskip("tensorflow")
    train, validation = line_data()
    batches = lambda: tf.data.Dataset.from_tensor_slices(train).shuffle(48).batch(8)  # noqa: E731
    curves = []
    for name in "ab":
        tuner = InitializerTuner(
            line(0.01),
            "val_loss",
            1,
            seeds=[3, 4],
            space=SearchSpace(["zeros"]),
            screening=False,
            jit_compile=False,
            directory=str(tmp_path),
            project_name=name,
        )
        tuner.search(batches, validation_data=validation, epochs=2, verbose=0)
        curves.append([record["curves"]["loss"] for record in tuner.oracle.seed_results("0000").values()])
    np.testing.assert_array_equal(*curves)
    # The weights start at zero, so only the order distinguishes the seeds.
    assert curves[0][0] != curves[0][1]
