"""Confidence that means what it says: temperature scaling (Guo et al., 2017)."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

EPSILON = 1e-7  # probability, as in the exported model
BOUNDS = (0.2, 5.0)  # of the temperature


def apply_temperature(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Probabilities at a temperature: below 1 more certain, above 1 less; who is ahead stays ahead.

    Args:
        probabilities: (n, 7).
        temperature: above 0.
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), EPSILON)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)


def loss(labels: NDArray[np.int64], probabilities: NDArray[np.float32], temperature: float) -> float:
    """Cross-entropy in nats at a temperature."""
    chosen = apply_temperature(probabilities, temperature)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, EPSILON)).mean())


def fit_temperature(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """The temperature with the lowest loss."""
    low, high = np.log(BOUNDS)
    found = minimize_scalar(
        lambda logarithm: loss(labels, probabilities, float(np.exp(logarithm))), bounds=(low, high), method="bounded"
    )
    return float(np.exp(found.x))


def choose_temperature(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """The temperature to ship: 1 unless another one helps on images that it was not fitted on.

    TrainingResult on every second validation image and tried on the rest, and the other way round; where
    that lowers the loss, it is fitted on all of them.

    Args:
        labels: (n,) of validation images, never of test images.
        probabilities: (n, 7) the model's answers to them.
    """
    if len(labels) < 2:
        return 1.0
    halves = [np.arange(start, len(labels), 2) for start in (0, 1)]
    before = after = 0.0
    for fitted, tried in (halves, halves[::-1]):
        temperature = fit_temperature(labels[fitted], probabilities[fitted])
        before += loss(labels[tried], probabilities[tried], 1.0)
        after += loss(labels[tried], probabilities[tried], temperature)
    return fit_temperature(labels, probabilities) if after < before else 1.0
