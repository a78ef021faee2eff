"""Tune a network on a CSV file: a table with a header row, numeric columns and one target column.

Run: python examples/tune_a_csv.py [TABLE.csv TARGET_COLUMN]
Without arguments it first writes scikit-learn's wine data to wine.csv.
"""

import sys
from pathlib import Path

import numpy as np
import rich
from keras_initx.tuning import DenseClassifier, Results, cross_table, load_csv, search
from sklearn.datasets import load_wine


def wine_csv(path: Path) -> Path:
    wine = load_wine()
    rows = np.column_stack([wine.data, wine.target])
    header = ",".join([*wine.feature_names, "cultivar"])
    np.savetxt(path, rows, delimiter=",", header=header, comments="", fmt="%g")
    return path


def main() -> None:
    path, target = sys.argv[1:3] if len(sys.argv) == 3 else (wine_csv(Path("wine.csv")), "cultivar")
    data = load_csv(path, target)
    print(data.describe())
    model = DenseClassifier(
        data,
        activations=["relu", "tanh"],
        initializers=["he_auto", "random_uniform"],
        learning_rates=[3e-3],
        depth=3,
        width=32,
    )
    result = search(
        model,
        data,
        tuner="grid",
        seeds=3,
        epochs=10,
        results=Results("results/csv", mode="overwrite"),
    )
    rich.print(cross_table(result.trials, "initializer", "activation", "max", "Validation accuracy"))
    print(f"Test accuracy of the best: {result.best.test_sample('accuracy').describe()}")
    print(f"Classes, in the order of the model's outputs: {', '.join(data.classes)}")


if __name__ == "__main__":
    main()
