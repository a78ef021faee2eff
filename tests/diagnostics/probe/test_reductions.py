"""Each reduction against NumPy and SciPy on the whole tensor."""

import numpy as np
import pytest
from keras import ops
from scipy.spatial.distance import pdist
from scipy.stats import entropy

from keras_initx.diagnostics.probe import reductions

pytestmark = pytest.mark.check


def forward(arguments):
    return reductions.unscaled(named(reductions.FORWARD, reductions.forward(*arguments)))


def named(names, values):
    return dict(zip(names, np.asarray(ops.convert_to_numpy(values), dtype="float64"), strict=True))


@pytest.fixture
def tensor():
    # Samples of different lengths, far from the origin, so that centred and plain figures differ.
    rng = np.random.default_rng(3)
    return (rng.normal(size=(6, 5, 4)) * rng.uniform(0.5, 2, size=(6, 1, 1)) + 0.7).astype("float32")


class TestForward:
    def test_moments(self, tensor):
        numbers = forward((tensor, -1))
        assert numbers["mean"] == pytest.approx(tensor.mean(), rel=1e-5)
        assert numbers["second_moment"] == pytest.approx(np.mean(tensor**2), rel=1e-5)
        assert numbers["spread"] == pytest.approx(np.sqrt(tensor.var(axis=0).mean()), rel=1e-5)
        assert numbers["largest"] == pytest.approx(np.abs(tensor).max(), rel=1e-6)

    def test_effective_rank_is_the_participation_ratio_of_the_singular_values(self, tensor):
        rows = tensor.reshape(6, -1).astype("float64")
        powers = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False) ** 2
        numbers = forward((tensor, -1))
        assert numbers["effective_rank"] == pytest.approx(powers.sum() ** 2 / (powers**2).sum(), rel=1e-4)

    @pytest.mark.parametrize("samples", [300, 700])
    def test_the_rank_of_more_samples_than_features(self, samples):
        rows = np.random.default_rng(1).normal(size=(samples, 5)) * np.array([4, 2, 1, 1, 1])
        powers = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False) ** 2
        numbers = forward((rows.astype("float32"), -1))
        expected = powers.sum() ** 2 / (powers**2).sum()
        # Of more than 512 samples a choice counts, whose powers have a standard error of sqrt(2 / 512).
        tolerance = 1e-4 if samples <= reductions.RANKED else 5 * np.sqrt(2 / reductions.RANKED)
        assert numbers["effective_rank"] == pytest.approx(expected, rel=tolerance)

    def test_memory_does_not_grow_with_the_square_of_the_samples(self, monkeypatch):
        sizes, matmul = [], ops.matmul

        def watched(*args):
            sizes.append(int(np.prod((result := matmul(*args)).shape)))
            return result

        monkeypatch.setattr(ops, "matmul", watched)
        # 64 samples of 300 times, as TimeDistributed folds them.
        forward((np.ones((64 * 300, 4), "float32"), -1))
        assert max(sizes) <= reductions.RANKED**2

    @pytest.mark.parametrize("axis", [-1, 1])
    def test_large_tensors_are_reduced_in_parts(self, tensor, axis, monkeypatch):
        targets = tensor + 1
        bounds = (0.0, 1.0)
        whole = [
            np.asarray(function(*arguments))
            for function, arguments in (
                (reductions.forward, (tensor, axis)),
                (reductions.gradient, (tensor, axis)),
                (reductions.output, (tensor, axis, bounds, targets)),
            )
        ]
        # Parts of 2 samples, and of 4, so that 2 remain.
        for entries in (40, 80):
            monkeypatch.setattr(reductions, "PART", entries)
            np.testing.assert_allclose(reductions.gradient(tensor, axis), whole[1], rtol=1e-5)
            np.testing.assert_allclose(reductions.output(tensor, axis, bounds, targets), whole[2], rtol=1e-5)
            numbers = np.asarray(reductions.forward(tensor, axis))
            # The rank is estimated from a choice of the entries.
            is_exact = np.arange(len(reductions.FORWARD)) != reductions.FORWARD.index("effective_rank")
            np.testing.assert_allclose(numbers[is_exact], whole[0][is_exact], rtol=1e-5)
            rank = reductions.FORWARD.index("effective_rank")
            assert numbers[rank] == pytest.approx(whole[0][rank], rel=0.5)

    def test_one_sample_shows_no_difference_between_samples(self, tensor):
        numbers = forward((tensor[:1], -1))
        assert np.isnan([numbers["spread"], numbers["effective_rank"]]).all()
        assert numbers["second_moment"] == pytest.approx(np.mean(tensor[:1] ** 2), rel=1e-5)

    def test_rank_of_samples_along_one_line_is_one(self):
        line = np.arange(6)[:, None] * np.arange(1, 9)[None]
        assert forward((line, -1))["effective_rank"] == pytest.approx(1, abs=1e-4)

    def test_sample_cosine_is_the_mean_over_pairs_of_samples(self, tensor):
        numbers = forward((tensor, -1))
        cosines = 1 - pdist(tensor.reshape(6, -1).astype("float64"), "cosine")
        assert numbers["sample_cosine"] == pytest.approx(cosines.mean(), rel=1e-4)

    def test_token_cosine_is_the_mean_within_a_sample(self, tensor):
        numbers = forward((tensor, -1))
        cosines = [1 - pdist(sample.astype("float64"), "cosine") for sample in tensor]
        assert numbers["token_cosine"] == pytest.approx(np.mean(cosines), rel=1e-4)

    @pytest.mark.parametrize("axis", [-1, 1])
    def test_units_along_either_axis(self, tensor, axis):
        numbers = forward((tensor, axis))
        expected = np.sqrt(tensor.var(axis=axis).mean() / np.mean(tensor**2))
        assert numbers["unit_spread"] == pytest.approx(expected, rel=1e-4)

    def test_equal_units_have_no_spread(self, tensor):
        same = np.repeat(tensor[..., :1], 4, axis=-1)
        assert forward((same, -1))["unit_spread"] == pytest.approx(0, abs=1e-5)

    def test_entries_that_are_not_finite_are_counted(self, tensor):
        tensor[0, 0, :3] = np.nan, np.inf, -np.inf
        numbers = forward((tensor, -1))
        assert numbers["not_finite"] == pytest.approx(3 / tensor.size)

    def test_half_precision_is_reduced_in_full(self):
        # 60,000 squared is beyond float16.
        numbers = forward((np.full((4, 8), 6e4, "float16"), -1))
        assert numbers["second_moment"] == pytest.approx(3.6e9, rel=1e-3)


