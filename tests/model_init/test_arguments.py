"""Check that `initialize` names bad arguments and changes nothing."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_initx import InitxError, initialize, reinitialize
from tests.support.networks import plain
from tests.support.recorder import same, values

pytestmark = pytest.mark.check

# Only TensorFlow has tensors of strings.
STRINGS = (
    "^`data` must have dtype float32, got string"
    if keras.backend.backend() == "tensorflow"
    else "^`data` has values of dtype <U1, which (jax|torch) does not support"
)


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({"method": "atuo"}, r"^`method` 'atuo' is not known. Did you mean 'auto'\?"),
            ({"method": "lsuv"}, "^`method='lsuv'` needs a batch of data. Pass data="),
            ({"data": np.full((4, 16), np.nan)}, "^`data` .*NaN or infinite values.*Clean the data first"),
            (
                {"data": np.zeros((4, 3), "float32")},
                r"^`data` must have shape \(None, 16\), got \(4, 3\)",
            ),
            ({"seed": "a"}, "^`seed` must be None or an integer, got 'a'"),
            ({"output_bias": "zeros"}, "^`output_bias` must be None or 'prior', got 'zeros'"),
            (
                {"output_bias": "prior"},
                "^`output_bias='prior'` needs the classes of the data. Pass labels= or class_counts=",
            ),
            ({"labels": [0, 1]}, "^`labels` is given, but `output_bias` is None. Pass output_bias='prior'"),
            (
                {"output_bias": "prior", "labels": [0], "class_counts": [1]},
                "^`labels` and `class_counts` are both given. Pass only one",
            ),
            (
                {"method": np.zeros((4, 16))},
                "^`method` must be the name of a method, got an object of type ndarray.*as data=",
            ),
            (
                {"data": [np.zeros((4, 16)), np.zeros((5, 16))]},
                r"^`data` must have the same number of samples .*\(4, 16\), \(5, 16\)",
            ),
            ({"data": np.zeros((0, 16))}, r"^`data` .*at least one sample.*\(0, 16\)"),
            (
                {"data": np.zeros((16,), "float32")},
                r"^`data` must have shape \(None, 16\), got \(16,\).*dataset.batch",
            ),
            ({"data": np.array([["a"] * 16])}, STRINGS),
            ({"data": np.ones((4, 16), "complex64")}, "^`data` .*real numbers"),
            ({"data": np.array([[None] * 16])}, "^`data` .*real numbers"),
            (
                {"data": np.zeros((4, 16), "float32")},
                "its output is all zeros on this data, so it cannot be scaled. Check the input range",
            ),
            ({"data": lambda: 0}, "^`data` .*got .*function.*Call the function"),
            ({"data": [[[0.0, 1.0], [2.0]]] * 4}, "^`data` .*got .*list.*np.asarray"),
            ({"method": "residual"}, "^`method='residual'` needs residual sums"),
            (
                {"pretrained": 3},
                "^`pretrained` must be a model, or the path of a .keras or .weights.h5 file, got an .* int",
            ),
            ({"pretrained": "no.keras"}, "^`pretrained` file 'no.keras' does not exist"),
        ],
    )
    def test_the_error_names_it_and_nothing_changes(self, arguments, text):
        model = plain(4)
        before = values(model)
        with pytest.raises(InitxError, match=text):
            initialize(model, **arguments)
        assert same(before, model)

    def test_bad_models(self):
        with pytest.raises(InitxError, match=r"^`model` must be a keras.Model, got 3"):
            initialize(3)
        with pytest.raises(
            InitxError, match=r"^`model` 'sequential.*' is not built. Call it once on a batch: model"
        ):
            initialize(keras.Sequential([layers.Dense(3)]))
        x = keras.Input((3,))
        with pytest.raises(
            InitxError, match=r"has no weights. If its layers are not built yet, call it once"
        ):
            initialize(keras.Model(x, layers.ReLU()(x)))


@pytest.mark.parametrize("change", [lambda layer: layer.enable_lora(2), lambda layer: layer.quantize("int8")])
@pytest.mark.parametrize("options", [{}, {"only": ["first", "last"]}, {"skip": "middle"}])
def test_a_layer_with_lora_that_is_not_drawn_is_no_obstacle(change, options):
    stack = [layers.Dense(8, name=name) for name in ("first", "middle", "last")]
    model = keras.Sequential([keras.Input((8,)), *stack])
    change(model.layers[1])
    before = values(model.layers[1])
    plan = initialize(model, seed=0, **options)
    assert {row.path.split("/")[1] for row in plan.rows if row.method == "variance"} == {"first", "last"}
    assert same(before, model.layers[1])
    with pytest.raises(InitxError, match=r"middle: LoRA or quantization has replaced .*skip="):
        initialize(model, only="middle")
    for layer in model.layers[::2]:
        change(layer)
    before = values(model)
    with pytest.raises(InitxError, match=r"first: LoRA or quantization has replaced .*Draw the model first"):
        initialize(model)
    assert same(before, model)


@pytest.mark.parametrize(
    ("shape", "make"),
    [
        ((8,), lambda: layers.Dense(8)),
        ((3, 8), lambda: layers.EinsumDense("abc,cd->abd", (3, 8))),
        ((5,), lambda: layers.Embedding(20, 8)),
        ((9, 8), lambda: layers.Conv1D(8, 3)),
        ((9, 9, 8), lambda: layers.Conv2D(8, 3)),
        ((6,), lambda: layers.MultiHeadAttention(2, 4)),
    ],
)
def test_a_new_head_on_layers_with_lora(shape, make):
    x, backbone = keras.Input(shape), make()
    if isinstance(backbone, layers.MultiHeadAttention):
        h = layers.Embedding(20, 8)(x)
        h = backbone(h, h)
        adapted = [layer for layer in backbone._flatten_layers() if isinstance(layer, layers.EinsumDense)]
    else:
        h, adapted = backbone(x), [backbone]
    head = layers.Dense(4, name="head")
    model = keras.Model(x, head(layers.Flatten()(h)))
    for layer in adapted:
        layer.enable_lora(2)
    before, old_head = values(backbone), values(head)
    plan = initialize(model, seed=0)
    assert same(before, backbone)
    assert not same(old_head, head)
    rows = {row.path: row for row in plan.rows}
    assert {row.method for row in rows.values() if "lora" in row.path} == {"adapted"}
    assert rows["head/kernel"].rms_after == pytest.approx(1, rel=0.05)


def test_x_and_y():
    model, rng = plain(3), np.random.default_rng(0)
    x = rng.standard_normal((20, 16)).astype("float32")
    initialize(model, data=x, seed=0)
    before = values(model)
    initialize(model, data=(x, np.zeros(20)), seed=0)
    assert same(before, model)


def test_ids_beyond_their_table_change_nothing():
    x = keras.Input((5,), dtype="int32")
    model = keras.Model(x, layers.Dense(2)(layers.Embedding(7, 4, name="words")(x)))
    before = values(model)
    with pytest.raises(InitxError, match=r"data|only zeros|not finite"):
        initialize(model, data=np.full((4, 5), 99), seed=0)
    assert same(before, model)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("number", "name"), [(0, "bias"), (2, "bias"), (1, "moving_mean")])
def test_values_that_no_draw_replaces_are_named_and_change_nothing(number, name, bad):
    stack = [layers.Dense(8, "relu"), layers.BatchNormalization(), layers.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), *stack])
    broken = getattr(stack[number], name)
    broken.assign(np.full(broken.shape, bad))
    before = model.get_weights()
    with pytest.raises(
        InitxError, match=rf"^`{broken.path}` has NaN or infinite entries.*reinitialize\(model\)"
    ):
        initialize(model, seed=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    reinitialize(model, seed=0)
    assert initialize(model, seed=0).rows


def test_nan_in_a_buffer_is_no_obstacle():
    class Waiting(layers.Layer):
        def build(self, shape):
            self.seen = self.add_weight(
                shape=(3,), initializer=keras.initializers.Constant(np.nan), trainable=False
            )

        def call(self, x):
            return x

    model = keras.Sequential([keras.Input((4,)), Waiting(), layers.Dense(2)])
    initialize(model, seed=0)
    assert np.isfinite(model.layers[-1].get_weights()[0]).all()
