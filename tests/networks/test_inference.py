"""Inference models: folding, test-time augmentation and export."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from emotion.data.labels import EMOTIONS
from emotion.inference.load import Fast, load_saved_model, predict
from emotion.networks import inference
from emotion.networks.build import build, members
from emotion.networks.inference import export, fold_normalization, inference_model, inference_models
from emotion.training import precision
from support.networks import FACES, PIXELS, RANDOM, SHAPE, tiny, to_export, with_random_statistics


def test_folding_removes_batch_normalization_and_keeps_predictions(network: keras.Model) -> None:
    folded = fold_normalization(network)
    left = [layer.name for layer in folded.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert not left
    np.testing.assert_allclose(folded(PIXELS), network(PIXELS), atol=2e-5)


def test_a_bfloat16_network_is_folded_to_float32_with_similar_predictions() -> None:
    precision.apply("bfloat16")
    try:
        network = tiny("residual")
    finally:
        precision.apply("float32")
    computed = {layer.compute_dtype for layer in network.layers if isinstance(layer, keras.layers.Conv2D)}
    assert computed == {"bfloat16"}
    folded = inference_model(network, "plain", SHAPE)
    assert {layer.compute_dtype for layer in folded.layers} == {"float32"}
    np.testing.assert_allclose(folded(PIXELS)[0], network(PIXELS), atol=0.02)


def test_views_are_the_image_its_mirror_image_and_their_shifts() -> None:
    views = inference.TestTimeAugmentation(2)(PIXELS).numpy().reshape(6, 5, 48, 48)
    np.testing.assert_array_equal(views[0], FACES)
    np.testing.assert_array_equal(views[1], FACES[:, :, ::-1])
    np.testing.assert_array_equal(views[2][:, 2:, 2:], FACES[:, :-2, :-2])
    np.testing.assert_array_equal(views[5][:, :, ::-1][:, :-2, :-2], FACES[:, 2:, 2:])


@pytest.mark.parametrize(("views", "shown"), [("plain", 1), ("flip", 2), ("flip_and_shift", 6)])
def test_the_exported_model_averages_its_views(views: str, shown: int, tmp_path: Path) -> None:
    network = tiny("residual")
    seen = {
        1: PIXELS[None],
        2: np.stack([PIXELS, PIXELS[:, :, ::-1]]),
        6: inference.TestTimeAugmentation(2)(PIXELS).numpy(),
    }[shown]
    answers = network(seen.reshape(-1, 48, 48, 1)).numpy().reshape(shown, 5, 7)
    export(to_export(network, views), tmp_path / "exported", EMOTIONS)
    exported = predict(load_saved_model(tmp_path / "exported"), FACES, batch_size=2)
    np.testing.assert_allclose(exported, answers.mean(axis=0), atol=1e-5)


def test_the_exported_and_the_saved_model_predict_like_the_network(network: keras.Model, tmp_path: Path) -> None:
    expected = network(PIXELS).numpy()
    finished = to_export(network, "plain")
    export(finished, tmp_path / "exported", EMOTIONS)
    network.save(tmp_path / "network.keras")
    exported = load_saved_model(tmp_path / "exported")
    np.testing.assert_allclose(predict(exported, FACES, batch_size=2), expected, atol=2e-5)
    size = (tmp_path / "exported/variables/variables.data-00000-of-00001").stat().st_size
    assert size < 4.2 * finished.count_params() + 2**15  # every weight once, in four bytes
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_allclose(loaded(PIXELS), expected, atol=1e-6)
    graph = tf.saved_model.load(str(tmp_path / "exported")).signatures["serving_default"].graph.as_graph_def()
    operations = {node.op for function in graph.library.function for node in function.node_def}
    assert operations
    assert not [operation for operation in operations if "Random" in operation]


def test_an_ensemble_is_folded_and_exported_like_a_network(tmp_path: Path) -> None:
    ensemble = with_random_statistics(build("vgg", 4, 0.2, RANDOM, 7, SHAPE, ensemble=2))
    folded = to_export(ensemble, "plain")
    assert not [layer for layer in folded.layers if isinstance(layer, keras.layers.BatchNormalization)]
    export(folded, tmp_path / "exported", EMOTIONS)
    np.testing.assert_allclose(predict(load_saved_model(tmp_path / "exported"), FACES, 2), ensemble(PIXELS), atol=2e-5)


@pytest.mark.parametrize(("views", "shown"), [("plain", [PIXELS]), ("flip_and_shift", [PIXELS, PIXELS[:, :, ::-1]])])
@pytest.mark.parametrize(("size", "kept"), [(2, 1), (3, 2)])
def test_the_fast_signature_of_an_ensemble_is_half_of_its_networks(
    views: str, shown: list[np.ndarray], size: int, kept: int, tmp_path: Path
) -> None:
    ensemble = with_random_statistics(build("vgg", 4, 0.2, RANDOM, 7, SHAPE, ensemble=size))
    export(to_export(ensemble, views), tmp_path / "exported", EMOTIONS)
    half = keras.Model(ensemble.input, members(ensemble).outputs[:kept])
    expected = np.mean([half(view) for view in shown], axis=0)
    expected = expected.mean(axis=0) if kept > 1 else expected
    answers = Fast(load_saved_model(tmp_path / "exported")).serve(PIXELS)
    np.testing.assert_allclose(np.asarray(answers), expected, atol=2e-5)
    assert np.abs(expected - ensemble(PIXELS)).max() > 1e-3


@pytest.mark.parametrize(("views", "saves"), [("plain", False), ("flip", False), ("flip_and_shift", True)])
def test_the_fast_signature_of_one_network_has_at_most_two_views(views: str, saves: bool) -> None:
    network = tiny("vgg")
    accurate, fast = inference_models(network, views, SHAPE)
    assert (fast is not accurate) == saves
    if saves:
        expected = np.mean([network(PIXELS), network(PIXELS[:, :, ::-1])], axis=0)
        np.testing.assert_allclose(fast(PIXELS)[0], expected, atol=2e-5)