class TestOutput:
    def test_dead_units_and_second_moment(self):
        y = np.random.default_rng(0).uniform(0.1, 1, size=(8, 3, 5)).astype("float32")
        y[..., 1] = 0
        y[..., 4] = 0.5
        y[0, 0, 2] = 0
        numbers = named(reductions.OUTPUT, reductions.output(y, -1, (None, None)))
        assert numbers["dead"] == pytest.approx(2 / 5)
        assert numbers["output_second_moment"] == pytest.approx(np.mean(y**2), rel=1e-5)
        assert numbers["saturated"] == 0

    def test_one_sample_without_positions_shows_no_dead_unit(self):
        alone = named(reductions.OUTPUT, reductions.output(np.zeros((1, 4), "float32"), -1, (None, None)))
        assert np.isnan(alone["dead"])
        places = named(reductions.OUTPUT, reductions.output(np.zeros((1, 3, 4), "float32"), -1, (None, None)))
        assert places["dead"] == 1

    def test_units_of_the_first_axis(self):
        y = np.random.default_rng(0).uniform(0.1, 1, size=(8, 4, 5)).astype("float32")
        y[:, 3] = 0
        assert named(reductions.OUTPUT, reductions.output(y, 1, (None, None)))["dead"] == pytest.approx(1 / 4)

    @pytest.mark.parametrize(
        ("bounds", "expected"),
        [((0.0, 1.0), 0.5), ((-1.0, 1.0), 0.4), ((None, 1.0), 0.3), ((-1.0, None), 0.1)],
    )
    def test_saturated_within_one_percent_of_a_bound(self, bounds, expected):
        y = np.array([[-1, -0.5, 0.005, 0.2, 0.5, 0.8, 0.97, 0.992, 0.995, 1.0]], "float32").T
        numbers = named(reductions.OUTPUT, reductions.output(y, -1, bounds))
        by_hand = {
            (0.0, 1.0): np.mean((y <= 0.01) | (y >= 0.99)),
            (-1.0, 1.0): np.mean((y <= -0.98) | (y >= 0.98)),
            (None, 1.0): np.mean(y >= 0.99),
            (-1.0, None): np.mean(y <= -0.99),
        }[bounds]
        assert numbers["saturated"] == pytest.approx(by_hand)
        assert by_hand == pytest.approx(expected + 0.1 * (bounds == (0.0, 1.0)))

    def test_an_entry_at_its_target_is_not_saturated(self):
        y = np.array([[0.002, 0.002, 0.5, 0.999, 0.999]], "float32")
        for targets, expected in (([0, 1, 0, 0, 1], 2), ([0.05, 0.05, 1, 0.95, 0.95], 0)):
            rows = np.array([targets], "float32")
            numbers = named(reductions.OUTPUT, reductions.output(y, -1, (0.0, 1.0), rows))
            assert numbers["saturated"] == pytest.approx(expected / 5)


