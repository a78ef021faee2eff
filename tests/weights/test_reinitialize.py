import keras
import numpy as np
import pytest

import keras_initx
from keras_initx._weights.layers import all_layers
from keras_initx._weights.reinitialize import reinitialize
from keras_initx.errors import InitxError
from tests.support.networks import plain

pytestmark = pytest.mark.check

L = keras.layers


def small_model():
    inputs = keras.Input((12, 300))
    x = L.MultiHeadAttention(4, 16)(inputs, inputs)
    x = L.Bidirectional(L.LSTM(16, return_sequences=True))(x)
    x = L.SeparableConv1D(40, 3, activation="relu")(x)
    x = L.BatchNormalization()(x)
    outputs = L.Dense(5, activation="softmax")(L.Flatten()(x))
    return keras.Model(inputs, outputs)


def test_all_kernels_at_any_depth_are_drawn_and_nothing_else(assert_std):
    model = small_model()
    before = {v.path: keras.ops.convert_to_numpy(v) for v in model.variables}
    # Four in the attention layer, two in the LSTM's halves, two in the separable convolution, the head.
    assert keras_initx.reinitialize(model, "auto", seed=1) == 9
    changed = {
        v.path for v in model.variables if not np.array_equal(before[v.path], keras.ops.convert_to_numpy(v))
    }
    assert len(changed) == 9
    assert all(path.endswith("kernel") and "recurrent" not in path for path in changed)
    attention = model.layers[1]
    assert_std(attention.query_dense.kernel, np.sqrt(1 / 300))
    assert_std(attention.output_dense.kernel, np.sqrt(1 / 64))


def test_a_seed_repeats_and_equal_shapes_differ():
    model = keras.Sequential([keras.Input((8,)), L.Dense(8), L.Dense(8)])
    for name in ("glorot_uniform", "he_auto"):
        keras_initx.reinitialize(model, name, seed=4)
        first = [w.copy() for w in model.get_weights()]
        keras_initx.reinitialize(model, name, seed=5)
        assert not np.array_equal(first[0], model.get_weights()[0])
        keras_initx.reinitialize(model, name, seed=4)
        np.testing.assert_array_equal(first[0], model.get_weights()[0])
        assert not np.array_equal(first[0], first[2])


def test_a_seed_does_not_depend_on_names_and_never_repeats_a_kernel():
    def kernels(initializer, seed):
        model = keras.Sequential([keras.Input((8,)), L.Dense(8), L.Dense(8)])
        keras_initx.reinitialize(model, initializer, seed=seed)
        return model.get_weights()[::2]

    for initializer in ("he_auto", "he_normal"):
        one, two = kernels(initializer, 3), kernels(initializer, 3)
        np.testing.assert_array_equal(one, two)
    for initializer in (keras_initx.HeAuto(seed=3), keras.initializers.HeNormal(seed=3)):
        one = kernels(initializer, None)
        assert not np.array_equal(one[0], one[1])
        np.testing.assert_array_equal(one, kernels(initializer, None))


@pytest.mark.parametrize(
    "name", ["GlorotUniform", "HeNormal", "LecunUniform", "VarianceScaling", "Orthogonal"]
)
@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (lambda i: L.Dense(5, kernel_initializer=i), (300,)),
        (lambda i: L.Conv2D(4, 3, kernel_initializer=i), (9, 9, 64)),
        # The projections of attention: from features to heads, and back.
        (lambda i: L.EinsumDense("abc,cde->abde", (None, 8, 16), kernel_initializer=i), (7, 300)),
        (lambda i: L.EinsumDense("abcd,cde->abe", (None, 300), kernel_initializer=i), (7, 8, 16)),
        (lambda i: L.EinsumDense("abc,bcd->abd", (6, 10), kernel_initializer=i), (6, 150)),
    ],
    ids=["dense", "conv", "to heads", "from heads", "per expert"],
)
def test_kerass_own_initializers_draw_what_building_draws(name, kind, shape):
    # Since Keras 3.15 EinsumDense passes them more than the shape.
    initializer = getattr(keras.initializers, name)(seed=3)
    model = keras.Sequential([keras.Input(shape), kind(initializer)])
    built = model.get_weights()[0]
    model.set_weights([0 * w for w in model.get_weights()])
    keras_initx.reinitialize(model, initializer)
    np.testing.assert_array_equal(model.get_weights()[0], built)
    assert getattr(model.layers[0].kernel_initializer, "input_axes", None) is None


