"""Train a ReLU RNN on the adding problem from several starts.

    KERAS_BACKEND=jax python benchmarks/adding_problem.py --runs adding.jsonl

Each of the 50 steps of a sequence has a number in [0, 1] and a mark; the target is the sum of the two marked
numbers. A SimpleRNN of 100 ReLU units and one Dense output trains for 1,000 steps of 64 sequences, Adam 1e-3.
The score is the mean squared error on 4,096 further sequences; the best constant has 1/6 = 0.167. A run that
is in the file is not repeated.

References: Le et al. 2015 (arXiv 1504.00941), section 4.1.
"""

import keras
import numpy as np
from keras import layers
from paired import chosen_runs, parser_of, run_missing, set_start, table

import keras_initx

UNITS, BATCH, TESTS = 100, 64, 4096
STARTS = ("Keras", "initialize", "initialize, data=", "IRNN")


def sequences(count: int, length: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sequences of numbers and marks, and the sums of the marked numbers."""
    rng = np.random.default_rng(seed)
    numbers = rng.random((count, length), dtype="float32")
    marks = np.zeros_like(numbers)
    half = length // 2
    rows = np.arange(count)
    marks[rows, rng.integers(0, half, count)] = 1
    marks[rows, rng.integers(half, length, count)] = 1
    return np.stack([numbers, marks], axis=-1), (numbers * marks).sum(axis=1, keepdims=True)


def network(length: int) -> keras.Model:
    """Return a compiled network."""
    model = keras.Sequential(
        [keras.Input((length, 2)), layers.SimpleRNN(UNITS, activation="relu"), layers.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(), "mse")
    return model


def start_values(start: str, seed: int, length: int) -> list[np.ndarray]:
    """Return the weights of a start."""
    keras.utils.set_random_seed(seed)
    model = network(length)
    if start.startswith("initialize"):
        data = sequences(64, length, seed + 1000)[0] if "data" in start else None
        keras_initx.initialize(model, data=data, seed=seed)
    elif start == "IRNN":
        cell = model.layers[0].cell
        cell.kernel.assign(keras.random.normal(cell.kernel.shape, stddev=0.001, seed=seed))
        cell.recurrent_kernel.assign(np.eye(UNITS))
    return model.get_weights()


def main() -> None:
    """Print one row for each start."""
    parser = parser_of(__doc__, STARTS, rates=[1e-3], steps=1000, seeds=6)
    parser.add_argument("--length", type=int, default=50)
    options = parser.parse_args()
    model = network(options.length)

    def score(start: str, seed: int, rate: float) -> float:
        set_start(model, start_values(start, seed, options.length), rate)
        x, y = sequences(options.steps * BATCH, options.length, seed)
        model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
        tests = sequences(TESTS, options.length, 10**6)
        value = float(model.evaluate(*tests, batch_size=512, verbose=0))
        print(f"{start}, seed {seed}, rate {rate:g}: {value:.4f}", flush=True)
        return value

    print(table(run_missing(options.runs, chosen_runs(options), score), options.starts[0]))


if __name__ == "__main__":
    main()
