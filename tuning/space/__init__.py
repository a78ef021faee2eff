"""What a search may vary, and how it becomes Optuna distributions."""
