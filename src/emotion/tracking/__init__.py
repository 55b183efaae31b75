"""Runs in MLflow: written at once, or queued while the server is unavailable."""
