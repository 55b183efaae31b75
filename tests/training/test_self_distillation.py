"""Targets that follow the networks' own predictions."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from emotion.params.sections import Train
from emotion.training.checkpoints import Checkpoints
from emotion.training.input_pipeline import Batch
from emotion.training.self_distillation import DECAY, START, SelfDistillation
from emotion.training.trainer import Trainer, fit
from support.training import OFF, TRAIN, VALIDATION

LABELS = np.eye(3, dtype=np.float32)


def batch(*rows: int) -> Batch:
    return Batch(tf.zeros((len(rows), 1, 1, 1)), tf.constant(LABELS[list(rows)]), tf.constant(rows, tf.int64))


def test_targets_are_the_labels_until_predictions_count() -> None:
    distillation = SelfDistillation(tf.constant(LABELS), members=1, share=0.5)
    distillation.update([(0, tf.constant([0], tf.int64), tf.constant([[0.0, 1.0, 0.0]]))])
    distillation.set_progress(START - 0.01)
    np.testing.assert_array_equal(distillation.targets(0, batch(0, 1)), LABELS[[0, 1]])
    distillation.set_progress(START)
    doubt = 0.5 * (1 - DECAY)
    np.testing.assert_allclose(distillation.targets(0, batch(0, 1)), [[1 - doubt, doubt, 0], LABELS[1]], rtol=1e-5)


def test_each_member_of_an_ensemble_has_targets_of_its_own() -> None:
    distillation = SelfDistillation(tf.constant(LABELS), members=2, share=1.0)
    distillation.set_progress(1)
    row = tf.constant([2], tf.int64)
    for _ in range(200):
        distillation.update([(0, row, tf.constant([[1.0, 0.0, 0.0]])), (1, row, tf.constant([[0.0, 1.0, 0.0]]))])
    np.testing.assert_allclose(distillation.targets(0, batch(2, 1)), LABELS[[0, 1]], atol=1e-5)
    np.testing.assert_allclose(distillation.targets(1, batch(2, 0)), LABELS[[1, 0]], atol=1e-5)


def test_training_averages_the_predictions_for_every_image(small: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion.training.trainer.CPU_PARTS", 1)  # one batch of all images, for the same statistics
    still = {"optimizer": "sgd", "learning_rate": 1e-9, "dropout": 0, "batch_size": len(TRAIN)}
    plain = {"augmentation": OFF.model_dump(), "precision": "float32"}
    settings = small.override({"self_distillation": 0.5, "ensemble": 2, **still, **plain})
    trainer = Trainer(settings, TRAIN, VALIDATION)
    trainer.epoch()
    assert trainer.distillation is not None
    averages = trainer.distillation.averages.numpy().reshape(2, len(TRAIN), 7)
    for average, member in zip(averages, trainer.train_step.members, strict=True):
        predicted = member(TRAIN.images[..., None].astype(np.float32), training=True).numpy()
        expected = DECAY * np.eye(7)[TRAIN.labels] + (1 - DECAY) * predicted
        np.testing.assert_allclose(average, expected, atol=1e-3)
    assert np.abs(averages[0] - averages[1]).max() > 1e-3


def test_predictions_change_the_targets_after_the_first_part_of_a_training(small: Train) -> None:
    settings = small.override({"epochs": 4, "precision": "float32"})
    given = fit(settings, TRAIN, VALIDATION).history["loss"]
    mixed = fit(settings.override({"self_distillation": 0.5}), TRAIN, VALIDATION).history["loss"]
    assert mixed[0] == pytest.approx(given[0], rel=1e-4)
    assert (mixed[1:] - given[1:]).abs().max() > 1e-3


def test_a_resumed_training_continues_with_its_averages(small: Train, tmp_path: Path) -> None:
    settings = small.override({"self_distillation": 0.5, "epochs": 4, "precision": "float32"})
    expected = fit(settings, TRAIN, VALIDATION).history
    fit(settings, TRAIN, VALIDATION, checkpoints=Checkpoints(tmp_path), should_stop=lambda rows: len(rows) == 2)
    resumed = fit(settings, TRAIN, VALIDATION, checkpoints=Checkpoints(tmp_path)).history
    np.testing.assert_allclose(resumed["loss"], expected["loss"], rtol=1e-4)
