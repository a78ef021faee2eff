"""Small models and data with the structure of published Keras examples, as `search` would receive them."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import keras_tuner
import numpy as np

L = keras.layers
ROWS, CLASSES = 32, 2
generator = np.random.default_rng(0)
IMAGES = generator.random((ROWS, 8, 8, 1)).astype("float32")
LABELS = generator.integers(0, CLASSES, ROWS)
TABLE = generator.normal(size=(ROWS, 4)).astype("float32")
TOKENS = generator.integers(0, 20, (ROWS, 6))

Example = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def compiled(
    model: keras.Model, loss: Any = "sparse_categorical_crossentropy", optimizer: Any = "adam", **options: Any
) -> keras.Model:
    model.compile(optimizer, loss, **options)
    return model


def classifier(*layers: Any, optimizer: Any = "adam") -> keras.Model:
    model = keras.Sequential([*layers, L.Dense(CLASSES, activation="softmax")])
    return compiled(model, optimizer=optimizer, metrics=["accuracy"])


def dataset(*arrays: Any) -> Any:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(8)


def mnist_convnet() -> Example:
    def build():
        return classifier(keras.Input((8, 8, 1)), L.Conv2D(4, 3, activation="relu"), L.Flatten())

    return build, (IMAGES, LABELS), {"batch_size": 8, "validation_split": 0.25}


def text_transformer() -> Example:
    def build(hp: Any) -> keras.Model:
        inputs = keras.Input((6,))
        x = L.Embedding(20, 4)(inputs)
        x = L.LayerNormalization()(x + L.MultiHeadAttention(hp.Choice("heads", [1, 2]), 2)(x, x))
        outputs = L.Dense(CLASSES, activation="softmax")(L.GlobalAveragePooling1D()(x))
        return compiled(keras.Model(inputs, outputs), metrics=["accuracy"])

    return build, (TOKENS, LABELS), {"validation_data": (TOKENS, LABELS)}


def images_from_scratch() -> Example:
    def build():
        return classifier(
            keras.Input((8, 8, 1)), L.RandomFlip(), L.Conv2D(4, 3), L.BatchNormalization(), L.Flatten()
        )

    callbacks = [keras.callbacks.EarlyStopping(patience=3)]
    return (
        build,
        (dataset(IMAGES, LABELS),),
        {
            "validation_data": dataset(IMAGES, LABELS),
            "callbacks": callbacks,
        },
    )


def segmentation() -> Example:
    def build() -> keras.Model:
        inputs = keras.Input((8, 8, 1))
        x = skip = L.Conv2D(4, 3, padding="same", activation="relu")(inputs)
        x = L.UpSampling2D()(L.Conv2D(4, 3, strides=2, padding="same")(x))
        outputs = L.Conv2D(CLASSES, 1, activation="softmax")(L.Concatenate()([x, skip]))
        return compiled(keras.Model(inputs, outputs))

    masks = (IMAGES[..., 0] > 0.5).astype("int32")
    data = dataset(IMAGES, masks)
    return build, (data,), {"validation_data": data, "objective": "val_loss"}


def text_ids() -> Example:
    def build():
        return classifier(keras.Input((6,)), L.Embedding(20, 4), L.Bidirectional(L.LSTM(3)))

    return build, (TOKENS, LABELS), {"validation_data": (TOKENS, LABELS), "batch_size": 8}


def time_series() -> Example:
    def build():
        return classifier(keras.Input((6, 1)), L.Conv1D(4, 3, activation="relu"), L.GlobalAveragePooling1D())

    callbacks = [keras.callbacks.ReduceLROnPlateau(patience=1)]
    data = TOKENS[..., None] / 20.0
    return build, (data, LABELS), {"validation_split": 0.25, "callbacks": callbacks}


def exponential_decay() -> Example:
    def rate():
        return keras.optimizers.schedules.ExponentialDecay(1e-2, 10, 0.9)

    def build():
        return classifier(keras.Input((4,)), L.Dense(4), optimizer=keras.optimizers.Adam(rate()))

    return build, (TABLE, LABELS), {"validation_data": (TABLE, LABELS)}


def imbalanced() -> Example:
    def build():
        return classifier(keras.Input((4,)), L.Dense(4, activation="relu"))

    return build, (TABLE, LABELS), {"validation_data": (TABLE, LABELS), "class_weight": {0: 1.0, 1: 9.0}}


def raw_strings() -> Example:
    texts = np.array(["good film", "bad film"] * (ROWS // 2), dtype=object)

    def build() -> keras.Model:
        vectorize = L.TextVectorization(10, output_sequence_length=3)
        vectorize.adapt(texts)
        return classifier(
            keras.Input((), dtype="string"), vectorize, L.Embedding(10, 4), L.GlobalAveragePooling1D()
        )

    return build, (dataset(texts, LABELS),), {"validation_data": dataset(texts, LABELS)}


def weather() -> Example:
    def make():
        return keras.utils.timeseries_dataset_from_array(TABLE, TABLE[4:, 0], 4, batch_size=8)

    def build() -> keras.Model:
        model = keras.Sequential([keras.Input((4, 4)), L.LSTM(3), L.Dense(1)])
        return compiled(model, "mse")

    return build, (make(),), {"validation_data": make(), "objective": "val_loss"}


def feature_space() -> Example:
    rows = {"age": TABLE[:, 0], "kind": np.array(["a", "b"] * (ROWS // 2))}
    space = keras.utils.FeatureSpace(
        {"age": "float_normalized", "kind": "string_categorical"}, output_mode="concat"
    )
    raw = dataset(rows, LABELS)
    space.adapt(raw.map(lambda x, y: x))
    data = raw.map(lambda x, y: (space(x), y))

    def build() -> keras.Model:
        encoded = space.get_encoded_features()
        outputs = L.Dense(CLASSES, activation="softmax")(L.Dense(4, activation="relu")(encoded))
        return compiled(keras.Model(encoded, outputs), metrics=["accuracy"])

    return build, (data,), {"validation_data": data}


def several_inputs_and_outputs() -> Example:
    def build() -> keras.Model:
        title, body = keras.Input((4,), name="title"), keras.Input((6,), name="body")
        x = L.Concatenate()([title, L.Flatten()(L.Embedding(20, 2)(body))])
        priority, department = L.Dense(1, name="priority")(x), L.Dense(CLASSES, name="department")(x)
        model = keras.Model([title, body], [priority, department])
        losses = {
            "priority": "mse",
            "department": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        }
        return compiled(model, losses, loss_weights={"priority": 1.0, "department": 0.2})

    x = {"title": TABLE, "body": TOKENS}
    y = {"priority": TABLE[:, :1], "department": LABELS}
    return build, (x, y), {"validation_data": (x, y), "objective": "val_loss", "batch_size": 8}


def siamese() -> Example:
    def build() -> keras.Model:
        tower = keras.Sequential([keras.Input((4,)), L.Dense(3, activation="tanh")])
        one, other = keras.Input((4,)), keras.Input((4,))
        distance = keras.ops.abs(tower(one) - tower(other))
        outputs = L.Dense(1, activation="sigmoid")(distance)
        return compiled(keras.Model([one, other], outputs), "binary_crossentropy", metrics=["accuracy"])

    pair = [TABLE, TABLE[::-1].copy()]
    return build, (pair, LABELS), {"validation_data": (pair, LABELS)}


class Rows(keras.utils.PyDataset):
    def __init__(self) -> None:
        super().__init__()

    def __len__(self) -> int:
        return ROWS // 8

    def __getitem__(self, index: int) -> Any:
        rows = slice(8 * index, 8 * index + 8)
        return TABLE[rows], LABELS[rows]


def py_dataset() -> Example:
    def build():
        return classifier(keras.Input((4,)), L.Dense(4, activation="relu"))

    return build, (Rows(),), {"validation_data": Rows()}


def batches() -> Iterator[Any]:
    for start in range(0, ROWS, 8):
        yield TABLE[start : start + 8], LABELS[start : start + 8]


def generator_with_steps() -> Example:
    def build():
        return classifier(keras.Input((4,)), L.Dense(4, activation="relu"))

    return build, (batches,), {"steps_per_epoch": 4, "validation_data": (TABLE, LABELS)}


def sample_weights() -> Example:
    def build():
        return classifier(L.Dense(4, activation="relu"))

    weights = np.linspace(0.0, 2.0, ROWS)
    fit = {"sample_weight": weights, "validation_data": (TABLE, LABELS, weights), "shuffle": False}
    return build, (TABLE, LABELS), fit


class VAE(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        inputs, latent = keras.Input((4,)), keras.Input((2,))
        self.encoder = keras.Model(inputs, [L.Dense(2)(inputs), L.Dense(2)(inputs)])
        self.decoder = keras.Model(latent, L.Dense(4)(L.Dense(4, activation="relu")(latent)))
        self.tracker = keras.metrics.Mean("loss")
        self.noise = keras.random.SeedGenerator(0)

    @property
    def metrics(self) -> list[Any]:
        return [self.tracker]

    def train_step(self, data: Any) -> dict[str, Any]:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            mean, log_variance = self.encoder(data)
            noise = keras.random.normal(tf.shape(mean), seed=self.noise)
            output = self.decoder(mean + tf.exp(0.5 * log_variance) * noise)
            loss = tf.reduce_mean((data - output) ** 2) - 0.01 * tf.reduce_mean(
                1 + log_variance - mean**2 - tf.exp(log_variance)
            )
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


def vae() -> Example:
    def build() -> keras.Model:
        model = VAE()
        model.compile("adam")
        return model

    return build, (TABLE,), {"objective": "loss", "batch_size": 8}


class GAN(keras.Model):
    def __init__(self) -> None:
        super().__init__()

        def hidden():
            return L.Dense(4, activation="relu")

        self.discriminator = keras.Sequential([keras.Input((4,)), hidden(), L.Dense(1)])
        self.generator = keras.Sequential([keras.Input((3,)), hidden(), L.Dense(4)])
        self.noise = keras.random.SeedGenerator(0)

    def compile(self, d_optimizer: Any, g_optimizer: Any, loss_fn: Any) -> None:
        super().compile()
        self.d_optimizer, self.g_optimizer, self.loss_fn = d_optimizer, g_optimizer, loss_fn
        self.d_loss, self.g_loss = keras.metrics.Mean("d_loss"), keras.metrics.Mean("g_loss")

    @property
    def metrics(self) -> list[Any]:
        return [self.d_loss, self.g_loss]

    def train_step(self, real: Any) -> dict[str, Any]:
        import tensorflow as tf

        count = tf.shape(real)[0]
        drawn = keras.random.normal((count, 3), seed=self.noise)
        labels = tf.concat([tf.ones((count, 1)), tf.zeros((count, 1))], 0)
        with tf.GradientTape() as tape:
            d_loss = self.loss_fn(labels, self.discriminator(tf.concat([self.generator(drawn), real], 0)))
        weights = self.discriminator.trainable_weights
        self.d_optimizer.apply_gradients(zip(tape.gradient(d_loss, weights), weights, strict=True))
        with tf.GradientTape() as tape:
            g_loss = self.loss_fn(tf.zeros((count, 1)), self.discriminator(self.generator(drawn)))
        weights = self.generator.trainable_weights
        self.g_optimizer.apply_gradients(zip(tape.gradient(g_loss, weights), weights, strict=True))
        self.d_loss.update_state(d_loss)
        self.g_loss.update_state(g_loss)
        return {"d_loss": self.d_loss.result(), "g_loss": self.g_loss.result()}


def gan() -> Example:
    def build() -> keras.Model:
        model = GAN()
        optimizers = [keras.optimizers.Adam(1e-3) for _ in range(2)]
        model.compile(*optimizers, keras.losses.BinaryCrossentropy(from_logits=True))
        return model

    return build, (dataset(TABLE),), {"objective": keras_tuner.Objective("g_loss", "min")}


class Recommender(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.user = L.Embedding(20, 3, embeddings_initializer="he_normal")
        self.item = L.Embedding(20, 3, embeddings_initializer="he_normal")

    def call(self, inputs: Any) -> Any:
        product = keras.ops.sum(self.user(inputs[:, 0]) * self.item(inputs[:, 1]), axis=-1)
        return keras.ops.sigmoid(product)[:, None]


def collaborative_filtering() -> Example:
    def build():
        return compiled(Recommender(), "binary_crossentropy")

    pairs = TOKENS[:, :2]
    return build, (pairs, LABELS), {"validation_data": (pairs, LABELS), "objective": "val_loss"}


class Actor(keras_tuner.HyperModel):
    """A loop of its own, which returns the mean reward, as actor-critic methods have."""

    def build(self, hp: Any) -> keras.Model:
        inputs = keras.Input((4,))
        hidden = L.Dense(hp.Int("units", 2, 4), activation="relu")(inputs)
        return keras.Model(inputs, [L.Dense(2, activation="softmax")(hidden), L.Dense(1)(hidden)])

    def fit(self, hp: Any, model: keras.Model, states: Any, callbacks: Any = None, **options: Any) -> float:
        rewards = []
        for callback in callbacks:
            callback.set_model(model)
        for episode in range(2):
            actions, _ = model(states)
            rewards.append(float(keras.ops.mean(actions[:, 0])))
            for callback in callbacks:
                callback.on_epoch_end(episode, logs={"reward": rewards[-1]})
        return float(np.mean(rewards))


def actor_critic() -> Example:
    return Actor(), (TABLE,), {"objective": keras_tuner.Objective("reward", "max")}


# Those that use tf.data, or a training step written for TensorFlow.
ON_TENSORFLOW = [
    images_from_scratch, segmentation, raw_strings, weather, feature_space, vae, gan,
]  # fmt: skip
EXAMPLES = [
    mnist_convnet, text_transformer, text_ids, time_series, exponential_decay, imbalanced,
    several_inputs_and_outputs, siamese, py_dataset, generator_with_steps, sample_weights,
    collaborative_filtering, actor_critic, *ON_TENSORFLOW,
]  # fmt: skip
