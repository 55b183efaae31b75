"""Networks: shapes, scaling, and the exported model."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from emotion.networks import NETWORKS, build
from emotion.networks.layers import FusedBatchNormalization, Standardization
from emotion.serving.predict import load_saved_model, predict

FACES = np.random.default_rng(0).integers(0, 256, (5, 48, 48), dtype=np.uint8)


@pytest.mark.parametrize("name", NETWORKS)
def test_raw_pixels_go_in_and_probabilities_come_out(name: str) -> None:
    answer = build(name, 4, 0.2)(FACES[..., None].astype(np.float32)).numpy()
    assert answer.shape == (5, 7)
    np.testing.assert_allclose(answer.sum(axis=1), 1, rtol=1e-5)
    assert answer.std() > 0


def test_the_basic_cnn_is_the_earlier_studys() -> None:
    network = build("basic_cnn", 32, 0.4)
    filters = [layer.filters for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    units = [layer.units for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    assert filters == [128, 256, 512, 512]
    assert units == [512, 256, 7]


def test_fused_batch_normalization_equals_keras_own() -> None:
    values = tf.random.stateless_normal((8, 6, 6, 3), (0, 0)) * 3 + 1
    fused, plain = FusedBatchNormalization(momentum=0.9), keras.layers.BatchNormalization(momentum=0.9)
    for training in (True, True, False):
        np.testing.assert_allclose(
            fused(values, training=training), plain(values, training=training), rtol=0.005, atol=1e-4
        )
    for ours, theirs in zip(fused.weights, plain.weights, strict=True):
        # The fused operation's moving variance is the unbiased one: 288/287 here.
        np.testing.assert_allclose(ours, theirs, rtol=0.005, atol=1e-6)


def test_standardization_undoes_light_and_contrast() -> None:
    images = FACES[..., None].astype(np.float32)
    layer = Standardization()
    np.testing.assert_allclose(layer(images * 0.5 + 40), layer(images), atol=1e-4)
    np.testing.assert_array_equal(layer(np.full((1, 48, 48, 1), 99, np.float32)), 0)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_exported_and_the_saved_model_answer_like_the_network(name: str, tmp_path: Path) -> None:
    network = build(name, 4, 0.2)
    expected = network(FACES[..., None].astype(np.float32)).numpy()
    network.export(tmp_path / "exported", verbose=False)
    network.save(tmp_path / "network.keras")
    exported = predict(load_saved_model(tmp_path / "exported"), FACES, batch_size=2)
    np.testing.assert_allclose(exported, expected, atol=1e-5)
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_allclose(loaded(FACES[..., None].astype(np.float32)), expected, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_exported_model_draws_no_random_numbers(name: str, tmp_path: Path) -> None:
    build(name, 4, 0.2).export(tmp_path / "exported", verbose=False)
    graph = load_saved_model(tmp_path / "exported").signatures["serving_default"].graph.as_graph_def()
    operations = {node.op for function in graph.library.function for node in function.node_def}
    assert operations
    assert not [operation for operation in operations if "Random" in operation]
