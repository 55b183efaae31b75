"""The table of a network's layers, and its diagram."""

from pathlib import Path

import keras
import pytest

from emotion.evaluation.figures.network import draw_network
from emotion.evaluation.network_layers import layer_table, stage_table
from emotion.networks.build import NETWORKS, build
from emotion.params.sections import Transfer
from support.networks import SHAPE


def test_parameters_and_operations_of_known_layers_are_counted() -> None:
    pixels = keras.Input((48, 48, 1))
    features = keras.layers.Conv2D(4, 3, use_bias=False, name="features")(pixels)
    answer = keras.layers.Dense(7, use_bias=False, name="answer")(keras.layers.Flatten()(features))
    table = layer_table(keras.Model(pixels, answer), SHAPE).set_index("layer")
    features = table.to_dict("index")["features"]
    assert (features["type"], features["output"], features["parameters"]) == ("Conv2D", "46 x 46 x 4", 36)
    assert table.loc["features", "mflops"] == pytest.approx(2 * 46 * 46 * 4 * 9 / 1e6)
    assert table.loc["answer", "mflops"] == pytest.approx(2 * 46 * 46 * 4 * 7 / 1e6)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_shown_in_at_most_ten_stages_with_all_its_parameters(name: str, tmp_path: Path) -> None:
    network = build(name, 4, 0.0, Transfer(weights="none", image_size=64), 7, SHAPE)
    stages = stage_table(layer_table(network, SHAPE))
    assert stages["parameters"].sum() == network.count_params()
    assert len(stages) <= 10
    assert stages["side"].is_monotonic_decreasing
    draw_network(stages, name, tmp_path / "network.png")
    assert (tmp_path / "network.png").read_bytes().startswith(b"\x89PNG")
    keras.backend.clear_session()
