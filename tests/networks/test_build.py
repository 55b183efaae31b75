"""Building networks: shapes, widths and ensembles."""

import keras
import numpy as np
import pytest

from emotion.networks.build import NETWORKS, build, members
from emotion.params.sections import Train
from support.networks import PIXELS, RANDOM, SHAPE, tiny, with_random_statistics


def test_a_network_maps_raw_pixels_to_probabilities(network: keras.Model) -> None:
    answer = network(PIXELS).numpy()
    assert answer.shape == (5, 7)
    np.testing.assert_allclose(answer.sum(axis=1), 1, rtol=1e-5)
    assert answer.std() > 0


def test_a_network_is_called_in_inference_mode_by_default(network: keras.Model) -> None:
    np.testing.assert_array_equal(network(PIXELS), network(PIXELS, training=False))


def test_every_network_is_a_valid_parameter_value() -> None:
    assert set(Train.model_fields["network"].annotation.__args__) == set(NETWORKS)  # type: ignore[union-attr]


def test_the_basic_cnn_matches_the_earlier_study() -> None:
    network = build("basic_cnn", 32, 0.4, RANDOM, 7, SHAPE)
    filters = [layer.filters for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    units = [layer.units for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    assert filters == [128, 256, 512, 512]
    assert units == [512, 256, 7]


def test_the_width_sets_the_channels() -> None:
    filters = [layer.filters for layer in tiny("residual").layers if isinstance(layer, keras.layers.Conv2D)]
    assert filters == [4, 8, 12, 12, 12, 24, 24, 24]


@pytest.mark.parametrize("name", ["residual", "vgg"])
def test_an_ensemble_averages_its_distinct_members(name: str) -> None:
    ensemble = with_random_statistics(build(name, 4, 0.2, RANDOM, 7, SHAPE, ensemble=2))
    first, second = members(ensemble)(PIXELS)
    assert np.abs(first - second).max() > 0.01
    np.testing.assert_allclose(ensemble(PIXELS), (first + second) / 2, atol=1e-6)
    assert ensemble.count_params() == 2 * build(name, 4, 0.2, RANDOM, 7, SHAPE).count_params()
