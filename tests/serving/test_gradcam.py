"""Grad-CAM heat maps."""

import numpy as np
import pytest

from emotion.data.labels import EMOTIONS
from emotion.serving.gradcam import GradCAM
from support.project import Project


def test_a_heat_map_is_high_on_pixels_that_drive_the_prediction(finished_project: Project) -> None:
    """Graying out the hottest tenth of the pixels lowers the score more than graying out the coldest."""
    heat_map = GradCAM(finished_project.folder / "models/classifier.keras")
    images = np.load(finished_project.folder / "data/faces/images.npy")[:60]
    predict = heat_map._network
    answers = np.asarray(predict(images[..., None].astype(np.float32))[1])
    chosen = answers.argmax(axis=1)
    heats = heat_map.heat_maps(images, [EMOTIONS[label] for label in chosen])
    assert heats.shape == (60, 48, 48)
    assert heats.min() >= 0
    assert heats.max() == pytest.approx(1)
    left = {}
    for name, order in (("hot", -heats), ("cold", heats)):
        changed = images.copy()
        places = order.reshape(60, -1).argsort(axis=1, kind="stable")[:, :230]
        np.put_along_axis(changed.reshape(60, -1), places, 128, axis=1)
        after = np.asarray(predict(changed[..., None].astype(np.float32))[1])
        left[name] = float(np.log(after[np.arange(60), chosen]).mean())
    assert left["hot"] < left["cold"]
