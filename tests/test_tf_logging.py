"""TensorFlow's advice about retracing is dropped while a block runs, and nothing else."""

import contextlib
import logging

import pytest

from keras_initx._tf_logging import without_retracing_advice

pytestmark = [pytest.mark.check, pytest.mark.one_backend]
ADVICE = "5 out of the last 5 calls to %s triggered tf.function retracing."


def test_the_advice_alone_is_dropped_inside_the_block(caplog):
    logger = logging.getLogger("tensorflow")
    logger.addHandler(caplog.handler)
    try:
        with contextlib.suppress(RuntimeError), without_retracing_advice():
            logger.warning(ADVICE, "f")
            logger.warning("another warning")
            raise RuntimeError
        logger.warning(ADVICE, "g")
    finally:
        logger.removeHandler(caplog.handler)
    assert list(dict.fromkeys(r.getMessage() for r in caplog.records)) == ["another warning", ADVICE % "g"]
