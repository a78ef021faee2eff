"""Read the folder of a KerasTuner search into an Optuna study."""
