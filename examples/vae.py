"""Tune the initializers of a variational autoencoder: a training step of its own, and no labels.

Run: python examples/vae.py  (on the TensorFlow backend, for which the training step is written)
"""

import keras
import keras_tuner
import rich
import tensorflow as tf
from keras_initx.tuning import Results, SearchSpace, search
from sklearn.datasets import load_digits

LATENT = 4


class VAE(keras.Model):
    """An encoder and a decoder; `call` returns the reconstruction."""

    def __init__(self, units: int) -> None:
        super().__init__()
        inputs, latent = keras.Input((64,)), keras.Input((LATENT,))
        hidden = keras.layers.Dense(units, activation="relu")(inputs)
        self.encoder = keras.Model(inputs, [keras.layers.Dense(LATENT)(hidden) for _ in range(2)])
        hidden = keras.layers.Dense(units, activation="relu")(latent)
        self.decoder = keras.Model(latent, keras.layers.Dense(64, activation="sigmoid")(hidden))
        self.units, self.tracker = units, keras.metrics.Mean("loss")
        self.noise = keras.random.SeedGenerator(0)

    def get_config(self) -> dict[str, int]:
        return {"units": self.units}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.tracker]

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.decoder(self.encoder(x)[0])

    def loss_of(self, x: tf.Tensor) -> tf.Tensor:
        mean, log_variance = self.encoder(x)
        sample = mean + tf.exp(log_variance / 2) * keras.random.normal(tf.shape(mean), seed=self.noise)
        divergence = -0.5 * tf.reduce_sum(1 + log_variance - mean**2 - tf.exp(log_variance), axis=1)
        return tf.reduce_mean(tf.reduce_sum((x - self.decoder(sample)) ** 2, axis=1) + 0.1 * divergence)

    def train_step(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = self.loss_of(x)
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


def build(hp: keras_tuner.HyperParameters) -> keras.Model:
    model = VAE(hp.Choice("units", [32, 64]))
    model.compile(keras.optimizers.Adam(3e-3))
    return model


def main() -> None:
    x = (load_digits().data / 16).astype("float32")
    result = search(
        build,
        x,
        objective=keras_tuner.Objective("loss", "min"),
        epochs=5,
        trials=4,
        seeds=2,
        batch_size=64,
        space=SearchSpace(initializers=["he_auto", "glorot_auto", "own"]),
        results=Results("results/vae", mode="overwrite"),
    )
    rich.print(result.table())
    error = ((x - result.best_model().predict(x, verbose=0)) ** 2).mean()
    print(f"Mean squared error of a pixel: {error:.4f} (of the mean image: {x.var(axis=0).mean():.4f})")


if __name__ == "__main__":
    main()
