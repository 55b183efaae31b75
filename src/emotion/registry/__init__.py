"""Versions in MLflow's model registry, and where each comes from."""

from emotion import tracking  # noqa: F401  sets MLflow's defaults before a module here imports it
