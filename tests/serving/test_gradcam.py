"""The web demo: in a real browser, through Gradio's client, under load, and against ill will."""

import numpy as np
import pytest

from emotion.data.labels import EMOTIONS
from emotion.serving.gradcam import GradCAM
from support.project import Project


def test_a_heat_map_is_high_where_the_answer_comes_from(finished_project: Project) -> None:
    """Graying the hottest tenth of the pixels costs more of the score than graying the coldest."""
    heat_map = GradCAM(finished_project.folder / "models/classifier.keras")
    images = np.load(finished_project.folder / "data/faces/images.npy")[:60]
    ask = heat_map._network
    answers = np.asarray(ask(images[..., None].astype(np.float32))[1])
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
        after = np.asarray(ask(changed[..., None].astype(np.float32))[1])
        left[name] = float(np.log(after[np.arange(60), chosen]).mean())
    assert left["hot"] < left["cold"]
