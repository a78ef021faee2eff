import keras
import pytest
from keras import layers

from keras_initx import InitxError, role
from tests.support.contexts import contexts_of

pytestmark = pytest.mark.check


def test_a_declared_role():
    @role("gate")
    class Own(layers.Dense):
        pass

    model = keras.Sequential([keras.Input((3,)), Own(3, name="own"), layers.Dense(2)])
    assert contexts_of(model)["own"].roles == ("gate",)


def test_an_unknown_role():
    with pytest.raises(InitxError, match=r"^`role` 'gat' is not known\. Did you mean 'gate'\?"):
        role("gat")


def test_a_role_without_a_name_or_a_layer():
    class Plain(layers.Layer):
        pass

    with pytest.raises(InitxError, match=r"^`role` must be one of residual_end, .* @role\(\"gate\"\)\.$"):
        role(Plain)
    with pytest.raises(InitxError, match=r"^`role` decorates a layer class, not <class 'dict'>\.$"):
        role("gate")(dict)
