"""Layer names restart, and everything that the user has set stays."""

import keras
import pytest
from keras_initx.tuning.training.session import reset_layer_names

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
