"""An existing KerasTuner script with one line changed: the class of the tuner.

Run: python examples/keras_tuner_script.py
"""

import keras
import keras_tuner
from keras_initx.tuning import InitializerTuner
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler


def build_model(hp: keras_tuner.HyperParameters) -> keras.Model:
    model = keras.Sequential([keras.Input((13,))])
    for i in range(hp.Int("layers", 1, 2)):
        model.add(keras.layers.Dense(hp.Int(f"units_{i}", 8, 32, step=8), activation="relu"))
    model.add(keras.layers.Dense(3, activation="softmax"))
    model.compile(
        optimizer=keras.optimizers.Adam(hp.Float("lr", 1e-3, 1e-1, sampling="log")),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def main() -> None:
    x, y = load_wine(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(x, y, stratify=y, random_state=0)
    scaler = StandardScaler().fit(x_train)
    x_train, x_val = scaler.transform(x_train), scaler.transform(x_val)

    # The line that has changed; it was: tuner = keras_tuner.RandomSearch(
    tuner = InitializerTuner(
        build_model,
        objective="val_accuracy",
        max_trials=3,
        executions_per_trial=2,
        overwrite=True,
        directory="results",
        project_name="keras_tuner_script",
    )
    tuner.search(
        x_train,
        y_train,
        epochs=5,
        validation_data=(x_val, y_val),
        callbacks=[keras.callbacks.EarlyStopping("val_loss", patience=3)],
        verbose=0,
    )
    tuner.results_summary(3)
    print(f"Best hyperparameters: {tuner.get_best_hyperparameters()[0].values}")
    loss, accuracy = tuner.get_best_models()[0].evaluate(x_val, y_val, verbose=0)
    print(f"Validation accuracy of the best model: {accuracy:.1%} (loss {loss:.3f})")


if __name__ == "__main__":
    main()
