"""The input pipeline: batches, label smoothing, flips, class weights and subsets."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from emotion.data.dataset import Split, subset
from emotion.params.sections import Params, Train
from emotion.runtime.errors import UserError
from emotion.training.input_pipeline import Batch, batch_loader, class_weights, eval_dataset
from support.training import OFF, TRAIN, VALIDATION


def batches(split: Split, settings: Train, steps: Iterable[int], **which: int) -> list[Batch]:
    """The batches of some steps."""
    load = batch_loader(split, settings)
    return [load(tf.constant(step, tf.int64), **which) for step in steps]


def test_an_epoch_contains_every_image_once(small: Train) -> None:
    plain = small.override({"augmentation": OFF.model_dump(), "label_smoothing": 0.0})
    pixels = np.concatenate([batch.images.numpy() for batch in batches(TRAIN, plain, range(6))])[..., 0]
    assert sorted(image.tobytes() for image in np.rint(pixels).astype(np.uint8)) == sorted(
        image.tobytes() for image in TRAIN.images
    )


def test_the_parts_of_a_batch_are_its_images(small: Train) -> None:
    plain = small.override({"augmentation": OFF.model_dump(), "batch_size": 15})
    (whole,) = batches(TRAIN, plain, [3])
    load = batch_loader(TRAIN, plain, parts=2)
    parts = [load(tf.constant(3, tf.int64), part=part) for part in range(2)]
    assert [len(part.images) for part in parts] == [7, 8]
    for values, of_parts in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(values, np.concatenate(of_parts))


def test_each_ensemble_member_has_an_order_and_an_augmentation_of_its_own(small: Train) -> None:
    (first,) = batches(TRAIN, small, [0], member=0)
    (second,) = batches(TRAIN, small, [0], member=1)
    distances = np.abs(first.images.numpy()[:, None] - second.images.numpy()[None]).mean(axis=(2, 3, 4))
    assert distances.min() > 1


def test_only_training_labels_are_smoothed(small: Train) -> None:
    (smoothed,) = batches(TRAIN, small.override({"label_smoothing": 0.7}), [0])
    np.testing.assert_allclose(np.unique(smoothed.labels), [0.1, 0.4], rtol=1e-5)
    _, plain = next(iter(eval_dataset(VALIDATION)))
    np.testing.assert_array_equal(np.unique(plain), [0, 1])


def test_batches_depend_only_on_the_step(small: Train) -> None:
    whole, later = batches(TRAIN, small, range(15)), batches(TRAIN, small, range(8, 15))
    for first, again in zip(whole[8:], later, strict=True):
        for values, same in zip(first, again, strict=True):
            np.testing.assert_array_equal(values, same)


def test_alternating_flips_yield_both_orientations_in_two_epochs(small: Train) -> None:
    alternating = small.override({"augmentation": {**OFF.model_dump(), "flip": "alternate"}})
    pixels = np.concatenate([batch.images.numpy() for batch in batches(TRAIN, alternating, range(12))])[..., 0]
    shown = np.rint(pixels).astype(np.uint8)
    both = [image.tobytes() for images in (TRAIN.images, TRAIN.images[:, :, ::-1]) for image in images]
    assert sorted(image.tobytes() for image in shown) == sorted(both)


def test_class_weights_have_mean_one_and_balance_the_emotions() -> None:
    split = subset(TRAIN, 0.7, 1)
    counts = np.bincount(split.labels, minlength=7)
    for power in (0.0, 0.5, 1.0):
        weights = class_weights(split, power)
        assert (weights * counts).sum() / len(split) == pytest.approx(1)
    sums = (weights * counts)[counts > 0]
    np.testing.assert_allclose(sums, sums[0], rtol=1e-5)


def test_a_subset_is_determined_by_the_seed_and_keeps_the_order() -> None:
    part, again = subset(TRAIN, 0.25, 3), subset(TRAIN, 0.25, 3)
    assert len(part) == 24
    np.testing.assert_array_equal(part.images, again.images)
    rows = [next(r for r in range(96) if (TRAIN.images[r] == image).all()) for image in part.images]
    assert rows == sorted(rows)


def voted_split() -> Split:
    """Images with one vote in four for another emotion."""
    votes = {f"votes.{emotion}": np.zeros(len(TRAIN)) for emotion in TRAIN.emotions}
    for row, label in enumerate(TRAIN.labels):
        votes[f"votes.{TRAIN.emotions[label]}"][row] = 3
        votes["votes.sad"][row] = 1
    return replace(TRAIN, index=TRAIN.index.assign(**votes))


def targets_of(params: Params, targets: str, split: Split, steps: int = 40) -> np.ndarray:
    settings = params.train.override({"targets": targets, "label_smoothing": 0, "batch_size": 32})
    return np.concatenate([batch.labels.numpy() for batch in batches(split, settings, range(steps))])


def test_soft_targets_are_the_distribution_of_votes(params: Params) -> None:
    labels = targets_of(params, "soft", voted_split(), steps=3)
    assert labels[:, TRAIN.emotions.index("sad")] == pytest.approx(0.25)
    assert labels.sum(axis=1) == pytest.approx(1)


def test_drawn_targets_are_one_label_in_proportion_to_the_votes(params: Params) -> None:
    labels = targets_of(params, "drawn", voted_split())
    assert set(np.unique(labels)) == {0, 1}
    assert (labels.sum(axis=1) == 1).all()
    assert labels[:, TRAIN.emotions.index("sad")].mean() == pytest.approx(0.25, abs=0.05)
    assert (labels[:, TRAIN.emotions.index("fear")] == 0).all()


def test_hard_targets_ignore_votes_and_soft_ones_need_them(params: Params) -> None:
    assert (targets_of(params, "hard", voted_split(), steps=3).max(axis=1) == 1).all()
    with pytest.raises(UserError, match=r"train\.targets=soft needs the votes of annotators"):
        targets_of(params, "soft", TRAIN)
