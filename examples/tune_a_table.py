"""Tune a network on a table with text and missing cells; the saved model takes raw rows.

Run: python examples/tune_a_table.py [TABLE TARGET_COLUMN]
Without arguments it takes Gapminder's life expectancy of 142 countries, which Plotly contains, and removes
every tenth income to have missing cells. The same on the command line:

keras-initx tune --data gapminder.csv --target lifeExp --drop iso_alpha,iso_num
"""

import sys
from pathlib import Path

import keras
import pandas as pd
import plotly.data
import rich
from keras_initx.tuning import DenseNetwork, Results, cross_table, load_table, model_rows, search
from keras_tuner import Objective


def gapminder(path: Path) -> Path:
    frame = plotly.data.gapminder(return_type="pandas")
    frame.loc[::10, "gdpPercap"] = float("nan")
    frame.to_csv(path, index=False)
    return path


def main() -> None:
    if len(sys.argv) == 3:
        path, target, drop = Path(sys.argv[1]), sys.argv[2], []
    else:
        path, target, drop = gapminder(Path("gapminder.csv")), "lifeExp", ["iso_alpha", "iso_num"]
    data = load_table(path, target, drop=drop)
    print(data.describe(), *data.notes, sep="\n")
    model = DenseNetwork(
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
        objective="val_accuracy" if data.classes else Objective("val_rmse", "min"),
        tuner="grid",
        seeds=2,
        epochs=8,
        batch_size=64,
        results=Results("results/table", mode="overwrite"),
    )
    direction = result.objective.direction
    rich.print(cross_table(result.trials, "initializer", "activation", direction, result.objective.name))

    best = keras.models.load_model(result.model_file)
    if keras.backend.backend() == "tensorflow":
        some = pd.read_csv(path).sample(5, random_state=0)
        predicted = best.predict(model_rows(best, some), verbose=0)
        predicted = [data.classes[i] for i in predicted.argmax(axis=1)] if data.classes else predicted[:, 0]
        print(pd.DataFrame({target: some[target], "predicted": predicted}))


if __name__ == "__main__":
    main()
