"""Set the random state that a run starts from.

Layer names restart too. Everything else that the user has set stays as it is.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import keras

from .devices import Strategy


@contextmanager
def seeded(seed: int, strategy: Strategy) -> Iterator[None]:
    """Draw everything in a `with` block from a seed, on the devices of a strategy."""
    # The draw of an initializer with an integer seed may depend on layer names, which count up. They restart
    # here, so that a resumed search draws what an uninterrupted one would.
    reset_layer_names()
    keras.utils.set_random_seed(seed)
    # Keras seeds PyTorch only where it is the backend, but a DataLoader draws its order from it on any.
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)
    # The scope starts after the reset, because TensorFlow keeps its strategy in the graph that is reset.
    with strategy.scope():
        yield


def reset_layer_names() -> None:
    """Restart the numbering of layer names, as in a new process.

    `keras.utils.clear_session` does that too, but it also forgets the dtype policy, the permission for
    unsafe deserialization, and the custom objects of an open scope.

    Example:

    >>> import keras
    >>> reset_layer_names()
    >>> keras.layers.Dense(1).name
    'dense'
    """
    # Keras has no public function for this; a test fails when the private one changes.
    from keras.src.utils import naming

    naming.reset_uids()
