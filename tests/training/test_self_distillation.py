"""Targets that follow the networks' own predictions."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from emotion.params.sections import Train
from emotion.training.checkpoints import Checkpoints
from emotion.training.input_pipeline import Batch
from emotion.training.self_distillation import MEMORY, START, SelfDistillation
from emotion.training.trainer import Trainer, fit
from support.training import TRAIN, VALIDATION

LABELS = np.eye(3, dtype=np.float32)


def batch(*rows: int) -> Batch:
    return Batch(tf.zeros((len(rows), 1, 1, 1)), tf.constant(LABELS[list(rows)]), tf.constant(rows, tf.int64))


def test_targets_are_the_labels_until_predictions_count() -> None:
    distillation = SelfDistillation(tf.constant(LABELS), 1, share=0.5)
    distillation.remember([(0, tf.constant([0], tf.int64), tf.constant([[0.0, 1.0, 0.0]]))])
    distillation.progressed(START - 0.01)
    np.testing.assert_array_equal(distillation.targets(batch(0, 1)), LABELS[[0, 1]])
    distillation.progressed(START)
    doubt = 0.5 * (1 - MEMORY)
    np.testing.assert_allclose(distillation.targets(batch(0, 1)), [[1 - doubt, doubt, 0], LABELS[1]], rtol=1e-5)


def test_the_members_of_an_ensemble_teach_each_other() -> None:
    distillation = SelfDistillation(tf.constant(LABELS), 2, share=1.0)
    distillation.progressed(1)
    row = tf.constant([2], tf.int64)
    for _ in range(200):
        distillation.remember([(0, row, tf.constant([[1.0, 0.0, 0.0]])), (1, row, tf.constant([[0.0, 1.0, 0.0]]))])
    np.testing.assert_allclose(distillation.targets(batch(2)), [[0.5, 0.5, 0]], atol=1e-5)
    np.testing.assert_array_equal(distillation.averages[:2], LABELS[:2])


def test_training_remembers_the_predictions_for_every_image(small: Train) -> None:
    trainer = Trainer(small.override({"self_distillation": 0.5, "ensemble": 2}), TRAIN, VALIDATION)
    trainer.epoch()
    averages = trainer.distillation.averages.numpy() if trainer.distillation else np.empty(0)
    assert averages.shape == (2 * len(TRAIN), 7)
    own = np.tile(TRAIN.labels, 2)
    assert (averages[np.arange(len(own)), own] < 1).all()
    assert averages.sum(axis=1) == pytest.approx(1, abs=1e-4)


def test_a_resumed_training_continues_with_its_averages(small: Train, tmp_path: Path) -> None:
    settings = small.override({"self_distillation": 0.5, "epochs": 4, "precision": "float32"})
    expected = fit(settings, TRAIN, VALIDATION).history
    fit(settings, TRAIN, VALIDATION, checkpoints=Checkpoints(tmp_path), should_stop=lambda rows: len(rows) == 2)
    resumed = fit(settings, TRAIN, VALIDATION, checkpoints=Checkpoints(tmp_path)).history
    np.testing.assert_allclose(resumed["loss"], expected["loss"], rtol=1e-4)
