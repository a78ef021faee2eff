"""Layer names that start anew, and nothing else: what the user has set for all models stays."""


def reset_layer_names() -> None:
    """Starts the names of layers anew, as in a new process.

    `keras.utils.clear_session` does that too, but also forgets the dtype policy, whether unsafe
    deserialization is allowed, and the custom objects of a scope that is open.

    Example:

    >>> import keras
    >>> reset_layer_names()
    >>> keras.layers.Dense(1).name
    'dense'
    """
    # Keras has no public way to this; a test fails when it changes.
    from keras.src.utils import naming

    naming.reset_uids()
