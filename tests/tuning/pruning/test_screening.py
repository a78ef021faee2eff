"""Which models cannot learn, by their signal and in a search; models that train pass."""

import keras
import numpy as np
import pytest
from keras import initializers, layers
from keras_initx.tuning.data import Batch
from keras_initx.tuning.pruning.screening import Screen, untrainable_reason
from keras_initx.tuning.pruning.signal_probe import KernelSignal, Signal, SignalProbe


def signal(loss=2.3, constant=2.3, spread=0.1, gradients=(1e-3, 1e-3), weight=0.1, equal=False, **more):
    kernels = tuple(KernelSignal(f"k{n}", weight, g, equal, equal) for n, g in enumerate(gradients))
    return Signal(loss, constant, spread, kernels, **more)


@pytest.mark.parametrize(
    ("measured", "word"),
    [
        (signal(loss=float("inf")), "loss is inf"),
        (signal(gradients=(float("nan"), 1.0)), "gradient of k0"),
        (signal(equal=True), "symmetric: all units of k0"),
        (signal(spread=0.0, gradients=(1e-11, 1.0)), "vanished"),
        (signal(loss=3e6), "exploded"),
    ],
)
def test_models_that_cannot_learn(measured, word):
    assert word in untrainable_reason(measured)


@pytest.mark.parametrize(
    "measured",
    [
        signal(),
        signal(loss=1e6),
        signal(spread=0.0),
        signal(gradients=(1e-30, 1e-3)),
        signal(spread=0.0, gradients=(0.0, 1e-3), weight=0.0),
        signal(spread=0.0, gradients=(1e-3,)),
        # A regression of large numbers, and a loss that is zero or not finite for constant outputs.
        signal(loss=4e10, constant=4e10),
        signal(constant=0.0),
        signal(constant=float("nan")),
        signal(gradients=()),
        # Tiny targets, from which any start is far away.
        signal(loss=1e-2, constant=1e-12),
        signal(spread=0.0, gradients=(1e-11, 1.0), opens=True),
        # Training in float16 skips a step with such a gradient.
        signal(gradients=(float("nan"), 1.0), half=True),
    ],
)
def test_models_that_may_learn(measured):
    assert untrainable_reason(measured) is None


def deep(initializer, depth, activation="relu", head=None):
    keras.utils.set_random_seed(0)
    hidden = [layers.Dense(32, activation, kernel_initializer=initializer) for _ in range(depth)]
    last = layers.Dense(3, activation="softmax", kernel_initializer=initializer if head is None else head)
    model = keras.Sequential([keras.Input((32,)), *hidden, last])
    # Tracing 30 layers takes longer than two eager steps.
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def batch():
    generator = np.random.default_rng(0)
    return Batch.of_arrays(generator.normal(size=(32, 32)).astype("float32"), generator.integers(0, 3, 32))


# Only with TensorFlow does Keras use the logits behind a softmax. The loss of probabilities is clipped.
from_logits = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the loss is below 17")


@pytest.mark.parametrize(
    ("initializer", "depth", "word"),
    [
        ("zeros", 3, "symmetric"),
        ("zeros", 1, "symmetric"),
        (initializers.Constant(0.1), 3, "symmetric"),
        pytest.param(initializers.RandomUniform(0, 1, seed=0), 8, "exploded", marks=from_logits),
        pytest.param(initializers.RandomNormal(stddev=1.0, seed=0), 30, "exploded", marks=from_logits),
        (initializers.RandomNormal(stddev=1.0, seed=0), 30, ""),
        (initializers.RandomNormal(stddev=1e3, seed=0), 30, ""),
        (initializers.RandomNormal(stddev=0.01, seed=0), 12, "vanished"),
    ],
)
def test_usual_bad_choices(initializer, depth, word, batch):
    assert word in untrainable_reason(SignalProbe(batch)(deep(initializer, depth)))


@pytest.mark.parametrize(
    ("initializer", "depth", "activation", "head"),
    [
        ("he_normal", 30, "relu", None),
        ("glorot_uniform", 12, "relu", None),
        ("glorot_uniform", 6, "sigmoid", None),
        (initializers.RandomNormal(stddev=0.3, seed=0), 5, "relu", None),
        # A head of zeros is common practice, not a mistake.
        ("he_normal", 8, "relu", "zeros"),
    ],
)
def test_usual_good_and_mediocre_choices(initializer, depth, activation, head, batch):
    assert untrainable_reason(SignalProbe(batch)(deep(initializer, depth, activation, head))) is None


def test_zeros_in_front_of_a_sigmoid(batch):
    # The last kernel learns, but the units that it reads stay equal.
    assert "symmetric" in untrainable_reason(SignalProbe(batch)(deep("zeros", 2, "sigmoid")))


