"""Check the formulas against the activations of Keras."""

import keras
import numpy as np
import pytest

from keras_initx._theory.formulas import FORMULAS

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

PARAMETERS = {
    "threshold": {"threshold": 0.3, "default_value": -0.4},
}


@pytest.mark.parametrize("name", sorted(set(FORMULAS) - {"glu"}))
def test_formulas_match_keras(name):
    arguments = PARAMETERS.get(name, {})
    z = np.linspace(-8, 8, 4001) + 1e-4  # off the jumps, where float32 rounds to the other side
    with np.errstate(all="ignore"):
        keras_values = keras.ops.convert_to_numpy(
            getattr(keras.activations, name)(keras.ops.convert_to_tensor(z.astype("float32")), **arguments)
        )
    np.testing.assert_allclose(FORMULAS[name][0](z, **arguments), keras_values, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("relu", {"negative_slope": 0.1, "max_value": 2.0, "threshold": 0.5}),
        ("leaky_relu", {"negative_slope": 0.4}),
        ("elu", {"alpha": 0.3}),
        ("celu", {"alpha": 2.0}),
        ("gelu", {"approximate": True}),
        ("soft_shrink", {"threshold": 0.2}),
        ("hard_shrink", {"threshold": 0.2}),
        ("squareplus", {"b": 1}),
    ],
)
def test_parameters_have_the_meaning_of_keras(name, arguments):
    z = np.linspace(-5, 5, 2001) + 1e-4
    keras_values = getattr(keras.activations, name)(
        keras.ops.convert_to_tensor(z.astype("float32")), **arguments
    )
    np.testing.assert_allclose(
        FORMULAS[name][0](z, **arguments), keras.ops.convert_to_numpy(keras_values), rtol=2e-5, atol=2e-6
    )


def test_every_elementwise_activation_of_keras_is_here():
    row_wise = {"softmax", "log_softmax", "sparsemax"}
    aliases = {"swish", "hard_swish", "get", "serialize", "deserialize"}
    known = {n for n in dir(keras.activations) if n.islower() and n[0] != "_"} - row_wise - aliases
    assert known <= set(FORMULAS)
