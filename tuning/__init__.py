"""A KerasTuner search in which the initializer is a hyperparameter."""
