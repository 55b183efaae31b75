"""Networks: shapes, scaling, and the exported model."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from emotion import params
from emotion.inference.load import load_saved_model, predict
from emotion.networks.build import NETWORKS, build, members
from emotion.networks.inference import export, fold_normalization, serving_network
from emotion.networks.layers import Convolution, FusedBatchNormalization, Standardization, Views
from emotion.networks.transfer import APPLICATIONS
from emotion.runtime.errors import UserError
from emotion.training import precision

FACES = np.random.default_rng(0).integers(0, 256, (5, 48, 48), dtype=np.uint8)
PIXELS = FACES[..., None].astype(np.float32)
RANDOM = params.Transfer(weights="none", image_size=32)


def unlike_new(network: keras.Model) -> keras.Model:
    """Moments and offsets as after a training; a new network's normalization changes nothing."""
    generator = np.random.default_rng(1)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([w + generator.uniform(0.1, 0.3, w.shape) for w in layer.get_weights()])
    return network


def tiny(name: str) -> keras.Model:
    return unlike_new(build(name, 4, 0.2, RANDOM))


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> keras.Model:
    return tiny(request.param)


def test_raw_pixels_go_in_and_probabilities_come_out(network: keras.Model) -> None:
    answer = network(PIXELS).numpy()
    assert answer.shape == (5, 7)
    np.testing.assert_allclose(answer.sum(axis=1), 1, rtol=1e-5)
    assert answer.std() > 0


def test_a_network_that_is_merely_called_is_not_in_training(network: keras.Model) -> None:
    np.testing.assert_array_equal(network(PIXELS), network(PIXELS, training=False))


def test_every_network_can_be_chosen() -> None:
    assert set(params.Train.model_fields["network"].annotation.__args__) == set(NETWORKS)  # type: ignore[union-attr]


