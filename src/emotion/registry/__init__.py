"""Versions in MLflow's model registry, and where each comes from."""
