"""Data augmentation."""

import numpy as np
import pytest
import tensorflow as tf

from emotion.params.sections import Params
from emotion.training.augmentation import augment, mixup
from support.training import OFF, TRAIN, seed

IMAGES = tf.constant(TRAIN.images[:16, ..., None], tf.float32)


def test_disabled_augmentation_changes_nothing() -> None:
    np.testing.assert_allclose(augment(IMAGES, OFF, seed(1)), IMAGES, atol=0.01)


def test_augmentation_is_determined_by_the_seed(params: Params) -> None:
    changed = [augment(IMAGES, params.train.augmentation, seed(n)).numpy() for n in (1, 1, 2)]
    np.testing.assert_array_equal(changed[0], changed[1])
    assert np.abs(changed[0] - changed[2]).max() > 10


@pytest.mark.parametrize("name", ["rotation", "zoom", "translation", "contrast", "erasing"])
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


def test_mixup_mixes_images_and_labels_with_the_same_ratio() -> None:
    labels = tf.one_hot(TRAIN.labels[:16], 7)
    images, mixed = mixup(IMAGES, labels, 0.4, seed(1))
    part = 1 - float(tf.reduce_max(mixed[0]))
    assert 0 < part < 0.4
    np.testing.assert_allclose(images, IMAGES * (1 - part) + IMAGES[::-1] * part, atol=0.01)
