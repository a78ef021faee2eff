"""Name an initializer in a layer: in as many epochs, a deep network learns more than with Keras's default.

Run: python examples/string_in_a_layer.py
"""

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_initx  # noqa: F401  (importing registers "he_auto")


def network(initializer: str, depth: int = 30) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((64,)),
            *(
                keras.layers.Dense(64, activation="relu", kernel_initializer=initializer)
                for _ in range(depth)
            ),
            keras.layers.Dense(10, activation="softmax", kernel_initializer=initializer),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main() -> None:
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x / 16, y, stratify=y, random_state=0)
    for initializer in ("glorot_uniform", "he_auto"):
        keras.utils.set_random_seed(0)
        model = network(initializer)
        signal = keras.Model(model.inputs, model.layers[-2].output).predict(x_test, verbose=0)
        model.fit(x_train, y_train, epochs=15, batch_size=64, verbose=0)
        accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
        print(
            f"{initializer:15s} signal after 30 layers, before training: std {signal.std():.0e}; "
            f"test accuracy after 15 epochs: {accuracy:.1%}"
        )


if __name__ == "__main__":
    main()
