"""Data augmentation."""

import numpy as np
import pytest
import tensorflow as tf

from emotion.params.sections import Params
from emotion.training.augmentation import augment
from support.training import OFF, TRAIN, seed

IMAGES = tf.constant(TRAIN.images[:16, ..., None], tf.float32)


def test_disabled_augmentation_changes_nothing() -> None:
    np.testing.assert_allclose(augment(IMAGES, OFF, seed(1)), IMAGES, atol=0.01)


def test_augmentation_is_determined_by_the_seed(params: Params) -> None:
    changed = [augment(IMAGES, params.train.augmentation, seed(n)).numpy() for n in (1, 1, 2)]
    np.testing.assert_array_equal(changed[0], changed[1])
    assert np.abs(changed[0] - changed[2]).max() > 10


@pytest.mark.parametrize("name", ["rotation", "zoom", "translation", "erasing"])
def test_each_augmentation_changes_the_image_and_keeps_shape_and_range(name: str, params: Params) -> None:
    alone = OFF.model_copy(update={name: getattr(params.train.augmentation, name) or 0.2})
    changed = augment(IMAGES, alone, seed(1)).numpy()
    assert changed.shape == IMAGES.shape
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert np.abs(changed - IMAGES).max() > 5


def test_random_flips_mirror_about_half_of_the_images() -> None:
    changed = augment(IMAGES, OFF.model_copy(update={"flip": "random"}), seed(1)).numpy()
    mirrored = np.isclose(changed, IMAGES.numpy()[:, :, ::-1], atol=0.01).all(axis=(1, 2, 3))
    kept = np.isclose(changed, IMAGES, atol=0.01).all(axis=(1, 2, 3))
    assert (mirrored | kept).all()
    assert 3 <= mirrored.sum() <= 13


def test_the_erased_square_has_the_mean_of_the_image() -> None:
    changed = augment(IMAGES, OFF.model_copy(update={"erasing": 0.9}), seed(1)).numpy()
    for image, erased in zip(IMAGES.numpy(), changed, strict=True):
        values = erased[np.abs(erased - image) > 0.01]
        assert np.allclose(values, image.mean(), atol=0.01)
    assert (np.abs(changed - IMAGES) > 0.01).mean() > 0.05
