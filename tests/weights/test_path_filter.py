import keras
import pytest
from keras import layers

import keras_initx
from keras_initx import InitxError
from keras_initx._weights.path_filter import PathFilter

pytestmark = pytest.mark.check

PATHS = ["block/dense_1/kernel", "block/dense_2/kernel", "head/kernel"]


def names(path):
    """Return a weight's path and the paths of the layers around it, as `WeightIndex.names` does."""
    parts = path.split("/")
    around = ["/".join(parts[:n]) for n in range(1, len(parts))]
    return [path, *around, *parts[:-1]]


def chosen(only=None, skip=None):
    path_filter = PathFilter(only, skip)
    path_filter.check(names(p) for p in PATHS)
    return [p for p in PATHS if path_filter.matches(names(p))]


@pytest.mark.parametrize(
    ("only", "skip", "count"),
    [
        (None, None, 3),
        ("*", None, 3),
        ("head", None, 1),
        ("block/*", None, 2),
        (None, "*/kernel", 0),
        (["head", "block/dense_1"], None, 2),
        ("*", "head", 2),
        ("dense_?", None, 2),
        ("head/kernel", None, 1),
    ],
)
def test_patterns(only, skip, count):
    assert len(chosen(only, skip)) == count


def test_a_pattern_that_matches_nothing_gets_the_nearest():
    with pytest.raises(
        InitxError, match=r"^`skip='heda/kernel'` matches no layer and no weight. Did you mean 'head/kernel'"
    ):
        chosen(skip="heda/kernel")
    with pytest.raises(
        InitxError, match=r"^`only` must be a pattern of layer paths, or a list of patterns, got 3\."
    ):
        chosen(only=3)


@pytest.mark.parametrize(
    "call", [keras_initx.initialize, lambda m, only: keras_initx.reinitialize(m, "auto", only=only)]
)
@pytest.mark.parametrize("pattern", ["*bias", "model/head/bias"])
def test_a_weight_that_is_not_drawn_is_named(call, pattern):
    stack = [layers.Dense(3, name="first"), layers.BatchNormalization(), layers.Dense(2, name="head")]
    model = keras.Sequential([keras.Input((4,)), *stack], name="model")
    with pytest.raises(
        InitxError,
        match=r"^`only='.*bias'` matches only weights that are not drawn here, such as "
        r"model/(head|first)/bias\. Nearest weights to draw: .*model/head/kernel",
    ):
        call(model, only=pattern)
    # `skip` protects any weight, and a mere slip of the pen matches nothing.
    assert len(keras_initx.initialize(model, skip=pattern).rows) == 2
    with pytest.raises(InitxError, match="matches no layer and no weight"):
        call(model, only="*bais")
    assert keras_initx.reinitialize(model, only="*bias") == 2


def test_the_name_of_a_model_or_layer_means_all_that_is_in_it():
    inner = keras.Input((6,))
    body = keras.Model(inner, layers.Dense(4, name="d")(layers.Dense(5, name="c")(inner)), name="body")
    x = inputs = keras.Input((3, 2))
    x = layers.Bidirectional(layers.GRU(3), name="both")(x)
    model = keras.Model(inputs, layers.Dense(2, name="out")(body(x)))

    def drawn(**kwargs):
        rows = keras_initx.initialize(model, seed=0, dry_run=True, **kwargs).rows
        return sorted({row.path.split("/")[0] for row in rows if row.method not in ("kept", "frozen")})

    assert drawn(skip="body") == ["both", "out"]
    assert drawn(only="body") == ["c", "d"]
    assert drawn(skip="both") == ["c", "d", "out"]
    with pytest.raises(
        InitxError, match=r"^`only='bodi'` matches no layer and no weight. Did you mean 'body'"
    ):
        keras_initx.initialize(model, only="bodi")


@pytest.mark.parametrize("only", [None, "*", "head"])
def test_patterns_that_leave_nothing(only):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.Dense(2, name="head")])
    for function in (keras_initx.initialize, lambda m, **names: keras_initx.reinitialize(m, "auto", **names)):
        with pytest.raises(InitxError, match=r"^`skip='\*'` excludes every weight"):
            function(model, only=only, skip="*")
    assert keras_initx.initialize(model, only=only, skip="*", dry_run=True).rows[0].method == "kept"
    # The bias is a change too.
    keras_initx.initialize(model, skip="*/kernel", output_bias="prior", class_counts=[9, 1])
