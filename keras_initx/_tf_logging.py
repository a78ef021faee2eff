"""Silence advice of TensorFlow that does not concern the user's code."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def without_retracing_advice() -> Iterator[None]:
    """Drop TensorFlow's warning about frequent retracing while the context is open.

    TensorFlow counts the traces of all models together and warns when many models are traced once each.
    """
    logger = logging.getLogger("tensorflow")

    def is_other(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in str(record.msg)

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)