def test_the_saved_model_names_its_new_initializer(tmp_path):
    model = keras.Sequential([keras.Input((8,)), L.Dense(8)])
    keras_initx.reinitialize(model, keras_initx.HeAuto(gain=1.5))
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert again.layers[0].kernel_initializer.gain == 1.5


@pytest.mark.parametrize(
    ("make", "initializer", "says"),
    [
        (
            lambda: keras.Sequential([L.Dense(3)]),
            "he_auto",
            r"`model` 'sequential' is not built. Call it once on a batch: model\(x\)",
        ),
        (
            lambda: keras.Sequential([keras.Input((3,)), L.ReLU()]),
            "he_auto",
            "has no layer with a kernel_initializer",
        ),
        (lambda: keras.Sequential([keras.Input((3,)), L.Dense(3)]), "he_atuo", "Did you mean 'he_auto'"),
        (
            lambda: keras.Sequential([keras.Input((3,)), L.Dense(3)]),
            keras.initializers.Constant(float("nan")),
            "finite",
        ),
    ],
)
def test_bad_input_changes_nothing(make, initializer, says):
    model = make()
    before = [w.copy() for w in model.get_weights()]
    with pytest.raises(InitxError, match=says):
        keras_initx.reinitialize(model, initializer)
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("change", [lambda layer: layer.enable_lora(2), lambda layer: layer.quantize("int8")])
def test_lora_and_quantized_layers_stay(change):
    model = keras.Sequential([keras.Input((8,)), L.Dense(8), L.Dense(8, name="frozen")])
    change(model.layers[1])
    before = [w.copy() for w in model.get_weights()]
    says = r"^sequential/frozen: LoRA or quantization has replaced its kernel.*Draw the model first"
    with pytest.raises(InitxError, match=says):
        keras_initx.reinitialize(model, "he_auto", only="frozen")
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    for options in ({"only": model.layers[0].name}, {"skip": "frozen"}, {}):
        assert keras_initx.reinitialize(model, "he_auto", **options) == 1
    for one, two in zip(before[2:], model.get_weights()[2:], strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: L.Dense(6), (5,)),
        (lambda: L.EinsumDense("abc,cd->abd", (None, 6)), (3, 5)),
        (lambda: L.Embedding(7, 6), (3,)),
        (lambda: L.Conv1D(6, 3), (5, 5)),
    ],
)
def test_the_frozen_weight_under_lora_stays(make, shape):
    model = keras.Sequential([keras.Input(shape), make(), L.BatchNormalization()])
    layer, norm = model.layers
    layer.enable_lora(4)
    frozen = [v for v in layer.weights if not v.trainable]
    names = [v.name for v in layer.weights if "lora" in v.name]
    assert len(frozen) == 1
    assert len(names) == 2
    for variable in [*norm.weights, *layer.weights]:
        variable.assign(np.full(variable.shape, 0.37))
    assert keras_initx.reinitialize(model, seed=5) == len(model.weights) - 1
    changed = {
        v.name for v in model.weights if not np.allclose(keras.ops.convert_to_numpy(v), 0.37, atol=1e-4)
    }
    assert changed == {v.name for v in model.weights} - {frozen[0].name}
    assert np.all(keras.ops.convert_to_numpy(norm.moving_mean) == 0)
    with pytest.raises(InitxError, match="is frozen: "):
        keras_initx.reinitialize(model, only=frozen[0].path)


