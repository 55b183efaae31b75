"""Batches, augmentation, the schedule, and a real fit."""

from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from emotion.errors import UserError
from emotion.faces import Split, subset
from emotion.labels import EMOTIONS
from emotion.params import Augmentation, Params, Train
from emotion.sources.drawing import draw_face
from emotion.training.augmentation import augment
from emotion.training.recipe import WarmupThenDecay, fit, plain_batches, training_batches

OFF = Augmentation(flip=False, rotation=0, zoom=0, translation=0, contrast=0, erasing=0)


def drawn_split(count: int, seed: int) -> Split:
    """Drawn faces of two emotions that are easy to tell apart."""
    emotions = ["happy" if number % 2 else "surprise" for number in range(count)]
    images = [np.asarray(draw_face(e, np.random.default_rng([seed, n]))) for n, e in enumerate(emotions)]
    labels = np.array([EMOTIONS.index(emotion) for emotion in emotions])
    return Split(np.stack(images), labels, pd.DataFrame({"emotion": emotions}))


TRAIN, VALIDATION = drawn_split(96, 0), drawn_split(32, 1)


@pytest.fixture
def small(settings: Params) -> Train:
    return settings.train.override({"width": 4, "epochs": 2, "batch_size": 16})


def seed(number: int) -> tf.Tensor:
    return tf.constant([0, number], tf.int64)


IMAGES = tf.constant(TRAIN.images[:16, ..., None], tf.float32)


def test_augmentation_that_is_off_changes_nothing() -> None:
    np.testing.assert_allclose(augment(IMAGES, OFF, seed(1)), IMAGES, atol=0.01)


def test_the_same_seed_augments_the_same_way_and_another_does_not(settings: Params) -> None:
    changed = [augment(IMAGES, settings.train.augmentation, seed(n)).numpy() for n in (1, 1, 2)]
    np.testing.assert_array_equal(changed[0], changed[1])
    assert np.abs(changed[0] - changed[2]).max() > 10


@pytest.mark.parametrize("name", ["rotation", "zoom", "translation", "contrast", "erasing"])
def test_each_augmentation_changes_the_image_and_keeps_shape_and_range(name: str, settings: Params) -> None:
    alone = OFF.model_copy(update={name: getattr(settings.train.augmentation, name) or 0.2})
    changed = augment(IMAGES, alone, seed(1)).numpy()
    assert changed.shape == IMAGES.shape
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert np.abs(changed - IMAGES).max() > 5


def test_flip_mirrors_about_half_of_the_images_exactly() -> None:
    changed = augment(IMAGES, OFF.model_copy(update={"flip": True}), seed(1)).numpy()
    mirrored = np.isclose(changed, IMAGES.numpy()[:, :, ::-1], atol=0.01).all(axis=(1, 2, 3))
    kept = np.isclose(changed, IMAGES, atol=0.01).all(axis=(1, 2, 3))
    assert (mirrored | kept).all()
    assert 3 <= mirrored.sum() <= 13


def test_an_epoch_of_batches_holds_every_image_once(small: Train) -> None:
    plain = small.override({"augmentation": OFF.model_dump(), "label_smoothing": 0.0})
    epoch = list(islice(training_batches(TRAIN, plain), 6))
    pixels = np.concatenate([images.numpy() for images, _ in epoch])[..., 0]
    assert sorted(image.tobytes() for image in np.rint(pixels).astype(np.uint8)) == sorted(
        image.tobytes() for image in TRAIN.images
    )


def test_only_training_labels_are_smoothed(small: Train) -> None:
    _, smoothed = next(iter(training_batches(TRAIN, small.override({"label_smoothing": 0.7}))))
    np.testing.assert_allclose(np.unique(smoothed), [0.1, 0.4], rtol=1e-5)
    _, plain = next(iter(plain_batches(VALIDATION)))
    np.testing.assert_array_equal(np.unique(plain), [0, 1])


def test_the_learning_rate_climbs_to_its_peak_and_falls_to_zero() -> None:
    schedule = WarmupThenDecay(peak=0.5, steps=100, warmup=0.2)
    rates = np.array([float(schedule(tf.constant(step))) for step in range(100)])
    assert rates.argmax() == 19
    assert rates.max() == pytest.approx(0.5)
    assert (np.diff(rates[:20]) > 0).all()
    assert (np.diff(rates[19:]) < 0).all()
    assert rates[-1] == pytest.approx(0, abs=1e-6)


def test_training_learns_and_two_runs_with_the_same_seed_agree(small: Train) -> None:
    longer = small.override({"epochs": 20, "width": 8, "learning_rate": 0.05})
    _, first = fit(longer, TRAIN, VALIDATION)
    _, second = fit(longer, TRAIN, VALIDATION)
    assert first["val_accuracy"][-1] > 0.8
    for key in first:
        np.testing.assert_allclose(first[key], second[key], rtol=1e-4)


def test_the_best_weights_are_kept_and_not_the_last(small: Train) -> None:
    network, history = fit(small.override({"epochs": 4}), TRAIN, VALIDATION)
    kept = network.evaluate(plain_batches(VALIDATION), verbose=0, return_dict=True)
    assert kept["accuracy"] == pytest.approx(max(history["val_accuracy"]))


def test_training_stops_early_without_improvement(small: Train) -> None:
    flat = small.override({"epochs": 30, "patience": 2, "learning_rate": 1e-9, "warmup": 0.0})
    _, history = fit(flat, TRAIN, VALIDATION)
    assert len(history["loss"]) < 30


def test_the_history_has_the_learning_rate_of_every_epoch(small: Train) -> None:
    _, history = fit(small, TRAIN, VALIDATION)
    assert len(history["learning_rate"]) == 2
    assert history["learning_rate"][0] == pytest.approx(small.learning_rate * 0.5 / 0.8, rel=0.1)


@pytest.mark.parametrize("changes", [{"learning_rate": 10.0, "momentum": 0.99, "network": "basic_cnn", "warmup": 0.0}])
def test_a_diverged_training_says_what_to_do(small: Train, changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"diverged\. Lower train\.learning_rate"):
        fit(small.override({"epochs": 20, **changes}), TRAIN, VALIDATION)


def test_a_subset_is_a_seeded_part_in_the_same_order() -> None:
    part, again = subset(TRAIN, 0.25, 3), subset(TRAIN, 0.25, 3)
    assert len(part) == 24
    np.testing.assert_array_equal(part.images, again.images)
    rows = [next(r for r in range(96) if (TRAIN.images[r] == image).all()) for image in part.images]
    assert rows == sorted(rows)
