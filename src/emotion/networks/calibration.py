"""Confidence calibration by temperature scaling (Guo et al., 2017)."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

EPSILON = 1e-7  # lower limit of probabilities, also in the exported model
BOUNDS = (0.2, 5.0)  # search range of the temperature


def apply_temperature(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Rescale probabilities: below 1 the temperature raises confidence, above 1 it lowers it; the ranking stays.

    Args:
        probabilities: (n, 7).
        temperature: above 0.
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), EPSILON)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)


def loss(labels: NDArray[np.int64], probabilities: NDArray[np.float32], temperature: float) -> float:
    """Return the cross-entropy, in nats, at a temperature."""
    chosen = apply_temperature(probabilities, temperature)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, EPSILON)).mean())


def fit_temperature(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Return the temperature with the lowest loss."""
    low, high = np.log(BOUNDS)
    result = minimize_scalar(
        lambda logarithm: loss(labels, probabilities, float(np.exp(logarithm))), bounds=(low, high), method="bounded"
    )
    return float(np.exp(result.x))


def choose_temperature(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Choose the temperature to ship: 1 unless another one lowers the loss on images it was not fitted on.

    The temperature is fitted on every second validation image and evaluated on the others, and vice versa.
    If that lowers the loss, it is fitted on all validation images.

    Args:
        labels: (n,) labels of validation images, never of test images.
        probabilities: (n, 7) the model's predictions for these images.
    """
    if len(labels) < 2:
        return 1.0
    halves = [np.arange(start, len(labels), 2) for start in (0, 1)]
    before = after = 0.0
    for fit, held_out in (halves, halves[::-1]):
        temperature = fit_temperature(labels[fit], probabilities[fit])
        before += loss(labels[held_out], probabilities[held_out], 1.0)
        after += loss(labels[held_out], probabilities[held_out], temperature)
    return fit_temperature(labels, probabilities) if after < before else 1.0