def test_scales_of_quantized_kernels_stay():
    model = keras.Sequential([keras.Input((8,)), L.Dense(8, use_bias=False), L.Dense(8)])
    model.layers[0].quantize("int8")
    before = [w.copy() for w in model.layers[0].get_weights()]
    assert keras_initx.reinitialize(model, seed=1) == 2
    for one, two in zip(before, model.layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("initializer", [None, "he_auto"])
def test_a_frozen_weight_of_a_trainable_layer_stays(initializer):
    model = keras.Sequential([keras.Input((4,)), L.Dense(8), L.BatchNormalization(), L.Dense(2)])
    first, norm = model.layers[:2]
    for variable in (*first.weights, *norm.weights):
        variable.assign(np.full(variable.shape, 0.37))
    first.kernel.trainable = norm.gamma.trainable = False
    keras_initx.reinitialize(model, initializer, seed=1)
    for variable in (first.kernel, norm.gamma):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), 0.37, rtol=1e-6)
    # Moving statistics were never trainable, so they are not frozen; a name draws kernels alone.
    assert np.all(keras.ops.convert_to_numpy(norm.moving_mean) == 0) == (initializer is None)
    with pytest.raises(InitxError, match="is frozen: "):
        keras_initx.reinitialize(model, initializer, only=first.kernel.path)
    # A layer that was frozen while it was built is as trainable as any other afterwards.
    late = L.Dense(3, trainable=False)
    model = keras.Sequential([keras.Input((4,)), late])
    late.trainable = True
    assert keras_initx.reinitialize(model, initializer, seed=1) == (2 if initializer is None else 1)


def test_keras_still_lists_sublayers_of_attention_and_recurrent_cells():
    kinds = {type(layer).__name__ for layer in all_layers(small_model())}
    assert {"EinsumDense", "LSTMCell", "Bidirectional", "SeparableConv1D"} <= kinds


def test_a_bias_initializer_is_no_initializer_of_kernels():
    assert "bias_auto" not in keras_initx.known_names()
    assert {"orthogonal_auto", "lecun_auto", "small_normal", "all_zeros"} <= set(keras_initx.known_names())
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    before = model.get_weights()[0]
    with pytest.raises(keras_initx.InitxError, match="for biases"):
        keras_initx.reinitialize(model, "bias_auto")
    np.testing.assert_array_equal(before, model.get_weights()[0])


def test_orthogonal_kernels_in_place():
    model = keras.Sequential([keras.Input((40,)), keras.layers.Dense(12, activation="tanh")])
    assert keras_initx.reinitialize(model, "orthogonal_auto", seed=1) == 1
    kernel = model.get_weights()[0] / np.sqrt(keras_initx.gain("tanh"))
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(12), atol=1e-5)


@pytest.mark.parametrize("name", ["he_auto", "he_normal", "orthogonal_auto"])
def test_other_seeds_share_no_kernel_with_each_other(name):
    def kernels(seed):
        model = keras.Sequential([keras.Input((8,)), *(L.Dense(8) for _ in range(4))])
        keras_initx.reinitialize(model, name, seed=seed)
        return [layer.get_weights()[0].tobytes() for layer in model.layers]

    drawn = [kernel for seed in (0, 1, 2, 3) for kernel in kernels(seed)]
    assert len(set(drawn)) == 16


@pytest.mark.parametrize("cls", [keras_initx.HeAuto, keras.initializers.HeNormal])
def test_a_seed_generator_is_one_for_all_layers(cls):
    model = keras.Sequential([keras.Input((8,)), *(L.Dense(8) for _ in range(3))])
    keras_initx.reinitialize(model, cls(seed=keras.random.SeedGenerator(1)))
    assert len({layer.get_weights()[0].tobytes() for layer in model.layers}) == 3


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (L.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, 40)),
        (L.DepthwiseConv1D(5), (9, 300)),
        (L.SeparableConv2D(30, 3), (8, 8, 40)),
    ],
    ids=["depthwise2d", "depthwise1d", "separable"],
)
def test_depthwise_kernels_are_kernels(layer, shape, assert_std):
    model = keras.Sequential([keras.Input(shape), layer])
    kernel = getattr(layer, "depthwise_kernel", None)
    kernel = layer.kernel if kernel is None else kernel
    count = 2 if hasattr(layer, "pointwise_kernel") else 1
    assert keras_initx.reinitialize(model, "lecun_auto", seed=1) == count
    assert_std(kernel, np.sqrt(1 / np.prod(kernel.shape[:-2])))


@pytest.mark.parametrize(
    ("model", "initializer", "says"),
    [
        (3, "he_auto", "^`model` must be a keras.Model, got 3"),
        (None, 3, "^`initializer` must be a name, .*got 3"),
    ],
)
def test_the_error_names_a_bad_model_or_initializer(model, initializer, says):
    model = keras.Sequential([keras.Input((4,)), L.Dense(3)]) if model is None else model
    with pytest.raises(InitxError, match=says):
        keras_initx.reinitialize(model, initializer)


