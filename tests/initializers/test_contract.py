"""Check the contract of every initializer; each initializer is a fixture (see conftest.py)."""

import copy
import inspect
import json
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_initx
from keras_initx.errors import InitxError
from keras_initx.initializers import NAMES
from tests.support.arrays import numpy

pytestmark = pytest.mark.check

L = keras.layers


def test_no_initializer_is_left_out(request):
    from_fixtures = {case.cls for case in request.getfixturevalue("every_case")}
    public = {getattr(keras_initx, name) for name in keras_initx.__all__}
    classes = {c for c in public if inspect.isclass(c) and issubclass(c, keras_initx.LayerAware)}
    assert from_fixtures == {c for c in classes if not inspect.isabstract(c)}
    with pytest.raises(TypeError, match="abstract"):
        keras_initx.LayerAware()
    assert set(NAMES) == {case.name for case in request.getfixturevalue("every_case")} - {None}


class TestContract:
    def test_the_name_works_as_a_string_in_a_layer(self, case):
        if case.name is None:
            pytest.skip("it needs an argument, so it has no string")
        layer = case.layer(case.name)
        assert type(getattr(layer, f"{case.weight}_initializer")) is case.cls
        assert type(keras.initializers.get(case.name)) is case.cls

    def test_config_round_trip(self, case):
        initializer = case.cls(**case.arguments)
        assert initializer.get_config() == case.arguments
        again = case.cls.from_config(json.loads(json.dumps(initializer.get_config())))
        assert again.get_config() == case.arguments
        assert set(case.arguments) == set(inspect.signature(case.cls).parameters)

    def test_the_defaults_survive_the_config(self, case):
        initializer = case.make()
        config = initializer.get_config()
        assert config.get("seed") is None
        assert case.cls.from_config(config).get_config() == config

    def test_a_clone_of_a_bound_one_stays_bound(self, case):
        bound = case.make().bound_to(case.layer("zeros", 4, name="tight"), case.weight)
        assert f"tight/{case.weight}" in repr(bound.clone())
        assert not case.make().clone().is_bound

    def test_a_shape_that_is_not_known_is_refused(self, case):
        for shape in ((None, 3), (-1, 3), 3, "33", (2.0, 3)):
            with pytest.raises(
                InitxError, match=r"^`shape` must be a tuple of integers >= 0, without None, got "
            ):
                case.make()(shape)

    def test_the_string_stays_a_string_where_no_initializer_is_meant(self, case):
        if case.name is None:
            pytest.skip("it needs an argument, so it has no string")
        loaded = keras.saving.deserialize_keras_object({"kwargs": {"mode": case.name}, "list": [case.name]})
        assert loaded == {"kwargs": {"mode": case.name}, "list": [case.name]}
        assert isinstance(loaded["kwargs"]["mode"], str)

    def test_keras_serialization_round_trip(self, case):
        initializer = case.cls(**case.arguments)
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(initializer)))
        again = keras.saving.deserialize_keras_object(config)
        assert type(again) is case.cls
        assert again.get_config() == initializer.get_config()
        assert config["registered_name"] == f"keras_initx>{case.cls.__name__}"

    def test_saved_and_loaded_with_its_model(self, case, tmp_path):
        layer = case.layer(case.of(case.make()), 4)
        keras.Sequential([keras.Input((20,)), layer]).save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras").layers[0]
        assert type(getattr(again, f"{case.weight}_initializer")) is case.cls
        np.testing.assert_array_equal(case.drawn(layer), case.drawn(again))

    def test_clone_model_keeps_it_bound(self, case):
        model = keras.Sequential([keras.Input((40,)), case.layer(case.of(case.make()), 6)])
        clone = keras.models.clone_model(model)
        initializer = getattr(clone.layers[0], f"{case.weight}_initializer")
        assert type(initializer) is case.cls
        rms = [np.sqrt(np.mean(np.square(case.drawn(m.layers[0])))) for m in (model, clone)]
        # 240 draws each.
        assert rms[0] == pytest.approx(rms[1], rel=0.4)

    def test_clone_copy_and_pickle_draw_the_same(self, case):
        initializer = case.make(**{k: v for k, v in {"seed": 5}.items() if k in case.arguments})
        bound = initializer.bound_to(case.layer(initializer, 7), case.weight)
        shape = (6, 7) if case.weight == "kernel" else (7,)
        expected = numpy(bound(shape))
        for other in (bound, copy.deepcopy(bound), pickle.loads(pickle.dumps(bound))):
            np.testing.assert_array_equal(expected, numpy(other(shape)))
        assert initializer.clone().get_config() == initializer.get_config()

    def test_a_bound_copy_can_be_pickled_and_outlives_its_layer(self, case):
        layer = case.layer("zeros", 4, name="tight")
        bound = case.make().bound_to(layer, case.weight)
        del layer
        again = pickle.loads(pickle.dumps(bound))
        shape = (6, 4) if case.weight == "kernel" else (4,)
        np.testing.assert_array_equal(numpy(bound(shape)), numpy(again(shape)))
        assert f"tight/{case.weight}" in repr(again)

    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
    def test_dtype(self, case, dtype):
        if dtype == "float64" and keras.backend.backend() == "jax":
            pytest.skip("JAX has no float64 unless the user enables it")
        seed = {"seed": 2} if "seed" in case.arguments else {}
        layer = case.layer(case.make(**seed), 30, dtype=dtype, name="same")
        layer.build((None, 20))
        single = case.layer(case.make(**seed), 30, name="same")
        single.build((None, 20))
        weight = getattr(layer, case.weight)
        assert keras.backend.standardize_dtype(weight.dtype) == dtype
        if dtype == "float64":
            # float64 has another stream of random numbers, but the same distribution.
            a, b = case.drawn(layer), case.drawn(single)
            assert np.mean(a**2) == pytest.approx(np.mean(b**2), rel=0.3)
            return
        # The float32 values, rounded.
        expected = keras.ops.cast(getattr(single, case.weight), dtype)
        np.testing.assert_array_equal(
            numpy(keras.ops.cast(weight, "float32")), numpy(keras.ops.cast(expected, "float32"))
        )

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_mixed_precision_draws_the_same_float32_values(self, case, policy):
        def draw(policy):
            seed = {"seed": 4} if "seed" in case.arguments else {}
            layer = case.layer(case.make(**seed), dtype=policy, name="same")
            layer.build((None, 30))
            return case.drawn(layer)

        np.testing.assert_array_equal(draw("float32"), draw(policy))

    def test_an_integer_dtype_is_refused(self, case):
        with pytest.raises(InitxError, match=r"^`dtype` must be a floating-point dtype, got .*int32"):
            case.make()((3, 3), dtype="int32")

    def test_an_empty_weight_is_empty(self, case):
        for shape in ((0, 5), (5, 0), (0,)):
            assert tuple(case.make()(shape).shape) == shape

    def test_a_vector_and_a_number(self, case):
        initializer = case.make()
        bound = initializer.bound_to(case.layer(initializer, 7), case.weight)
        for shape in ((7,), ()):
            if case.weight == "kernel" or shape:
                values = numpy(bound(shape))
                assert values.shape == shape
                assert np.all(np.isfinite(values))

    @pytest.mark.filterwarnings("ignore:.*does not have a `build:UserWarning")
    def test_deferred_build_of_a_subclassed_model(self, case):
        class Model(keras.Model):
            def __init__(self):
                super().__init__()
                self.first = case.layer(case.of(case.make()), 300, name="first")

            def call(self, x):
                return self.first(x)

        model = Model()
        model(np.ones((4, 30), "float32"))
        early = case.layer(case.of(case.make()), 300)
        early.build((None, 30))
        late = np.mean(np.square(case.drawn(model.first), dtype="float64"))
        assert late == pytest.approx(np.mean(np.square(case.drawn(early), dtype="float64")), rel=0.1)

    def test_variables_created_in_a_stateless_scope_are_bound(self, case):
        layer = case.layer(case.of(case.make()), 40, name="late")
        # In this scope Keras creates variables without values, and it calls the initializer at the end.
        with keras.StatelessScope():
            layer.build((None, 700))
        early = case.layer(case.of(case.make()), 40)
        early.build((None, 700))
        late = np.mean(np.square(case.drawn(layer), dtype="float64"))
        assert late == pytest.approx(np.mean(np.square(case.drawn(early), dtype="float64")), rel=0.1)

    def test_bad_arguments_name_themselves(self, case):
        for argument, value in case.bad:
            with pytest.raises(InitxError, match=f"^`{argument}` (must be .*, got .*|.* is not known)"):
                case.make(**{argument: value})

    def test_it_is_documented(self, case):
        text = inspect.getdoc(case.cls)
        for section in ("Raises:", "Example:", "References:"):
            assert section in text
        assert ("Args:" in text) == bool(case.arguments)


