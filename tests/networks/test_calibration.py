"""Temperature, and accuracy under corruptions."""

import keras
import numpy as np
import pytest

from emotion.networks import calibration
from emotion.networks.inference import Temperature, with_temperature

RNG = np.random.default_rng(0)


LABELS = RNG.integers(0, 7, 4000)


def answers(temperature: float) -> np.ndarray:
    """Of a model that is as sure as it should be at a temperature of 1, made wrongly sure."""
    logits = RNG.normal(size=(len(LABELS), 7)) * 1.5
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    LABELS[:] = [RNG.choice(7, p=row) for row in honest]
    return calibration.apply_temperature(honest.astype(np.float32), 1 / temperature).astype(np.float32)


@pytest.mark.parametrize("true", [0.5, 0.8, 1.6])
def test_the_temperature_that_was_applied_is_found_again(true: float) -> None:
    assert calibration.choose_temperature(LABELS, answers(true)) == pytest.approx(true, rel=0.05)


def test_scaling_changes_no_decision() -> None:
    given = answers(1.0)
    for temperature in (0.3, 3.0):
        scaled = calibration.apply_temperature(given, temperature)
        np.testing.assert_array_equal(scaled.argmax(axis=1), given.argmax(axis=1))
        np.testing.assert_allclose(scaled.sum(axis=1), 1)


def test_a_temperature_that_does_not_help_on_other_images_is_not_shipped() -> None:
    labels = np.array([0, 1, 0, 1])  # the halves contradict each other
    given = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]], np.float32)
    given = np.concatenate([given, np.full((4, 5), 1e-6, np.float32)], axis=1)
    assert calibration.choose_temperature(labels, given) == 1.0


def test_the_exported_layer_scales_as_the_formula_does() -> None:
    given = answers(1.0)[:50]
    layer = Temperature(0.7)
    np.testing.assert_allclose(layer(given), calibration.apply_temperature(given, 0.7), atol=1e-6)
    again = Temperature.from_config(layer.get_config())
    np.testing.assert_allclose(again(given), layer(given))


def test_a_temperature_of_one_leaves_the_network_alone() -> None:
    pixels = keras.Input((2,))
    network = keras.Model(pixels, keras.layers.Softmax()(pixels))
    assert with_temperature(network, 1.0) is network
    scaled = with_temperature(network, 0.5)
    assert float(keras.ops.max(scaled(np.array([[1.0, 0.0]])))) > float(keras.ops.max(network(np.array([[1.0, 0.0]]))))
