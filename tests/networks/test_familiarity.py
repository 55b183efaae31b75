"""Familiarity: which inputs are like the training faces."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from emotion.data.labels import EMOTIONS
from emotion.inference.load import load_saved_model
from emotion.networks.build import build
from emotion.networks.familiarity import FAMILIAR_SHARE, Novelty, feature_weights, fit_familiarity, layer_features
from emotion.networks.inference import export
from support.networks import FACES, PIXELS, RANDOM, SHAPE, tiny, to_export

RNG = np.random.default_rng(0)
MIX = RNG.normal(size=(6, 6))


def features(count: int, shift: float = 0.0) -> np.ndarray:
    return (RNG.normal(size=(count, 6)) @ MIX + shift).astype(np.float32)


def test_99_percent_of_the_validation_images_are_familiar() -> None:
    validation = [features(1000), features(1000)]
    layer = Novelty(fit_familiarity([features(2000), features(2000)], validation, [1, 0.25]))
    assert (np.asarray(layer(validation)) <= 1).mean() == pytest.approx(FAMILIAR_SHARE, abs=0.001)


def test_novelty_is_proportional_to_the_squared_mahalanobis_distance() -> None:
    train, validation = features(2000), features(500)
    inverse = np.linalg.inv(np.cov(train.T))
    expected = [mahalanobis(row, train.mean(axis=0), inverse) ** 2 for row in validation]
    found = np.asarray(Novelty(fit_familiarity([train], [validation], [1]))([validation]))
    assert np.corrcoef(expected, found)[0, 1] > 0.9999


def test_other_inputs_are_unfamiliar() -> None:
    layer = Novelty(fit_familiarity([features(2000)], [features(500)], [1]))
    assert (np.asarray(layer([features(100, shift=30.0)])) > 1).all()


def test_one_image_is_enough_to_fit_and_identical_features_are_familiar() -> None:
    one = [np.ones((1, 6), np.float32)]
    assert np.asarray(Novelty(fit_familiarity(one, one, [1]))(one))[0] <= 1


def test_every_network_has_features_of_length_1_per_mean_and_deviation(network: keras.Model) -> None:
    model = keras.Model(network.input, layer_features(network))
    found = model(PIXELS)
    for array in found if isinstance(found, list) else [found]:
        assert array.dtype == np.float32
        lengths = np.linalg.norm(array, axis=1)
        assert lengths == pytest.approx(np.full(len(FACES), round(lengths[0] ** 2) ** 0.5), abs=1e-3)


def test_an_ensemble_compares_the_features_of_each_member() -> None:
    network, ensemble = build("vgg", 2, 0.0, RANDOM, 7, SHAPE), build("vgg", 2, 0.0, RANDOM, 7, SHAPE, ensemble=2)
    assert len(layer_features(ensemble)) == 2 * len(layer_features(network)) == len(feature_weights(ensemble)) == 6


@pytest.mark.parametrize("name", ["residual", "vgg", "basic_cnn"])
def test_the_saved_model_returns_probabilities_and_novelty(name: str, tmp_path: Path) -> None:
    model = to_export(tiny(name), "flip")
    export(model, tmp_path / "exported", EMOTIONS)
    expected = model(PIXELS, training=False)
    loaded: Any = load_saved_model(tmp_path / "exported")
    found = loaded.assess(PIXELS)
    assert set(found) == {"probabilities", "novelty"}
    np.testing.assert_allclose(found["probabilities"], loaded.serve(PIXELS))
    np.testing.assert_allclose(found["novelty"], np.asarray(expected["novelty"]), rtol=1e-3)
