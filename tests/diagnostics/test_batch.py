"""`diagnose` takes the same data as `fit`, and its errors name the argument."""

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers, ops

from keras_initx import InitxError
from keras_initx.diagnostics import diagnose
from tests.support.networks import by_hand, data, dense

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return data(8, 8, seed=index), data(8, 5, seed=100 + index)


def with_nan(shape, *place):
    values = data(*shape)
    values[place] = np.nan
    return values


class TestData:
    def batches(self, kind):
        pairs = [(data(8, 8, seed=n), data(8, 5, seed=100 + n)) for n in range(8)]
        if kind == "generator":
            return iter(pairs)
        if kind == "PyDataset":
            return Batches()
        tf = pytest.importorskip("tensorflow")
        return tf.data.Dataset.from_tensor_slices(tuple(map(np.concatenate, zip(*pairs, strict=True)))).batch(
            8
        )

    @pytest.mark.parametrize("kind", ["generator", "PyDataset", "tf.data"])
    def test_batches_of_inputs_and_targets(self, kind):
        model = dense()
        x = np.concatenate([data(8, 8, seed=n) for n in range(4)])
        y = np.concatenate([data(8, 5, seed=100 + n) for n in range(4)])
        expected = diagnose(model, x, y, "mse", samples=32)
        report = diagnose(model, self.batches(kind), loss="mse", samples=32)
        assert report == expected
        assert report.samples == 32

    def test_sample_weights_apply_as_in_training(self):
        model, x, y = dense(), data(16, 8), data(16, 5)
        model.compile("sgd", "mse")
        weights = np.arange(16, dtype="float32")
        expected = model.evaluate(x, y, sample_weight=weights, batch_size=16, verbose=0)
        for labelled in ((x, y, weights), iter([(x[:8], y[:8], weights[:8]), (x[8:], y[8:], weights[8:])])):
            report = diagnose(model, labelled)
            assert report.loss == pytest.approx(expected, rel=1e-5)
            _, gradients = by_hand(model, x, y)
            scaled = gradients[-1] * weights[:, None]
            assert report.rows[-1].gradient_rms == pytest.approx(np.sqrt(np.mean(scaled**2)), rel=1e-4)

    def test_dictionaries_of_inputs_targets_and_weights(self):
        inputs = {name: keras.Input((n,), name=name) for name, n in (("alpha", 4), ("beta", 3))}
        joined = layers.Concatenate()([layers.Dense(6, name="a")(inputs["alpha"]), inputs["beta"]])
        outputs = {"one": layers.Dense(2, name="one")(joined), "two": layers.Dense(1, name="two")(joined)}
        model = keras.Model(inputs, outputs)
        model.compile("sgd", {"one": "mse", "two": "mae"})
        x = {"beta": data(16, 3), "alpha": 100 * data(16, 4)}
        y = {"one": data(16, 2), "two": data(16, 1)}
        weights = {"one": np.arange(16.0), "two": np.ones(16)}
        expected = model.evaluate(x, y, sample_weight=weights, batch_size=16, verbose=0, return_dict=True)[
            "loss"
        ]
        report = diagnose(model, (x, y, weights))
        assert report.loss == pytest.approx(expected, rel=1e-5)
        # As in `fit`, arrays that the model has no input for are ignored.
        assert diagnose(model, ({**x, "id": np.arange(16)}, y, weights)) == report
        assert diagnose(model, (x, y)).rows[0].std == pytest.approx(
            np.std(x["alpha"] @ ops.convert_to_numpy(model.get_layer("a").kernel)), rel=1e-4
        )
        with pytest.raises(InitxError, match=r"^`x` must have .*'zalpha'.*Missing: \['alpha'\]"):
            diagnose(model, {"beta": x["beta"], "zalpha": x["alpha"]})
        with pytest.raises(InitxError, match=r"^`y` of shape .*does not fit.*outputs are .*'one': \(16, 2\)"):
            diagnose(model, x, {"one": y["one"]})

    def test_one_input_that_is_the_same_for_all_samples(self):
        image, time = keras.Input((8,)), keras.Input((4,))
        h = layers.Add()([layers.Dense(16)(image), layers.Dense(16, "relu")(layers.Dense(16, "relu")(time))])
        model = keras.Model([image, time], layers.Dense(2)(h))
        report = diagnose(model, [data(16, 8), np.ones((16, 4), "float32")])
        assert report.healthy, report.summary()
        assert "same inputs" not in {f.verdict for f in report.findings}

    @pytest.mark.parametrize("kind", ["dense", "stateful"])
    def test_a_model_that_is_fixed_to_one_sample(self, kind):
        shape, hidden = (
            ((8,), layers.Dense(16)) if kind == "dense" else ((5, 3), layers.LSTM(8, stateful=True))
        )
        model = keras.Sequential([keras.Input(batch_shape=(1, *shape)), hidden, layers.Dense(2, "tanh")])
        x, y = data(4, *shape), data(4, 2)
        for report in (diagnose(model), diagnose(model, x), diagnose(model, x, y, "mse")):
            assert report.samples == 1
            assert report.healthy, report.summary()
            assert "1 sample, so what differs between samples was not measured" in report.summary()

    def test_boolean_inputs_need_data(self):
        inputs = keras.Input((4,), dtype="bool")
        model = keras.Model(inputs, layers.Dense(2)(ops.cast(inputs, "float32")))
        with pytest.raises(InitxError, match=r"^`x` is needed: noise for the boolean inputs .*Pass data: x="):
            diagnose(model)

    def test_an_ignored_array_may_hold_anything(self):
        inputs = [keras.Input((3,), name=name) for name in ("a", "b")]
        model = keras.Model(inputs, layers.Dense(2)(layers.Concatenate()(inputs)))
        x = {"b": data(16, 3), "a": data(16, 3, seed=1), "junk": np.full(16, np.nan)}
        y = data(16, 2)
        assert diagnose(model, x, y, "mse") == diagnose(model, ([x["a"], x["b"]], y, None), loss="mse")

    def test_a_dataset_without_an_end(self):
        class Endless(Batches):
            @property
            def num_batches(self):
                return None

        assert diagnose(dense(), Endless(), loss="mse", samples=32).samples == 32

    def test_too_few_sample_weights(self):
        with pytest.raises(
            InitxError, match=r"^`x` has 16 samples, but there are 3 weights. Pass one for each"
        ):
            diagnose(dense(), (data(16, 8), data(16, 5), np.ones(3, "float32")), loss="mse")

    def test_a_pair_of_arrays(self):
        model, x, y = dense(), data(16, 8), data(16, 5)
        assert diagnose(model, (x, y), loss="mse") == diagnose(model, x, y, "mse")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"x": data(16, 8), "loss": "mse"}, "^`loss='mse'` needs targets. Pass y="),
            (
                {"x": data(16, 8), "y": data(16, 5)},
                "^`y` is given, but there is no loss: .*compile the model",
            ),
            (
                {"x": data(16, 8), "y": data(9, 5), "loss": "mse"},
                "^`x` has 16 samples, but there are 9 targets",
            ),
            (
                {"x": data(160, 8), "y": data(100, 5), "loss": "mse"},
                "^`x` has 160 samples, but there are 100 targets",
            ),
            (
                {"x": iter([data(16, 8)]), "y": data(16, 5), "loss": "mse"},
                "^`y` must be None if `x` yields batches, got targets in addition to a list_iterator",
            ),
            (
                {"x": data(16, 8), "y": data(16, 5), "loss": "crosentropy"},
                "^`loss` must be the name of a loss that Keras knows, got 'crosentropy'",
            ),
            ({"x": data(16, 8), "y": [[0, 1], [2]] * 8, "loss": "mse"}, "^`y` must be .*np.asarray"),
            ({"x": data(16, 9)}, r"^`x` must have shape .*got \(16, 9\)"),
            ({"x": np.float32(3)}, r"^`x` must hold arrays of samples, got a single value.*x\[:1\]"),
            ({"x": data(1, 8)}, "^`x` must have at least 2 samples to compare, got 1"),
            ({"x": np.full((4, 8), np.nan)}, "^`x` contains NaN or infinite values"),
            # Behind the samples that are measured.
            (
                {"x": (data(200, 8), data(200, 5), with_nan((200,), 150)), "loss": "mse"},
                r"^`x\[2\]` .*\(1 of 200 entries, the first at \[150\]\)",
            ),
            (
                {"x": with_nan((200, 8), 100, 3), "y": data(200, 5), "loss": "mse"},
                r"^`x` .*\(1 of 1,600 entries, the first at \[100, 3\]\)",
            ),
            (
                {"x": data(200, 8), "y": with_nan((200, 5), 199, 4), "loss": "mse"},
                r"^`y` .*\(1 of 1,000 entries, the first at \[199, 4\]\)",
            ),
            ({"x": pd.DataFrame(with_nan((200, 8), 100, 3))}, r"^`x` .* the first at \[100, 3\]"),
            ({"x": data(16, 8), "samples": 1}, "^`samples` must be an integer >= 2, got 1"),
            (
                {"x": data(16, 8), "y": np.array(["a", "b"] * 8), "loss": "mse"},
                "^`y` must be numbers, got strings. .*np.unique",
            ),
            (
                {"x": iter(zip(data(16, 8), data(16), strict=True)), "loss": "mse"},
                "^`x` must yield batches, got single samples",
            ),
            (
                {"x": data(16, 8), "y": data(16, 5), "loss": "sparse_categorical_crossentropy"},
                r"^`y` of shape \(16, 5\) does not fit the loss \(.*one-hot",
            ),
        ],
    )
    def test_bad_input_names_the_argument(self, arguments, message):
        with pytest.raises(InitxError, match=message):
            diagnose(dense(), **arguments)