@pytest.mark.parametrize("jit", [True, False])
def test_a_training_step(every_case, jit):
    """Train one model with a branch for each initializer, because compilation takes most of the time."""
    x = keras.Input((6,))
    layers = [case.layer(case.of(case.make())) for case in every_case]
    # all_zeros passes no gradient on to the layer below it, but its own kernel receives one here.
    model = keras.Model(x, L.Add()([L.Dense(1, kernel_initializer="ones")(layer(x)) for layer in layers]))
    model.compile("sgd", "mse", jit_compile=jit)
    before = [case.drawn(layer).copy() for case, layer in zip(every_case, layers, strict=True)]
    history = model.fit(np.ones((8, 6)), 100 * np.ones((8, 1)), verbose=0)
    assert np.all(np.isfinite(history.history["loss"]))
    for case, layer, initial in zip(every_case, layers, before, strict=True):
        assert not np.array_equal(initial, case.drawn(layer)), case.name


class TestSeeds:
    def test_an_integer_seed_repeats_by_path_and_differs_between_paths(self, random_case):
        def kernels():
            keras.utils.clear_session(free_memory=False)
            layers = [random_case.layer(random_case.cls(seed=7)) for _ in range(3)]
            model = keras.Sequential([keras.Input((8,)), *layers])
            return [numpy(layer.kernel) for layer in model.layers]

        first, second = kernels(), kernels()
        for one, two in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, two)
        assert len({kernel.tobytes() for kernel in first}) == 3

    def test_the_order_of_building_does_not_matter(self, random_case):
        def kernels(order):
            shared = random_case.cls(seed=7)
            layers = {name: random_case.layer(shared, name=name) for name in "abc"}
            for name in order:
                layers[name].build((None, 8))
            return [numpy(layers[name].kernel) for name in "abc"]

        for one, two in zip(kernels("abc"), kernels("cab"), strict=True):
            np.testing.assert_array_equal(one, two)

    def test_one_shared_instance_gives_every_layer_its_own_values(self, random_case):
        shared = random_case.cls()
        layers = [random_case.layer(shared) for _ in range(4)]
        model = keras.Sequential([keras.Input((8,)), *layers])
        assert len({numpy(layer.kernel).tobytes() for layer in model.layers}) == 4

    def test_no_seed_follows_set_random_seed(self, random_case):
        # In one process the layers of the second model have other names, which must not matter.
        def draw(seed):
            keras.utils.set_random_seed(seed)
            shared = random_case.cls()
            model = keras.Sequential([keras.Input((8,)), *(random_case.layer(shared) for _ in "ab")])
            return np.concatenate([numpy(layer.kernel) for layer in model.layers])

        np.testing.assert_array_equal(draw(1), draw(1))
        assert not np.array_equal(draw(1), draw(2))

    def test_a_seed_generator_moves_on(self, random_case):
        initializer = random_case.cls(seed=keras.random.SeedGenerator(4))
        assert not np.array_equal(numpy(initializer((8, 8))), numpy(initializer((8, 8))))
        again = random_case.cls.from_config(initializer.get_config())
        assert isinstance(again.seed, keras.random.SeedGenerator)

    def test_weights_of_one_layer_with_one_name_or_none_differ(self, random_case):
        class Experts(L.Layer):
            def build(self, input_shape):
                for name in ("expert", "expert", None, None):
                    self.add_weight(shape=(4, 4), initializer=random_case.cls(seed=1), name=name)

        layer = Experts(name="experts")
        layer.build((None, 4))
        assert len({numpy(w.value).tobytes() for w in layer.weights}) == 4

    def test_any_integer_is_a_seed(self, random_case):
        for seed in (-1, 2**40, 2**70):
            initializer = random_case.cls(seed=seed)
            np.testing.assert_array_equal(
                numpy(initializer((4, 4))), numpy(random_case.cls(seed=seed)((4, 4)))
            )
            assert initializer.get_config()["seed"] == seed

    def test_a_sublayer_with_the_same_weight_does_not_matter(self, random_case):
        def kernel(own_first):
            class Pair(L.Layer):
                def build(self, input_shape):
                    self.inner = L.Dense(8, name="inner")
                    if not own_first:
                        self.inner.build(input_shape)
                    initializer = random_case.cls(seed=1)
                    self.kernel = self.add_weight(shape=(8, 8), initializer=initializer, name="kernel")

            layer = Pair(name="pair")
            layer.build((None, 8))
            return numpy(layer.kernel)

        np.testing.assert_array_equal(kernel(True), kernel(False))

    def test_a_numpy_seed_is_an_integer(self, random_case):
        assert random_case.cls(seed=np.int64(3)).get_config()["seed"] == 3


