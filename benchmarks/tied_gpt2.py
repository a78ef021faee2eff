"""Train a small GPT-2 with a tied table from several starts.

    KERAS_BACKEND=jax python benchmarks/tied_gpt2.py --runs tied.jsonl

Four pre-norm blocks of width 128 with learned positions; the table of 1,024 tokens also projects to the
logits. "Keras" has keras-hub's initializers: all weights from N(0, 0.02^2). The tokens are frequent
pieces of words, and characters, of Python's standard library; training takes 128 steps of 16 x 64 tokens with
Adam. The score is the cross-entropy in nats on 64 sequences of modules that are not trained on. A run that is
in the file is not repeated.
"""

import math
import re
import sysconfig
from collections import Counter
from pathlib import Path

import keras
import numpy as np
from keras import layers
from paired import chosen_runs, parser_of, run_missing, set_start, table

import keras_initx

VOCABULARY, LENGTH, WIDTH, HEADS, BLOCKS, BATCH, TESTS = 1024, 64, 128, 4, 4, 16, 64
STARTS = ("Keras", "initialize", "initialize, table kept")


class Positions(layers.Layer):
    """Add a learned vector to each position."""

    def build(self, shape):
        """Create the table of positions."""
        small = keras.initializers.RandomNormal(stddev=0.02)
        self.table = self.add_weight(shape=shape[1:], initializer=small, name="positions")

    def call(self, x):
        """Return the sequence with the table added."""
        return x + self.table


def tokens() -> tuple[np.ndarray, np.ndarray]:
    """Return sequences of LENGTH + 1 tokens for training, and, of every tenth module, for the tests."""
    modules = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    texts = [module.read_text("ascii", errors="replace").replace("\ufffd", "?") for module in modules]
    pieces = [re.findall(r" *[A-Za-z]+|\s+|.", text) for text in texts]
    characters = [chr(code) for code in range(128)]
    counts = Counter(piece for text in pieces for piece in text if len(piece) > 1)
    frequent = [piece for piece, _ in counts.most_common(VOCABULARY - len(characters))]
    numbers = {piece: number for number, piece in enumerate(characters + frequent)}

    def encoded(texts):
        parts = (
            part for text in texts for piece in text for part in ([piece] if piece in numbers else piece)
        )
        stream = np.array([numbers[part] for part in parts], dtype="int32")
        return stream[: len(stream) // (LENGTH + 1) * (LENGTH + 1)].reshape(-1, LENGTH + 1)

    train = [text for number, text in enumerate(pieces) if number % 10]
    return encoded(train), encoded(pieces[::10])


def network() -> keras.Model:
    """Return a compiled network with keras-hub's initializers."""

    def small():
        return keras.initializers.RandomNormal(stddev=0.02)

    inputs = keras.Input((LENGTH,), dtype="int32")
    embedding = layers.ReversibleEmbedding(VOCABULARY, WIDTH, embeddings_initializer=small())
    x = Positions()(embedding(inputs))
    for _ in range(BLOCKS):
        h = layers.LayerNormalization()(x)
        attention = layers.MultiHeadAttention(HEADS, WIDTH // HEADS, kernel_initializer=small())
        x = x + attention(h, h, use_causal_mask=True)
        h = layers.LayerNormalization()(x)
        h = layers.Dense(4 * WIDTH, "gelu", kernel_initializer=small())(h)
        x = x + layers.Dense(WIDTH, kernel_initializer=small())(h)
    model = keras.Model(inputs, embedding(layers.LayerNormalization()(x), reverse=True))
    model.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def start_values(start: str, seed: int) -> list[np.ndarray]:
    """Return the weights of a start."""
    keras.utils.set_random_seed(seed)
    model = network()
    if start != "Keras":
        keras_initx.initialize(model, seed=seed, skip="*embedding*" if "kept" in start else None)
    return model.get_weights()


def main() -> None:
    """Print one row for each start."""
    parser = parser_of(__doc__, STARTS, rates=[3e-4, 1e-3, 3e-3], steps=128, seeds=3)
    options = parser.parse_args()
    model = network()
    train, tests = tokens()
    tests = tests[np.random.default_rng(0).permutation(len(tests))[:TESTS]]

    def loss(part: np.ndarray) -> float:
        return float(model.evaluate(part[:, :-1], part[:, 1:], batch_size=BATCH, verbose=0))

    def score(start: str, seed: int, rate: float) -> float:
        set_start(model, start_values(start, seed), rate)
        first = loss(tests)
        order = np.random.default_rng(seed).permutation(len(train))[: options.steps * BATCH]
        model.fit(train[order][:, :-1], train[order][:, 1:], batch_size=BATCH, shuffle=False, verbose=0)
        value = loss(tests)
        print(f"{start}, seed {seed}, rate {rate:g}: {first:.2f} -> {value:.3f}", flush=True)
        return value

    rows = run_missing(options.runs, chosen_runs(options), score)
    print(f"ln V = {math.log(VOCABULARY):.2f}")
    print(table(rows, options.starts[0]))


if __name__ == "__main__":
    main()
