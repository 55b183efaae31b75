"""Transfer learning: pretrained weights and fine-tuning."""

from pathlib import Path

import keras
import numpy as np
import pytest

from emotion.networks.build import build
from emotion.networks.transfer import APPLICATIONS
from emotion.params.sections import Transfer
from emotion.runtime.errors import UserError
from support.networks import RANDOM, SHAPE, tiny


def saved_weights(name: str, folder: Path) -> tuple[keras.Model, Transfer]:
    """A network without its top, and the settings that load its weights from a file."""
    make, _ = APPLICATIONS[name]
    source = make(include_top=False, weights=None, input_shape=(32, 32, 3))
    source.save_weights(folder / "backbone.weights.h5")
    return source, RANDOM.model_copy(update={"weights": str(folder / "backbone.weights.h5")})


@pytest.mark.parametrize("name", APPLICATIONS)
def test_transfer_learning_loads_weights_from_a_file_and_trains_the_studys_head(name: str, tmp_path: Path) -> None:
    source, from_file = saved_weights(name, tmp_path)
    network = build(name, 4, 0.2, from_file, 7, SHAPE)
    first = next(layer for layer in source.layers if isinstance(layer, keras.layers.Conv2D))
    np.testing.assert_array_equal(network.get_layer(first.name).get_weights()[0], first.get_weights()[0])
    trained = [layer for layer in network.layers if layer.trainable_weights]
    assert [layer.units for layer in trained] == [256, 64, 7]


def test_without_weights_the_whole_network_is_trained() -> None:
    network = tiny("mobilenet_v2")
    assert not [layer for layer in network.layers if not layer.trainable]
    moments = [layer.momentum for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert set(moments) == {0.9}


def test_fine_tuning_starts_at_the_named_layer_and_freezes_batch_normalization(tmp_path: Path) -> None:
    _, from_file = saved_weights("mobilenet_v2", tmp_path)
    network = build(
        "mobilenet_v2", 4, 0.2, from_file.model_copy(update={"fine_tune_from": "block_16_expand"}), 7, SHAPE
    )
    trained = [layer.name for layer in network.layers if layer.trainable_weights]
    assert trained[0] == "block_16_expand"
    assert "Conv_1" in trained
    assert not [layer for layer in network.layers if layer.trainable and "BN" in layer.name]


def test_the_error_for_an_unknown_fine_tuning_layer_suggests_similar_names(tmp_path: Path) -> None:
    _, from_file = saved_weights("vgg16", tmp_path)
    with pytest.raises(UserError, match=r"no layer is named 'block5_conv9'\. Did you mean block5_conv3"):
        build("vgg16", 4, 0.2, from_file.model_copy(update={"fine_tune_from": "block5_conv9"}), 7, SHAPE)


def test_a_wrong_weights_file_gives_one_message(tmp_path: Path) -> None:
    _, from_file = saved_weights("vgg16", tmp_path)
    with pytest.raises(UserError, match="does not contain weights of mobilenet_v2"):
        build("mobilenet_v2", 4, 0.2, from_file, 7, SHAPE)
    Path(from_file.weights).write_bytes(b"no weights")
    with pytest.raises(UserError, match="does not contain weights of vgg16"):
        build("vgg16", 4, 0.2, from_file, 7, SHAPE)
    with pytest.raises(UserError, match=r"should be imagenet, none or the path of a file, got 'nowhere.h5'"):
        build("vgg16", 4, 0.2, RANDOM.model_copy(update={"weights": "nowhere.h5"}), 7, SHAPE)


def test_a_failed_weights_download_names_the_alternatives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.applications.vgg16.WEIGHTS_PATH_NO_TOP", "http://127.0.0.1:9/vgg16.h5", raising=True)
    with pytest.raises(UserError, match="could not be downloaded") as error:
        build("vgg16", 4, 0.2, RANDOM.model_copy(update={"weights": "imagenet"}), 7, SHAPE)
    assert "set train.transfer.weights to its path, or set it to none" in str(error.value)
