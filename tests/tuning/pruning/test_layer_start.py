"""The layers of a trial before training, as the study keeps them."""

import json

import pytest
from keras_initx.tuning.pruning.layer_signal import MAX_LAYERS, LayerStart, as_record, from_record

from keras_initx._event_files import Histogram

pytestmark = pytest.mark.one_backend


def test_back_from_json() -> None:
    layers = [
        LayerStart("a", 1.0, 0.5, {"activations": Histogram((0.0, 1.0), (2,))}),
        LayerStart("b", float("nan"), float("inf")),
        LayerStart("c"),
    ]
    # Strict: databases and browsers have no NaN.
    record = json.loads(json.dumps(as_record(layers), allow_nan=False))
    assert from_record(record) == {1: layers[0], 2: LayerStart("b"), 3: layers[2]}
    assert from_record(record)[1].histograms == {}
    assert from_record(as_record([])) == {}


def test_a_record_is_bounded_and_keeps_both_ends() -> None:
    layers = [LayerStart(f"sequential_12/residual_block_{n}/dense", 1 / 3, 1 / 7) for n in range(5000)]
    record = as_record(layers)
    assert len(json.dumps(record)) < 2**16
    depths = list(from_record(record))
    assert len(depths) == MAX_LAYERS
    assert (depths[0], depths[-1]) == (1, 5000)
    assert from_record(record)[depths[7]] == layers[depths[7] - 1]