class TestAttention:
    def test_entropy_and_spread_of_each_head(self):
        logits = np.random.default_rng(1).normal(size=(3, 2, 4, 7)) * np.array([0.1, 3])[:, None, None]
        weights = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        numbers = np.asarray(ops.convert_to_numpy(reductions.attention(weights.astype("float32"))))
        for head in range(2):
            own = weights[:, head]
            assert numbers[0, head] == pytest.approx(entropy(own, axis=-1).mean() / np.log(7), rel=1e-4)
            together = (own.mean(axis=1) ** 2).sum(axis=-1).mean()
            alone = (own**2).sum(axis=-1).mean(axis=1).mean()
            assert numbers[1, head] == pytest.approx(1 - together / alone, rel=1e-3, abs=1e-5)

    def test_only_visible_keys_and_queries_with_a_choice_count(self):
        visible = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)[None, None]
        weights = np.where(visible, 1.0, 0.0) / np.maximum(visible.sum(axis=-1, keepdims=True), 1)
        numbers = ops.convert_to_numpy(reductions.attention(weights.astype("float32"), visible))[:, 0]
        own = weights[0, 0, :2]
        spread = 1 - (own.mean(axis=0) ** 2).sum() / (own**2).sum(axis=1).mean()
        assert numbers == pytest.approx([1, spread], abs=1e-5)
        alone = ops.convert_to_numpy(reductions.attention(np.ones((2, 1, 4, 1), "float32")))[:, 0]
        assert np.isnan(alone).all()

    def test_the_two_ends(self):
        same = np.full((2, 1, 4, 4), 0.25, "float32")
        own = np.tile(np.eye(4, dtype="float32"), (2, 1, 1, 1))
        assert ops.convert_to_numpy(reductions.attention(same))[:, 0] == pytest.approx([1, 0], abs=1e-5)
        assert ops.convert_to_numpy(reductions.attention(own))[:, 0] == pytest.approx([0, 0.75], abs=1e-5)


def test_gradient_of_channels_first_and_of_tiny_numbers():
    g = np.random.default_rng(2).normal(size=(5, 3, 7)).astype("float32")
    g[:, 1] = g[:, :1].mean(axis=1)
    expected = np.sqrt(g.var(axis=1).mean() / np.mean(g**2))
    for size in (1.0, 1e-18):
        numbers = named(reductions.GRADIENT, reductions.gradient(g * np.float32(size), 1))
        assert numbers["gradient_unit_spread"] == pytest.approx(expected, rel=1e-4)


def test_gradient():
    g = np.random.default_rng(2).normal(0.3, 2, size=(5, 7)).astype("float32")
    numbers = named(reductions.GRADIENT, reductions.gradient(g))
    assert numbers["gradient_mean"] == pytest.approx(g.mean(), rel=1e-5)
    assert numbers["gradient_second_moment"] == pytest.approx(np.mean(g**2), rel=1e-5)


@pytest.mark.parametrize("number", [3.0, -np.inf, np.nan])
def test_a_tensor_after_its_numbers_is_as_before(number):
    x = np.array([[-2.5, np.inf], [np.nan, 1e-30]], "float32")
    for dtype in ("float32", "float16"):
        found = reductions.after(ops.cast(x, dtype), ops.convert_to_tensor([number, 1.0]))
        assert found.dtype == ops.cast(x, dtype).dtype
        np.testing.assert_array_equal(ops.convert_to_numpy(found), x.astype(dtype))