@pytest.mark.parametrize("inner", [True, False])
def test_residual_branches_that_start_at_zero(inner, batch):
    x = inputs = keras.Input((32,))
    for _ in range(4):
        branch = layers.Dense(32, activation="relu")(x) if inner else x
        x = x + layers.Dense(32, kernel_initializer="zeros")(branch)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", kernel_initializer="zeros")(x))
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    assert untrainable_reason(SignalProbe(batch)(model)) is None


class Gate(layers.Layer):
    """A gate that is closed before training."""

    def build(self, shape):
        self.gate = self.add_weight(shape=(), initializer="zeros", name="gate")

    def call(self, x):
        return self.gate * x


@pytest.mark.parametrize("gate", [Gate, lambda: layers.BatchNormalization(gamma_initializer="zeros")])
def test_gates_that_start_at_zero(gate, batch):
    keras.utils.set_random_seed(0)
    hidden = [layers.Dense(32, "relu") for _ in range(3)]
    model = keras.Sequential([keras.Input((32,)), *hidden, gate(), layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    measured = SignalProbe(batch)(model)
    assert (measured.spread, measured.opens) == (0.0, True)
    assert untrainable_reason(measured) is None


class TestScreen:
    def test_both_batches_must_agree(self, batch):
        same = Batch.of_arrays(np.repeat(batch.x[:1], 32, axis=0), batch.y)
        keras.utils.set_random_seed(0)
        network = [
            layers.Dense(32, "relu", kernel_initializer="zeros"),
            layers.Dense(3, activation="softmax"),
        ]
        vanishing = keras.Sequential([keras.Input((32,)), *network])
        vanishing.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
        assert "vanished" in Screen([batch, same])(vanishing)
        # Equal rows and almost no gradient: the batch is bad, not the model.
        far = Batch.of_arrays(np.zeros_like(batch.x), batch.y)
        good = deep("he_normal", 2)
        assert untrainable_reason(SignalProbe(far)(good)) is not None
        assert Screen([far, batch])(good) is None
        assert Screen([batch, far])(good) is None

    def test_model_that_cannot_be_screened_is_trained(self, batch):
        class Own(keras.Model):
            def train_step(self, *args):
                raise RuntimeError("no such step")

        inputs = keras.Input((32,))
        model = Own(inputs, layers.Dense(3, activation="softmax")(inputs))
        model.compile("adam", "sparse_categorical_crossentropy")
        screen = Screen([batch, batch])
        with pytest.warns(
            UserWarning, match=r"is trained without: RuntimeError: no such step.*screening=False"
        ):
            assert screen(model) is None
        # It warns only once.
        assert screen(model) is None


class TestInASearch:
    def test_trials_that_cannot_learn_end_before_training_and_the_search_continues(self, quick, pairs):
        initializer = ["all_zeros", "zeros", "small_normal", "he_normal"]

        def build(hp):
            name = hp.Choice("initializer", initializer)
            kernel = keras.initializers.get("zeros" if "zeros" in name else name)
            model = keras.Sequential(
                [
                    keras.Input((4,)),
                    *[layers.Dense(8, "relu", kernel_initializer=kernel) for _ in range(12)],
                    layers.Dense(2, activation="softmax", kernel_initializer=kernel),
                ]
            )
            model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
            return model

        result = quick(build, tuner="grid", trials=None, learning_rates=[0.001], seeds=1, epochs=1)
        status = {}
        for trial in result.trials:
            status.setdefault(trial.values["initializer"], set()).add(trial.status)
        assert len(result.trials) == 4
        assert status == {
            "all_zeros": {"screened"}, "zeros": {"screened"}, "small_normal": {"screened"},
            "he_normal": {"completed"},
        }  # fmt: skip
        for trial in result.trials:
            if trial.status == "screened":
                assert not trial.seeds
                assert trial.reason.startswith(("symmetric", "vanished"))
        assert result.best.values["initializer"] == "he_normal"

    def test_screening_can_be_turned_off(self, quick):
        result = quick(initializers=["zeros"], screening=False, trials=1)
        assert [t.status for t in result.trials] == ["completed"]

    def test_screening_does_not_change_the_scores(self, quick, tmp_path):
        options = {
            "initializers": ["he_normal", "auto"], "learning_rates": [0.003], "tuner": "grid", "trials": None,
        }  # fmt: skip
        with_screening, without = (
            quick(screening=on, results=tmp_path / str(on), logs=tmp_path / f"l{on}", **options).trials
            for on in (True, False)
        )
        assert [t.sample for t in with_screening] == [t.sample for t in without]

    def test_reason_is_shown_if_all_trials_are_screened(self, quick, capfd, recorder):
        observer, rates = recorder(), [0.1, 0.2, 0.3, 0.4]
        with pytest.raises(RuntimeError, match=r"^None of the 4 trials completed\. Trial 0: symmetric"):
            quick(initializers=["zeros"], trials=4, learning_rates=rates, observers=[observer])
        assert observer.ended == ["screened"] * 4
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
