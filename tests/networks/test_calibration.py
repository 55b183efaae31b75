"""Temperature scaling."""

import numpy as np
import pytest

from emotion.networks import calibration
from emotion.networks.inference import Temperature

RNG = np.random.default_rng(0)


LABELS = RNG.integers(0, 7, 4000)


def answers(temperature: float) -> np.ndarray:
    """Predictions of a model that is calibrated at this temperature."""
    logits = RNG.normal(size=(len(LABELS), 7)) * 1.5
    calibrated = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    LABELS[:] = [RNG.choice(7, p=row) for row in calibrated]
    return calibration.apply_temperature(calibrated.astype(np.float32), 1 / temperature).astype(np.float32)


@pytest.mark.parametrize("true", [0.5, 0.8, 1.6])
def test_the_applied_temperature_is_recovered(true: float) -> None:
    assert calibration.choose_temperature(LABELS, answers(true)) == pytest.approx(true, rel=0.05)


def test_temperature_scaling_keeps_the_predicted_class() -> None:
    given = answers(1.0)
    for temperature in (0.3, 3.0):
        scaled = calibration.apply_temperature(given, temperature)
        np.testing.assert_array_equal(scaled.argmax(axis=1), given.argmax(axis=1))
        np.testing.assert_allclose(scaled.sum(axis=1), 1)


def test_a_temperature_that_does_not_generalize_is_not_used() -> None:
    labels = np.array([0, 1, 0, 1])  # the halves contradict each other
    given = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]], np.float32)
    given = np.concatenate([given, np.full((4, 5), 1e-6, np.float32)], axis=1)
    assert calibration.choose_temperature(labels, given) == 1.0


def test_the_temperature_layer_matches_apply_temperature() -> None:
    given = answers(1.0)[:50]
    layer = Temperature(0.7)
    np.testing.assert_allclose(layer(given), calibration.apply_temperature(given, 0.7), atol=1e-6)
    again = Temperature.from_config(layer.get_config())
    np.testing.assert_allclose(again(given), layer(given))
