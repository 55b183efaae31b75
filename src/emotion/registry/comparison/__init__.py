"""Compare runs: parameters, metrics, predictions and code."""

from emotion import tracking  # noqa: F401  sets MLflow's defaults before a module here imports it