def test_a_class_equals_its_instance():
    kernels = []
    for initializer in (
        keras_initx.HeAuto,
        keras_initx.HeAuto(),
        keras.initializers.HeNormal,
        keras.initializers.HeNormal(),
    ):
        model = small_model()
        reinitialize(model, initializer, seed=1)
        kernels.append(keras.ops.convert_to_numpy(model.weights[0]))
    np.testing.assert_array_equal(kernels[0], kernels[1])
    np.testing.assert_array_equal(kernels[2], kernels[3])


def test_a_seed_in_the_initializers_place():
    with pytest.raises(
        InitxError, match=r"^`initializer` must be a name, .*got 1\. Pass a seed by name: seed=1"
    ):
        reinitialize(small_model(), 1)


class TestSelection:
    def model(self):
        stack = [L.Dense(4, name=f"d{n}", bias_initializer="ones") for n in range(3)]
        return keras.Sequential([keras.Input((4,)), *stack])

    @pytest.mark.parametrize("initializer", ["he_auto", None])
    @pytest.mark.parametrize(
        "chosen", [{"only": "d1"}, {"skip": ["d0", "d2"]}, {"only": "d*", "skip": ["d[02]*"]}]
    )
    def test_others_keep_every_bit(self, initializer, chosen):
        model = self.model()
        before = [keras.ops.convert_to_numpy(v).copy() for v in model.weights]
        assert reinitialize(model, initializer, seed=1, **chosen) == (1 if initializer else 2)
        same = [
            np.array_equal(keras.ops.convert_to_numpy(v), b)
            for v, b in zip(model.weights, before, strict=True)
        ]
        # The kernel and bias of each layer; a drawn bias is ones again.
        assert same == [True, True, False, True, True, True]

    @pytest.mark.parametrize("initializer", ["he_auto", None])
    def test_a_weights_values_do_not_depend_on_what_else_is_drawn(self, initializer):
        whole, part = self.model(), self.model()
        reinitialize(whole, initializer, seed=1)
        reinitialize(part, initializer, seed=1, only="d2")
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(whole.layers[2].kernel),
            keras.ops.convert_to_numpy(part.layers[2].kernel),
        )

    def test_a_pattern_that_matches_nothing(self):
        with pytest.raises(
            InitxError, match=r"^`only='d7'` matches no layer and no weight. Layers and weights: d0"
        ):
            reinitialize(self.model(), "he_auto", only="d7")


@pytest.mark.parametrize("seed", ["a", 1.5, True, [1]])
def test_reinitialize_checks_its_seed(seed):
    with pytest.raises(InitxError, match=r"^`seed` must be None or an integer, got"):
        keras_initx.reinitialize(plain(2), seed=seed)


@pytest.mark.parametrize("initializer", [None, "he_auto"])
def test_frozen_layers_stay(initializer):
    backbone = keras.Sequential([keras.Input((4,)), L.Dense(8), L.BatchNormalization()], name="backbone")
    backbone.layers[1].moving_mean.assign(np.full(8, 3.0))
    backbone.trainable = False
    model = keras.Sequential([keras.Input((4,)), backbone, L.Dense(2)])
    before = [keras.ops.convert_to_numpy(w) for w in backbone.weights]
    head = keras.ops.convert_to_numpy(model.layers[1].kernel)
    assert reinitialize(model, initializer, seed=1) == (2 if initializer is None else 1)
    after = [keras.ops.convert_to_numpy(w) for w in backbone.weights]
    assert all(map(np.array_equal, before, after))
    assert not np.array_equal(head, keras.ops.convert_to_numpy(model.layers[1].kernel))
    message = r"^Every weight to draw of `model` .* is frozen: .*backbone.*Set layer.trainable = True"
    with pytest.raises(InitxError, match=message):
        reinitialize(model, initializer, only="backbone")


def test_the_optimizer_keeps_its_step():
    model = keras.Sequential([keras.Input((4,)), L.Dense(2)])
    model.compile("adam", "mse")
    model.train_on_batch(np.ones((3, 4)), np.ones((3, 2)))
    reinitialize(model, seed=1)
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == 1
