"""Reset the automatic layer names of Keras, and nothing else that the user has set."""


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
