"""The hyperparameter search, its trials, and where they run."""