def test_the_basic_cnn_is_the_earlier_studys() -> None:
    network = build("basic_cnn", 32, 0.4, RANDOM)
    filters = [layer.filters for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    units = [layer.units for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    assert filters == [128, 256, 512, 512]
    assert units == [512, 256, 7]


def saved_weights(name: str, folder: Path) -> tuple[keras.Model, params.Transfer]:
    """A network without its top, and what takes its weights from a file."""
    make, _ = APPLICATIONS[name]
    source = make(include_top=False, weights=None, input_shape=(32, 32, 3))
    source.save_weights(folder / "backbone.weights.h5")
    return source, RANDOM.model_copy(update={"weights": str(folder / "backbone.weights.h5")})


@pytest.mark.parametrize("name", APPLICATIONS)
def test_transfer_learning_takes_weights_from_a_file_and_trains_the_studys_head(name: str, tmp_path: Path) -> None:
    source, from_file = saved_weights(name, tmp_path)
    network = build(name, 4, 0.2, from_file)
    first = next(layer for layer in source.layers if isinstance(layer, keras.layers.Conv2D))
    np.testing.assert_array_equal(network.get_layer(first.name).get_weights()[0], first.get_weights()[0])
    trained = [layer for layer in network.layers if layer.trainable_weights]
    assert [layer.units for layer in trained] == [256, 64, 7]


def test_without_weights_all_of_the_network_is_trained() -> None:
    network = tiny("mobilenet_v2")
    assert not [layer for layer in network.layers if not layer.trainable]
    moments = [layer.momentum for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert set(moments) == {0.9}


def test_fine_tuning_starts_at_the_named_layer_and_leaves_moments_alone(tmp_path: Path) -> None:
    _, from_file = saved_weights("mobilenet_v2", tmp_path)
    network = build("mobilenet_v2", 4, 0.2, from_file.model_copy(update={"fine_tune_from": "block_16_expand"}))
    trained = [layer.name for layer in network.layers if layer.trainable_weights]
    assert trained[0] == "block_16_expand"
    assert "Conv_1" in trained
    assert not [layer for layer in network.layers if layer.trainable and "BN" in layer.name]


def test_an_unknown_layer_to_fine_tune_from_is_named_with_near_ones(tmp_path: Path) -> None:
    _, from_file = saved_weights("vgg16", tmp_path)
    with pytest.raises(UserError, match="no layer is named 'block5_conv9'; there is block5_conv3"):
        build("vgg16", 4, 0.2, from_file.model_copy(update={"fine_tune_from": "block5_conv9"}))


def test_a_file_of_other_weights_or_none_is_one_message(tmp_path: Path) -> None:
    _, from_file = saved_weights("vgg16", tmp_path)
    with pytest.raises(UserError, match="does not hold weights of mobilenet_v2"):
        build("mobilenet_v2", 4, 0.2, from_file)
    Path(from_file.weights).write_bytes(b"no weights")
    with pytest.raises(UserError, match="does not hold weights of vgg16"):
        build("vgg16", 4, 0.2, from_file)
    with pytest.raises(UserError, match=r"should be imagenet, none or the path of a file, got 'nowhere.h5'"):
        build("vgg16", 4, 0.2, RANDOM.model_copy(update={"weights": "nowhere.h5"}))


def test_weights_that_cannot_be_downloaded_name_the_ways_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.applications.vgg16.WEIGHTS_PATH_NO_TOP", "http://127.0.0.1:9/vgg16.h5", raising=True)
    with pytest.raises(UserError, match="could not be downloaded") as error:
        build("vgg16", 4, 0.2, RANDOM.model_copy(update={"weights": "imagenet"}))
    assert "name it in train.transfer.weights, or set that to none" in str(error.value)


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


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("side", [2, 3, 4, 6, 8, 12])
def test_convolutions_of_small_maps_answer_and_learn_as_the_librarys_do(side: int, policy: str) -> None:
    quick = Convolution(5, 3, padding="same", use_bias=False, dtype=policy)
    images = tf.cast(tf.random.stateless_normal((4, side, side, 3), (0, 0)), quick.compute_dtype)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        ours = quick(images, training=True)
        usual = tf.nn.conv2d(images, tf.cast(quick.kernel, images.dtype), 1, "SAME")
        ours_squared, usual_squared = tf.reduce_sum(ours**2), tf.reduce_sum(usual**2)
    pairs = [(ours, usual)]
    for source in (images, quick.kernel.value):
        pairs.append((tape.gradient(ours_squared, source), tape.gradient(usual_squared, source)))
    for one, other in pairs:
        one, other = (tf.cast(values, tf.float32).numpy() for values in (one, other))
        # As a whole: of bfloat16, processors without it in hardware round single values otherwise.
        assert np.linalg.norm(one - other) < (1e-5 if policy == "float32" else 0.05) * np.linalg.norm(other)
    small = side <= (6 if policy == "float32" else 8)
    graph = tf.function(lambda x: tape_of(quick, x)).get_concrete_function(images).graph
    operations = {operation.type for operation in graph.get_operations()}
    assert ("Conv2DBackpropFilter" not in operations) == small


def tape_of(layer: keras.layers.Layer, images: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(images, training=True))
    return tape.gradient(total, layer.trainable_variables)


def test_standardization_undoes_light_and_contrast() -> None:
    layer = Standardization()
    np.testing.assert_allclose(layer(PIXELS * 0.5 + 40), layer(PIXELS), atol=1e-4)
    np.testing.assert_array_equal(layer(np.full((1, 48, 48, 1), 99, np.float32)), 0)


def test_the_folded_network_has_no_normalization_left_and_answers_the_same(network: keras.Model) -> None:
    folded = fold_normalization(network)
    left = [layer.name for layer in folded.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert not left
    np.testing.assert_allclose(folded(PIXELS), network(PIXELS), atol=2e-5)


def test_a_bfloat16_network_is_folded_to_float32_and_answers_nearly_the_same() -> None:
    precision.apply("bfloat16")
    try:
        network = tiny("residual")
    finally:
        precision.apply("float32")
    computed = {layer.compute_dtype for layer in network.layers if isinstance(layer, keras.layers.Conv2D)}
    assert computed == {"bfloat16"}
    folded = serving_network(network, "plain")
    assert {layer.compute_dtype for layer in folded.layers} == {"float32"}
    np.testing.assert_allclose(folded(PIXELS), network(PIXELS), atol=0.02)


def test_views_are_the_image_its_mirror_image_and_both_moved() -> None:
    views = Views(2)(PIXELS).numpy().reshape(6, 5, 48, 48)
    np.testing.assert_array_equal(views[0], FACES)
    np.testing.assert_array_equal(views[1], FACES[:, :, ::-1])
    np.testing.assert_array_equal(views[2][:, 2:, 2:], FACES[:, :-2, :-2])
    np.testing.assert_array_equal(views[5][:, :, ::-1][:, :-2, :-2], FACES[:, 2:, 2:])


@pytest.mark.parametrize(("views", "shown"), [("plain", 1), ("flip", 2), ("flip_and_shift", 6)])
def test_the_exported_model_averages_its_views(views: str, shown: int, tmp_path: Path) -> None:
    network = tiny("residual")
    seen = {1: PIXELS[None], 2: np.stack([PIXELS, PIXELS[:, :, ::-1]]), 6: Views(2)(PIXELS).numpy()}[shown]
    answers = network(seen.reshape(-1, 48, 48, 1)).numpy().reshape(shown, 5, 7)
    export(serving_network(network, views), tmp_path / "exported")
    exported = predict(load_saved_model(tmp_path / "exported"), FACES, batch_size=2)
    np.testing.assert_allclose(exported, answers.mean(axis=0), atol=1e-5)


def test_the_exported_and_the_saved_model_answer_like_the_network(network: keras.Model, tmp_path: Path) -> None:
    expected = network(PIXELS).numpy()
    export(serving_network(network, "plain"), tmp_path / "exported")
    network.save(tmp_path / "network.keras")
    exported = load_saved_model(tmp_path / "exported")
    np.testing.assert_allclose(predict(exported, FACES, batch_size=2), expected, atol=2e-5)
    size = (tmp_path / "exported/variables/variables.data-00000-of-00001").stat().st_size
    assert size < 4.2 * network.count_params() + 2**15  # every weight once, in four bytes
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_allclose(loaded(PIXELS), expected, atol=1e-6)
    graph = exported.signatures["serving_default"].graph.as_graph_def()
    operations = {node.op for function in graph.library.function for node in function.node_def}
    assert operations
    assert not [operation for operation in operations if "Random" in operation]


def test_the_width_sets_the_channels() -> None:
    filters = [layer.filters for layer in tiny("residual").layers if isinstance(layer, keras.layers.Conv2D)]
    assert filters == [4, 8, 12, 12, 12, 24, 24, 24]


@pytest.mark.parametrize("name", ["residual", "vgg"])
def test_an_ensemble_answers_with_the_mean_of_its_members_which_differ(name: str) -> None:
    ensemble = unlike_new(build(name, 4, 0.2, RANDOM, ensemble=2))
    first, second = members(ensemble)(PIXELS)
    assert np.abs(first - second).max() > 0.01
    np.testing.assert_allclose(ensemble(PIXELS), (first + second) / 2, atol=1e-6)
    assert ensemble.count_params() == 2 * build(name, 4, 0.2, RANDOM).count_params()


def test_an_ensemble_is_folded_and_exported_like_a_network(tmp_path: Path) -> None:
    ensemble = unlike_new(build("vgg", 4, 0.2, RANDOM, ensemble=2))
    folded = serving_network(ensemble, "plain")
    assert not [layer for layer in folded.layers if isinstance(layer, keras.layers.BatchNormalization)]
    export(folded, tmp_path / "exported")
    np.testing.assert_allclose(predict(load_saved_model(tmp_path / "exported"), FACES, 2), ensemble(PIXELS), atol=2e-5)