class TestClasses:
    @pytest.mark.parametrize(
        ("first", "last", "remedy"),
        [
            (1, 3, "Subtract 1."),
            (0, 4, "Give the model 5 outputs"),
            (-1, 2, "Number the classes"),
            (0, 2, ""),
        ],
    )
    def test_classes_without_an_output(self, first, last, remedy):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(3, "softmax")])
        y = np.resize(np.arange(first, last + 1), 16)
        for loss in ("sparse_categorical_crossentropy", keras.losses.SparseCategoricalCrossentropy()):
            if not remedy:
                assert diagnose(model, data(16, 8), y, loss).healthy
                continue
            with pytest.raises(InitxError) as error:
                diagnose(model, data(16, 8), y, loss)
            wrong = next(c for c in y if not 0 <= c < 3)
            text = f"`y` must have class numbers from 0 to 2 for its 3 outputs, got {wrong}. {remedy}"
            assert str(error.value).startswith(text)

    def test_classes_that_the_loss_ignores(self):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(3, "softmax")])
        loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)
        assert diagnose(model, data(16, 8), np.resize([-1, 0, 1, 2], 16), loss).healthy

    def test_numbers_of_another_loss_are_no_classes(self):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(1)])
        assert diagnose(model, data(16, 8), np.resize([1, 2, 3], (16, 1)).astype("float32"), "mse").healthy

    def test_soft_labels(self):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(16, "relu"), layers.Dense(3, "softmax")])
        y = 1 / 3 + 0.01 * data(64, 3)
        y /= y.sum(axis=1, keepdims=True)
        for loss in ("categorical_crossentropy", "kl_divergence", "mse"):
            assert not diagnose(model, data(64, 8), y, loss).findings
        with pytest.raises(InitxError, match="Take categorical_crossentropy for rows of probabilities"):
            diagnose(model, data(64, 8), y, "sparse_categorical_crossentropy")

    @pytest.mark.parametrize(
        ("y", "remedy"),
        [
            ([-1, 1], r"got -1\. Pass \(y \+ 1\) / 2"),
            ([0, 1, 2], r"got 2\. For 3 classes take 3 outputs"),
            ([0, 255], r"got 255\. .* for two classes divide by 255"),
            ([1, 2], r"got 2\. Subtract 1"),
            ([0.5, 3.5], r"got 3\.5\. Scale them"),
        ],
    )
    @pytest.mark.parametrize("loss", ["bce", keras.losses.BinaryFocalCrossentropy()])
    def test_labels_that_no_sigmoid_reaches(self, y, remedy, loss):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(1, "sigmoid")])
        with pytest.raises(InitxError, match=rf"^`y` must have labels from 0 to 1 .*{remedy}"):
            diagnose(model, data(16, 8), np.resize(np.float32(y), (16, 1)), loss)

    def test_labels_of_sigmoids_that_are_possible(self):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(1, "sigmoid")])
        x, y = data(16, 8), np.resize(np.float32([0.05, 0.95, 0.5]), (16, 1))
        assert diagnose(model, x, y, keras.losses.BinaryCrossentropy(label_smoothing=0.1)).healthy
        assert diagnose(model, x, y > 0.5, "binary_crossentropy").healthy
        # Labels without a weight do not count.
        missing = np.where(y == 0.5, -1, y).astype("float32")
        assert diagnose(model, (x, missing, np.float32(missing[:, 0] >= 0)), None, "bce").healthy

    @pytest.mark.parametrize(
        ("y", "remedy"),
        [
            ([[0, 1, 1], [1, 0, 0]], r"sums to 2\. .* take binary_crossentropy and sigmoids"),
            ([[0, 3, 0], [1, 1, 0]], r"sums to 3\. Divide each row"),
            ([[0.2, 0.2, 0.2], [1, 0, 0]], r"sums to 0\.6\. Divide each row"),
            ([[-1, 1, 1], [1, 0, 0]], r"a row with -1\."),
        ],
    )
    def test_rows_that_are_no_probabilities(self, y, remedy):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(3, "softmax")])
        for loss in ("categorical_crossentropy", keras.losses.CategoricalFocalCrossentropy()):
            with pytest.raises(InitxError, match=rf"^`y` must have rows of class probabilities.*{remedy}"):
                diagnose(model, data(16, 8), np.resize(np.float32(y), (16, 3)), loss)

    def test_rows_that_are_possible(self):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(3, "softmax")])
        # Rows of zeros are ignored samples, and the others have smoothed labels.
        y = np.resize(np.float32([[0, 0, 0], [0.9, 0.05, 0.05], [0, 1, 0], [0.1, 0.1, 0.8]]), (16, 3))
        assert diagnose(model, data(16, 8), y, "categorical_crossentropy").healthy
        assert diagnose(model, data(16, 8), 3 * y, "mse").healthy

    @pytest.mark.parametrize("sign", [1, -1])
    def test_one_hot_rows_times_an_advantage(self, sign):
        """The loss of REINFORCE is the mean of -advantage log p(action), whatever the sign."""
        model = keras.Sequential([keras.Input((8,)), layers.Dense(3, "softmax")])
        x, advantage, actions = data(16, 8), 40 * np.abs(data(16, seed=1)) + 1, np.resize([0, 1, 2], 16)
        advantage[::2] *= sign
        model.compile("sgd", "categorical_crossentropy")
        report = diagnose(model, x, advantage[:, None] * np.eye(3, dtype="float32")[actions])
        p = ops.convert_to_numpy(model(x))[np.arange(16), actions]
        assert report.loss == pytest.approx(np.mean(-advantage * np.log(p)), rel=1e-4)
        assert not {"scale", "target scale", "first loss"} & {f.verdict for f in report.findings}
        # Losses below 0 have no best constant.
        assert np.isfinite(report.constant_loss) == (sign > 0)

    def test_one_column_is_no_row_of_classes(self):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(1, "softmax")])
        with pytest.raises(InitxError, match=r"got one column\. Take binary_crossentropy and a sigmoid"):
            diagnose(model, data(16, 8), np.resize([0, 1], (16, 1)), "categorical_crossentropy")

    def test_class_numbers_are_whole(self):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(3, "softmax")])
        with pytest.raises(InitxError, match=r"^`y` must have class numbers .*got 0\.5\. Number the classes"):
            diagnose(model, data(16, 8), np.resize([0, 0.5, 1, 2], 16), "sparse_categorical_crossentropy")

    def test_losses_by_name_belong_to_their_outputs(self):
        inputs = keras.Input((8,))
        outputs = [layers.Dense(1, name="z")(inputs), layers.Dense(1, "sigmoid", name="a")(inputs)]
        model = keras.Model(inputs, outputs)
        model.compile("adam", {"z": "mse", "a": "binary_crossentropy"})
        numbers, labels = 5 * data(16, 1), np.resize(np.float32([0, 1]), (16, 1))
        for y in ([numbers, labels], {"z": numbers, "a": labels}):
            assert diagnose(model, data(16, 8), y).loss > 0
        with pytest.raises(InitxError, match="labels from 0 to 1"):
            diagnose(model, data(16, 8), [numbers, 5 * labels])


def test_lists_of_numbers(x):
    model, y = dense(classes=1), data(32, 1)[:, 0]
    assert diagnose(model, x.tolist(), y.tolist(), "mse").loss == pytest.approx(
        diagnose(model, x, y, "mse").loss
    )
