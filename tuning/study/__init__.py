"""The Optuna study behind a search."""
