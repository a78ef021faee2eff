"""What a backend says of tracing that is not about the user's code."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def without_retracing_advice() -> Iterator[None]:
    """Without TensorFlow's advice against tracing often: each of many models is traced once."""
    logger = logging.getLogger("tensorflow")

    def without_advice(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in str(record.msg)

    logger.addFilter(without_advice)
    try:
        yield
    finally:
        logger.removeFilter(without_advice)
