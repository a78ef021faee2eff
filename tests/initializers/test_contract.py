"""What every layer-aware initializer must hold: one class, each initializer only a fixture."""

import copy
import json
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_initx
from keras_initx.errors import InitxError

L = keras.layers
NAMES = {
    "he_auto": keras_initx.HeAuto,
    "xavier_auto": keras_initx.XavierAuto,
    "glorot_auto": keras_initx.XavierAuto,
    "auto": keras_initx.Auto,
}


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def cls(name):
    return NAMES[name]


class TestContract:
    def test_the_name_works_as_a_string_in_a_layer(self, name, cls):
        assert type(L.Dense(3, kernel_initializer=name).kernel_initializer) is cls

    def test_config_round_trip(self, cls):
        given = {"distribution": "uniform", "mode": "fan_out", "seed": 3, "activation": "tanh", "gain": 1.5}
        made = cls(**given)
        assert made.get_config() == given
        again = cls.from_config(json.loads(json.dumps(made.get_config())))
        assert again.get_config() == given

    def test_keras_serialization_round_trip(self, cls):
        made = cls(seed=3, distribution="normal")
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(made)))
        again = keras.saving.deserialize_keras_object(config)
        assert type(again) is cls
        np.testing.assert_array_equal(numpy(made((4, 5))), numpy(again((4, 5))))

    def test_an_activation_survives_the_config(self, cls):
        for activation in ("gelu", keras.activations.gelu, L.LeakyReLU(negative_slope=0.5)):
            again = cls.from_config(cls(activation=activation).get_config())
            assert again.scale((50, 5)).std == cls(activation=activation).scale((50, 5)).std

    def test_saved_and_loaded_with_its_model(self, name, cls, tmp_path):
        model = keras.Sequential([keras.Input((20,)), L.Dense(4, kernel_initializer=name)])
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        assert type(again.layers[0].kernel_initializer) is cls
        np.testing.assert_array_equal(model.get_weights()[0], again.get_weights()[0])

    @pytest.mark.slow
    def test_loads_in_a_new_process(self, name, tmp_path):
        model = keras.Sequential([keras.Input((20,)), L.Dense(4, kernel_initializer=name)])
        model.save(tmp_path / "model.keras")
        code = (
            "import sys, keras, keras_initx; model = keras.models.load_model(sys.argv[1]);"
            "print(repr(float(keras.ops.sum(model.layers[0].kernel))))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "model.keras")],
            capture_output=True,
            text=True,
            check=True,
        )
        assert float(done.stdout) == float(keras.ops.sum(model.layers[0].kernel))

    def test_clone_model_keeps_it_bound(self, name, cls, assert_std):
        model = keras.Sequential(
            [keras.Input((400,)), L.Dense(50, kernel_initializer=name, activation="relu")]
        )
        clone = keras.models.clone_model(model)
        assert type(clone.layers[0].kernel_initializer) is cls
        assert_std(clone.layers[0].kernel, np.sqrt(2 / 400))
        assert not np.array_equal(model.get_weights()[0], clone.get_weights()[0])

    def test_clone_copy_and_pickle_draw_the_same(self, cls):
        made = cls(seed=5)
        want = numpy(made((6, 7)))
        for other in (made.clone(), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
            np.testing.assert_array_equal(want, numpy(other((6, 7))))

    def test_a_bound_copy_can_be_pickled_and_outlives_its_layer(self, cls):
        layer = L.Dense(4, activation="tanh", name="tight")
        bound = cls(seed=5).bound_to(layer, "kernel")
        del layer
        again = pickle.loads(pickle.dumps(bound))
        np.testing.assert_array_equal(numpy(bound((6, 4))), numpy(again((6, 4))))
        assert "tight/kernel" in repr(again)

    def test_an_integer_seed_repeats_by_path_and_differs_between_paths(self, cls):
        def kernels():
            keras.utils.clear_session()
            layers = [L.Dense(8, kernel_initializer=cls(seed=7)) for _ in range(3)]
            model = keras.Sequential([keras.Input((8,)), *layers])
            return [numpy(layer.kernel) for layer in model.layers]

        first, second = kernels(), kernels()
        for one, two in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, two)
        assert len({kernel.tobytes() for kernel in first}) == 3

    def test_one_shared_instance_gives_every_layer_its_own_values(self, cls):
        shared = cls()
        model = keras.Sequential(
            [keras.Input((8,)), *(L.Dense(8, kernel_initializer=shared) for _ in range(4))]
        )
        assert len({numpy(layer.kernel).tobytes() for layer in model.layers}) == 4

    def test_no_seed_follows_set_random_seed(self, cls):
        # In one process: the second model's layers have other names, which must not matter.
        def draw(seed):
            keras.utils.set_random_seed(seed)
            shared = cls()
            model = keras.Sequential(
                [keras.Input((8,)), *(L.Dense(8, kernel_initializer=shared) for _ in "ab")]
            )
            return np.concatenate([numpy(layer.kernel) for layer in model.layers])

        np.testing.assert_array_equal(draw(1), draw(1))
        assert not np.array_equal(draw(1), draw(2))

    def test_a_seed_generator_moves_on(self, cls):
        made = cls(seed=keras.random.SeedGenerator(4))
        assert not np.array_equal(numpy(made((8, 8))), numpy(made((8, 8))))
        again = cls.from_config(made.get_config())
        assert isinstance(again.seed, keras.random.SeedGenerator)

    @pytest.mark.parametrize("distribution", ["truncated_normal", "normal", "uniform"])
    def test_all_distributions_have_the_same_variance(self, cls, distribution, assert_std):
        values = cls(distribution=distribution, gain=1.7, mode="fan_in", seed=1)((300, 500))
        assert_std(values, np.sqrt(1.7 / 300))
        spread = float(keras.ops.max(keras.ops.abs(values))) / np.sqrt(1.7 / 300)
        assert {
            "truncated_normal": 2.2 < spread < 2.28,
            "normal": spread > 4,
            "uniform": 1.7 < spread < 1.7321,
        }[distribution]

    @pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
    def test_mode_overrides_the_rule(self, cls, mode, assert_std):
        fan = {"fan_in": 20, "fan_out": 900, "fan_avg": 460}[mode]
        assert_std(cls(mode=mode, gain=1.0, seed=1)((20, 900)), np.sqrt(1 / fan))

    def test_gain_and_activation_override_the_layer(self, cls, assert_std):
        layer = L.Dense(40, activation="relu", kernel_initializer=cls(gain=0.3, mode="fan_in"))
        layer.build((None, 900))
        assert_std(layer.kernel, np.sqrt(0.3 / 900))
        layer = L.Dense(40, activation="relu", kernel_initializer=cls(activation="gelu"))
        layer.build((None, 900))
        assert_std(layer.kernel, np.sqrt(2.35171561 / 900))

    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
    def test_dtype(self, cls, dtype, assert_std):
        values = cls(seed=2, gain=2.0, mode="fan_in")((200, 300), dtype=dtype)
        assert keras.backend.standardize_dtype(values.dtype) == dtype
        assert_std(keras.ops.cast(values, "float32"), np.sqrt(2 / 200))

    def test_mixed_precision_draws_the_same_float32_values(self, cls):
        def draw(policy):
            layer = L.Dense(8, kernel_initializer=cls(seed=4), dtype=policy, name="same")
            layer.build((None, 30))
            return numpy(layer.kernel)

        np.testing.assert_array_equal(draw("float32"), draw("mixed_float16"))

    def test_an_integer_dtype_is_refused(self, cls):
        with pytest.raises(InitxError, match=r"dtype.*int32.*floating"):
            cls()((3, 3), dtype="int32")

    def test_an_empty_weight_is_empty(self, cls):
        assert tuple(cls()((0, 5)).shape) == (0, 5)

    @pytest.mark.filterwarnings("ignore:.*does not have a `build:UserWarning")
    def test_deferred_build_of_a_subclassed_model(self, cls, assert_std):
        class Model(keras.Model):
            def __init__(self):
                super().__init__()
                self.first = L.Dense(300, activation=lambda x: keras.ops.sin(x), kernel_initializer=cls())
                self.second = L.Dense(40, activation="relu", kernel_initializer=cls())

            def call(self, x):
                return self.second(self.first(x))

        model = Model()
        model.compile(loss="mse", jit_compile=True)
        model.fit(np.ones((4, 30)), np.ones((4, 40)), verbose=0, epochs=0)
        model(np.ones((4, 30)))
        # E[sin^2 z] = (1 - exp(-2)) / 2.
        assert_std(model.first.kernel, np.sqrt(2 / (1 - np.exp(-2)) / 30))
        assert_std(model.second.kernel, np.sqrt(2 / 300))

    def test_variables_created_in_a_stateless_scope_are_bound(self, cls, assert_std):
        layer = L.Dense(40, activation="gelu", kernel_initializer=cls())
        # Keras makes variables in this scope without values, and calls the initializer when it ends.
        with keras.StatelessScope():
            layer.build((None, 700))
        assert_std(layer.kernel, np.sqrt(2.35171561 / 700))

    @pytest.mark.parametrize("jit", [True, False])
    def test_a_training_step(self, name, jit):
        model = keras.Sequential(
            [keras.Input((6,)), L.Dense(8, activation="mish", kernel_initializer=name), L.Dense(1)]
        )
        model.compile("sgd", "mse", jit_compile=jit)
        before = model.get_weights()[0]
        history = model.fit(np.ones((8, 6)), np.ones((8, 1)), verbose=0, epochs=2)
        assert np.all(np.isfinite(history.history["loss"]))
        assert not np.array_equal(before, model.get_weights()[0])

    def test_outside_any_layer_the_shape_is_read_as_keras_reads_it(self, cls, assert_std):
        assert_std(cls(gain=1.0, mode="fan_in", seed=1)((3, 3, 50, 20)), np.sqrt(1 / 450))

    def test_a_bare_variable_falls_back_to_the_shape(self, cls, assert_std):
        variable = keras.Variable(cls(gain=1.0, mode="fan_in"), shape=(500, 30))
        assert_std(variable, np.sqrt(1 / 500))

    @pytest.mark.parametrize(
        ("argument", "value"),
        [
            ("distribution", "gaussian"),
            ("mode", "fan"),
            ("gain", -1),
            ("gain", float("nan")),
            ("gain", "2"),
            ("seed", 1.5),
            ("seed", True),
            ("activation", "rleu"),
        ],
    )
    def test_bad_arguments_name_themselves(self, cls, argument, value):
        with pytest.raises(InitxError, match=f"^{argument}: received .*; allowed: "):
            cls(**{argument: value})

    def test_an_activation_without_a_gain_names_the_layer_and_the_way_out(self, cls):
        def growing(x):
            return keras.ops.exp(x * x)

        layer = L.Dense(3, activation=growing, kernel_initializer=cls(), name="bad")
        with pytest.raises(InitxError, match=r"bad/kernel.*growing.*gain="):
            layer.build((None, 4))
        L.Dense(3, activation=growing, kernel_initializer=cls(gain=1.0)).build((None, 4))

    def test_weights_of_one_layer_with_one_name_or_none_differ(self, cls):
        class Experts(L.Layer):
            def build(self, input_shape):
                for name in ("expert", "expert", None, None):
                    self.add_weight(shape=(4, 4), initializer=cls(seed=1), name=name)

        layer = Experts(name="experts")
        layer.build((None, 4))
        assert len({numpy(w.value).tobytes() for w in layer.weights}) == 4

    def test_a_users_function_named_like_one_of_keras_stays_itself(self, cls):
        def elu(x):
            return 3 * x

        keras.saving.register_keras_serializable(package="test")(elu)
        again = cls.from_config(json.loads(json.dumps(cls(activation=elu).get_config())))
        assert again.scale((50, 5)).std == cls(activation=elu).scale((50, 5)).std

    def test_a_numpy_seed_is_an_integer(self, cls):
        assert cls(seed=np.int64(3)).get_config()["seed"] == 3
