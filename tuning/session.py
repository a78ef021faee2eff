"""A new Keras session that keeps what the user has set for all models."""

import keras


def new_session() -> None:
    """Starts the names of layers anew, and gives free what Keras holds of earlier models.

    `keras.utils.clear_session` also forgets the user's settings: a search under `mixed_float16` would
    train in float32 from its first trial on.

    Example:

    >>> keras.config.set_dtype_policy("mixed_bfloat16")
    >>> new_session()
    >>> keras.config.dtype_policy().name
    'mixed_bfloat16'
    >>> keras.config.set_dtype_policy("float32")
    """
    policy, distribution = keras.config.dtype_policy(), keras.distribution.distribution()
    flash = keras.config.is_flash_attention_enabled()
    filtering = keras.config.is_traceback_filtering_enabled()
    logging = keras.config.is_interactive_logging_enabled()
    keras.utils.clear_session(free_memory=False)
    keras.config.set_dtype_policy(policy)
    if distribution is not None:
        keras.distribution.set_distribution(distribution)
    if flash is False:
        keras.config.disable_flash_attention()
    if not filtering:
        keras.config.disable_traceback_filtering()
    if not logging:
        keras.config.disable_interactive_logging()
