"""Curvature and learning rates against the Hessian of a linear model, and against training."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx.diagnostics import diagnose
from tests.support.networks import data

# A dozen steps of TensorFlow take less time than tracing one.
EAGER = keras.backend.backend() == "tensorflow"


def regression(depth=3, rate=1e-3, optimizer=None, momentum=0.0):
    keras.utils.set_random_seed(5)
    hidden = [layers.Dense(32, "relu") for _ in range(depth)]
    model = keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(1)])
    model.compile(optimizer or keras.optimizers.SGD(rate, momentum=momentum), "mse", run_eagerly=EAGER)
    return model


def verdicts(report):
    return {finding.verdict for finding in report.findings}


class TestCurvature:
    @pytest.mark.usefixtures("compiled_pass")
    def test_the_hessian_of_linear_regression(self):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(1)])
        x = data(64, 8) * np.array([3, 1, 1, 1, 1, 1, 1, 1], "float32")
        report = diagnose(model, x, data(64, 1, seed=1), "mse")
        rows = np.c_[x, np.ones(64)]
        expected = np.linalg.eigvalsh(2 * rows.T @ rows / 64)[-1]
        # From below: three power iterations.
        assert 0.9 * expected <= report.curvature <= 1.001 * expected
        assert f"{2 / report.curvature:.2g}" in report.summary()

    @pytest.mark.usefixtures("compiled_pass")
    def test_weights_and_states_are_as_before(self):
        # On PyTorch, Keras itself cannot train a stateful GRU.
        kind = layers.SimpleRNN if keras.backend.backend() == "torch" else layers.GRU
        model = keras.Sequential(
            [keras.Input(batch_shape=(4, 5, 3)), kind(4, stateful=True), layers.Dense(1)]
        )
        model.compile("sgd", "mse")
        before = [ops.convert_to_numpy(v).copy() for v in model.variables]
        assert diagnose(model, data(4, 5, 3), data(4, 1)).curvature > 0
        for variable, value in zip(model.variables, before, strict=True):
            assert np.array_equal(ops.convert_to_numpy(variable), value)

    def test_half_precision_has_none(self):
        keras.config.set_dtype_policy("float16")
        try:
            model = keras.Sequential([keras.Input((8,)), layers.Dense(1)])
        finally:
            keras.config.set_dtype_policy("float32")
        report = diagnose(model, data(8, 8), data(8, 1), "mse")
        assert np.isnan(report.curvature)
        assert report.constant_loss > 0


class TestLearningRates:
    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    @pytest.mark.parametrize("scale", [(1, 1), (150, 1), (1, 100), (150, 100)])
    def test_a_rate_is_reported_exactly_if_training_fails(self, scale, momentum):
        x, y = scale[0] * np.abs(data(64, 8)), scale[1] * (1 + data(64, 1, seed=1) / 2)
        model = regression(rate=2e-3, momentum=momentum)
        report = diagnose(model, x, y)
        losses = [float(model.train_on_batch(x, y)) for _ in range(12)]
        fails = (
            not np.all(np.isfinite(losses)) or max(losses) > 1.5 * losses[0] or losses[-1] > 0.97 * losses[0]
        )
        assert ("learning rate" in verdicts(report)) == fails, (losses, report.summary())
        assert report.healthy == (not fails), report.summary()

    @pytest.mark.usefixtures("compiled_pass")
    def test_the_recommended_rate_trains(self):
        x, y = 150 * np.abs(data(64, 8)), data(64, 1, seed=1)
        text = next(f.text for f in diagnose(regression(), x, y).findings if f.verdict == "learning rate")
        rate = float(text.split("batch; ")[1].split()[0])
        model = regression(rate=rate)
        losses = [float(model.train_on_batch(x, y)) for _ in range(20)]
        assert losses[-1] < losses[0]
        assert max(losses) < 1.1 * losses[0]

    def test_adam_has_no_such_rate(self):
        x, y = 150 * np.abs(data(64, 8)), data(64, 1, seed=1)
        report = diagnose(regression(optimizer="adam"), x, y)
        assert "learning rate" not in verdicts(report)
        assert "scale" in verdicts(report)
        assert report.healthy

    @pytest.mark.parametrize(
        ("module", "is_tried"),
        [("keras.src.backend.torch.optimizers.torch_sgd", True), ("my_optimizers", False)],
    )
    def test_sgd_of_a_backend_is_tried_and_a_subclass_of_the_users_is_not(self, module, is_tried):
        # PyTorch's backend returns such a subclass.
        cls = type("SGD", (keras.optimizers.SGD,), {"__module__": module})
        report = diagnose(regression(optimizer=cls(1e-3)), 150 * np.abs(data(64, 8)), data(64, 1, seed=1))
        assert ("learning rate" in verdicts(report)) == is_tried

    @pytest.mark.parametrize(
        "options", [{"clipnorm": 1.0}, {"global_clipnorm": 0.1}, {"clipvalue": 1e-3}, {"clipnorm": 300.0}]
    )
    def test_an_optimizer_that_clips_is_tried_with_its_clipping(self, options):
        x, y = 150 * np.abs(data(64, 8)), data(64, 1, seed=1)
        model = regression(optimizer=keras.optimizers.SGD(1e-3, **options))
        report = diagnose(model, x, y)
        losses = [float(model.train_on_batch(x, y)) for _ in range(12)]
        # A small rise on the way to a much lower loss does not count.
        limit = 10 if losses[-1] < 0.9 * losses[0] else 1.5
        rises = not max(losses) < limit * losses[0]
        assert ("learning rate" in verdicts(report)) == rises, (losses, report.summary())

    @pytest.mark.parametrize("largest", [1e-3, 1e-7])
    def test_a_schedule_counts_by_its_largest_rate(self, largest):
        x, y = 150 * np.abs(data(64, 8)), data(64, 1, seed=1)
        warmup = keras.optimizers.schedules.CosineDecay(
            0.0, decay_steps=500, warmup_target=largest, warmup_steps=100
        )
        steps = keras.optimizers.schedules.PiecewiseConstantDecay([40], [1e-9, largest])
        for schedule in (warmup, steps):
            report = diagnose(regression(optimizer=keras.optimizers.SGD(schedule)), x, y)
            texts = [f.text for f in report.findings if f.verdict == "learning rate"]
            assert len(texts) == (largest == 1e-3)
            assert all("rate of 0.001, the largest of its schedule, the first" in text for text in texts)

    @pytest.mark.parametrize("nesterov", [True, False])
    def test_the_recommended_rate_with_momentum_does_not_diverge(self, nesterov):
        x, y = 150 * np.abs(data(64, 8)), data(64, 1, seed=1)
        options = {"momentum": 0.9, "nesterov": nesterov}
        report = diagnose(regression(optimizer=keras.optimizers.SGD(1e-3, **options)), x, y)
        text = next(f.text for f in report.findings if f.verdict == "learning rate")
        rate = float(text.split("batch; ")[1].split()[0])
        with np.errstate(all="ignore"):
            for factor in (1, 300):
                model = regression(optimizer=keras.optimizers.SGD(factor * rate, **options))
                losses = [float(model.train_on_batch(x, y)) for _ in range(20)]
                assert (max(losses) < 1.1 * losses[0] and losses[-1] < losses[0]) == (factor == 1), losses

    @pytest.mark.parametrize("options", [{"nesterov": True, "momentum": 0.9}, {"weight_decay": 1e-4}, {}])
    @pytest.mark.parametrize("is_normalized", [True, False])
    def test_a_rate_that_blows_up_is_found(self, options, is_normalized):
        keras.utils.set_random_seed(5)
        norm = [layers.BatchNormalization()] if is_normalized else []
        model = keras.Sequential([keras.Input((8,)), *norm, layers.Dense(32, "relu"), layers.Dense(1)])
        model.compile(keras.optimizers.SGD(10.0, **options), "mse", run_eagerly=EAGER)
        x, y = data(64, 8), data(64, 1, seed=1)
        assert "learning rate" in verdicts(diagnose(model, x, y))
        with np.errstate(all="ignore"):
            losses = [float(model.train_on_batch(x, y)) for _ in range(12)]
        assert not max(losses) < 10 * losses[0]