# Draws with integer seeds in the given order, and loads a saved model.
NEW_PROCESS = """
import json, sys, keras, numpy as np, keras_initx
folder, names, weights = sys.argv[1], sys.argv[2].split(","), sys.argv[3].split(",")
kernels = {}
for name in names:
    initializer = type(keras.initializers.get(name))(seed=11)
    layer = keras.layers.Dense(30, kernel_initializer=initializer, activation="tanh", name="layer_" + name)
    layer.build((None, 700))
    kernels[name] = keras.ops.convert_to_numpy(layer.kernel)
np.savez(folder + "/kernels.npz", **kernels)
model = keras.models.load_model(folder + "/model.keras")
print(json.dumps([float(keras.ops.sum(getattr(model.get_layer(f"n{i}"), w))) for i, w in enumerate(weights)]))
"""


@pytest.mark.slow
def test_a_new_process_draws_the_same_in_another_order_and_loads_a_saved_model(tmp_path, every_case):
    """Check all initializers in one process, because a process costs seconds."""
    x = keras.Input((20,))
    layers = [case.layer(case.of(case.make()), 4, name=f"n{i}") for i, case in enumerate(every_case)]
    keras.Model(x, [layer(x) for layer in layers]).save(tmp_path / "model.keras")
    random = [case for case in every_case if case.name and "seed" in case.arguments]
    kernels = {}
    for case in random:
        layer = L.Dense(
            30, kernel_initializer=case.cls(seed=11), activation="tanh", name=f"layer_{case.name}"
        )
        layer.build((None, 700))
        kernels[case.name] = numpy(layer.kernel)

    names, weights = ",".join(reversed(kernels)), ",".join(case.weight for case in every_case)
    arguments = [sys.executable, "-c", NEW_PROCESS, str(tmp_path), names, weights]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)

    drawn = np.load(tmp_path / "kernels.npz")
    for name, kernel in kernels.items():
        np.testing.assert_array_equal(drawn[name], kernel)
    # Different initializers and different layers get different values.
    assert len({kernel.tobytes() for kernel in kernels.values()}) == len(random)
    expected = [float(keras.ops.sum(getattr(a, c.weight))) for a, c in zip(layers, every_case, strict=True)]
    assert json.loads(done.stdout) == expected
