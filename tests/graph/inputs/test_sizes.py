import keras
import pytest
from keras import layers, ops

from keras_initx import InitxError, diagnose, initialize
from keras_initx._graph import trace

pytestmark = pytest.mark.check

ROWS = 10


class Positions(layers.Layer):
    """Add the first rows of a table of positions."""

    def __init__(self, way, rows=ROWS, **kwargs):
        super().__init__(**kwargs)
        self.way = way
        self.lookup = layers.Embedding(rows, 6) if way.startswith("look") else None

    def build(self, shape):
        if self.lookup is None:
            self.table = self.add_weight(shape=(ROWS, 6), name="table")
        else:
            self.lookup.build(None)

    def call(self, x):
        length = ops.shape(x)[1]
        if self.way == "look up":
            return x + self.lookup(ops.arange(length))
        if self.way == "look up what x counts":
            return x + self.lookup(ops.cast(ops.cumsum(ops.ones_like(x[:, :, 0]), axis=1), "int32") - 1)
        if self.way == "slice":
            return x + ops.slice(ops.convert_to_tensor(self.table), (0, 0), (length, 6))
        return x + ops.convert_to_tensor(self.table)[:length]

    def compute_output_shape(self, shape):
        return shape


def with_positions(way, rows=ROWS):
    ids = keras.Input((None,), dtype="int32")
    return keras.Model(ids, layers.Dense(3)(Positions(way, rows)(layers.Embedding(20, 6)(ids))))


class TestFittingGraph:
    @pytest.mark.parametrize("way", ["look up", "look up what x counts", "slice", "index"])
    def test_a_short_table_of_positions(self, way):
        model = with_positions(way)
        assert trace(model).symbolic.shape == (2, ROWS)
        plan = initialize(model, seed=0)
        assert not any("not opened" in note for note in plan.notes)
        assert diagnose(model).healthy

    def test_a_table_of_one_length(self):
        x = keras.Input((None, 6))

        class Fixed(Positions):
            def call(self, x):
                return x + self.table

        graph = trace(keras.Model(x, layers.Dense(2)(Fixed("all")(x))))
        assert graph.symbolic.shape == (2, ROWS, 6)

    def test_a_long_table_changes_nothing(self):
        assert trace(with_positions("look up", rows=500)).symbolic.shape == (2, 16)

    def test_audio(self):
        x = keras.Input((None, 1))
        z = layers.Conv1D(4, 127, strides=64)(x)
        assert trace(keras.Model(x, layers.Conv1D(4, 7)(z))).symbolic.shape == (2, 1024, 1)

    def test_no_length_works(self):
        x = keras.Input((None, 6))

        class Wrong(layers.Layer):
            broken = False

            def call(self, x):
                if self.broken:
                    raise ValueError("never")
                return x

        wrong = Wrong()
        model = keras.Model(x, layers.Dense(2)(wrong(x)))
        wrong.broken = True
        wrong.compute_output_spec = wrong.call
        with pytest.raises(InitxError, match=r"shape \(2, 16, 6\): ValueError: never"):
            trace(model)
