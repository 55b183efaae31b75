"""Imports that every trial needs, loaded once in the process that trials are forked from."""

from emotion.runtime.tensorflow import load_tensorflow

load_tensorflow(list_devices=False, trains=True)

from emotion.tuning import trial, worker  # noqa: E402, F401  after TensorFlow is configured
