"""Grad-CAM heat maps."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from emotion.data.labels import EMOTIONS
from emotion.serving.gradcam import GradCAM
from support.networks import SHAPE
from support.project import Project

BRIGHT, DARK = slice(4, 16), slice(28, 40)  # rows and columns of two squares, whole strides of the network


@pytest.fixture(scope="module")
def squares_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with fixed weights that sees "happy" in bright squares and "sad" in dark ones."""
    pixels = keras.Input((48, 48, 1))
    features = layers.Conv2D(2, 4, strides=4, activation="relu", name="squares")(pixels)
    probabilities = layers.Dense(len(EMOTIONS), activation="softmax", name="scores")(
        layers.GlobalAveragePooling2D()(features)
    )
    network = keras.Model(pixels, probabilities)
    mean = np.full((4, 4, 1, 1), 1 / 16)
    network.get_layer("squares").set_weights([np.concatenate([mean, -mean], axis=3), np.array([-160.0, 96.0])])
    weights = np.zeros((2, len(EMOTIONS)))
    weights[0, EMOTIONS.index("happy")] = weights[1, EMOTIONS.index("sad")] = 0.1
    network.get_layer("scores").set_weights([weights, np.zeros(len(EMOTIONS))])
    path = tmp_path_factory.mktemp("squares") / "classifier.keras"
    network.save(path)
    return path


@pytest.fixture
def squares() -> NDArray[np.uint8]:
    """An image, (1, 48, 48) uint8: gray, with a bright square at the top left and a dark one at the bottom right."""
    image = np.full((1, 48, 48), 128, np.uint8)
    image[0, BRIGHT, BRIGHT] = 255
    image[0, DARK, DARK] = 0
    return image


@pytest.mark.parametrize(("emotion", "place"), [("happy", BRIGHT), ("sad", DARK)])
def test_a_heat_map_is_high_on_pixels_that_drive_the_prediction(
    squares_network: Path, squares: NDArray[np.uint8], emotion: str, place: slice
) -> None:
    heat = GradCAM(squares_network, EMOTIONS, SHAPE).heat_maps(squares, [emotion])[0]
    inside = np.zeros((48, 48), bool)
    inside[place, place] = True
    assert heat.max() == pytest.approx(1)
    assert heat[inside].mean() > 0.5
    assert heat[~inside].mean() < 0.05


def test_a_heat_map_is_zero_if_nothing_contributes(squares_network: Path, squares: NDArray[np.uint8]) -> None:
    assert not GradCAM(squares_network, EMOTIONS, SHAPE).heat_maps(np.full_like(squares, 128), ["happy"]).any()


def test_a_trained_network_has_a_heat_map_for_every_face(finished_project: Project) -> None:
    images = np.load(finished_project.folder / "data/faces/images.npy")[:60]
    heats = GradCAM(finished_project.folder / "models/classifier.keras", EMOTIONS, SHAPE).heat_maps(
        images, ["happy"] * 60
    )
    assert heats.shape == (60, 48, 48)
    assert heats.dtype == np.float32
    assert heats.min() >= 0
    assert heats.max() <= 1
