import keras
import numpy as np
import pytest
from keras import ops

from keras_initx._weights import snapshot
from keras_initx._weights.snapshot import Snapshot

pytestmark = pytest.mark.check


@pytest.mark.parametrize("limit", [2**20, 16])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32"])
def test_every_bit_comes_back(monkeypatch, dtype, limit):
    monkeypatch.setattr(snapshot, "_IN_MEMORY", limit)
    start = [ops.cast(ops.convert_to_tensor(np.arange(-9.0, n - 9)), dtype) for n in (20, 300)]
    variables = [keras.Variable(value, dtype=dtype, trainable=False) for value in start]
    with Snapshot(variables) as before:
        for variable in variables:
            variable.assign(ops.zeros_like(ops.convert_to_tensor(variable)))
            before.add(variable)
        before.restore()
    for variable, value in zip(variables, start, strict=True):
        assert ops.convert_to_numpy(variable).tobytes() == ops.convert_to_numpy(value).tobytes()


def test_scalars():
    variable = keras.Variable(3.0)
    with Snapshot([variable]) as before:
        variable.assign(4.0)
        before.restore()
    assert float(ops.convert_to_numpy(variable)) == 3.0
