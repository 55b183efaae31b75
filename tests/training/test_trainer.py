"""The training loop."""

import resource
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from emotion.params.sections import Train
from emotion.runtime.errors import UserError
from emotion.training.batch_statistics import trained_normalizations
from emotion.training.callbacks import tensorboard_callback
from emotion.training.input_pipeline import batch_loader
from emotion.training.trainer import Trainer, fit
from support.training import TRAIN, VALIDATION


def test_an_ensemble_member_trains_as_it_would_alone(small: Train) -> None:
    plain = small.override({"optimizer": "sgd", "learning_rate": 0.1, "dropout": 0, "precision": "float32"})
    alone = Trainer(plain, TRAIN, VALIDATION)
    together = Trainer(plain.override({"ensemble": 2}), TRAIN, VALIDATION)
    before = alone.network.get_weights()
    for member in together.train_step.members:
        member.set_weights(before)
    for trainer in (alone, together):
        trainer.optimizer.learning_rate.assign(0.1)
        trainer.train_step(0)
    after = alone.network.get_weights()
    assert max(np.abs(new - old).max() for new, old in zip(after, before, strict=True)) > 1e-3
    first, second = (member.get_weights() for member in together.train_step.members)
    for own, other, expected in zip(first, second, after, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-6)
        assert np.abs(other - expected).max() > 1e-5  # another batch


def test_the_last_weights_and_their_predictions_are_returned(small: Train) -> None:
    fitted = fit(small.override({"epochs": 4, "precision": "float32"}), TRAIN, VALIDATION)
    answers = fitted.network(VALIDATION.images[..., None].astype(np.float32)).numpy()
    np.testing.assert_allclose(answers, fitted.val_probabilities, atol=1e-4)
    correct = fitted.val_probabilities.argmax(axis=1) == VALIDATION.labels
    assert correct.mean() == pytest.approx(fitted.history["val_accuracy"].iloc[-1])


def test_the_statistics_of_the_trained_network_are_those_of_images_without_augmentation(small: Train) -> None:
    distorted = {"augmentation.zoom": 0.9, "augmentation.translation": 0.9, "augmentation.erasing": 0.9}
    trainer = Trainer(small.override({"epochs": 1, "precision": "float32", **distorted}), TRAIN, VALIDATION)
    first = trained_normalizations(trainer.network)[0]
    convolved = keras.Model(trainer.network.input, first.input)
    trainer.epoch()
    load = batch_loader(TRAIN, small)
    images = np.concatenate([load(tf.constant(step, tf.int64), augmented=False)[0] for step in range(6)])
    features = convolved(images).numpy()
    np.testing.assert_allclose(first.moving_mean, features.mean(axis=(0, 1, 2)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(first.moving_variance, features.var(axis=(0, 1, 2)), rtol=1e-2, atol=1e-4)


def test_the_history_has_the_learning_rate_of_each_epoch(small: Train) -> None:
    history = fit(small, TRAIN, VALIDATION).history
    assert len(history) == 2
    assert history["learning_rate"][0] == pytest.approx(
        small.learning_rate * (1 - 5 / 12) / (1 - small.warmup), rel=1e-5
    )


def test_an_update_compiled_as_for_a_gpu_matches_that_of_a_cpu(small: Train) -> None:
    plain = small.override({"dropout": 0, "precision": "float32", "ensemble": 2})
    trainers = [Trainer(plain, TRAIN, VALIDATION) for _ in range(2)]
    update = trainers[1].train_step._update_weights
    trainers[1].train_step._update = tf.function(update, autograph=False, jit_compile=True)
    for trainer in trainers:
        trainer.optimizer.learning_rate.assign(0.01)
        trainer.train_step(0)
    for ours, theirs in zip(*(trainer.network.get_weights() for trainer in trainers), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


class Clock:
    """A clock that advances by a fixed time on every read, so that the number of steps is deterministic."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now = seconds, 0.0

    def monotonic(self) -> float:
        self.now += self.seconds
        return self.now


def test_a_time_budget_ends_training_on_time_with_a_decayed_learning_rate(
    small: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emotion.training.schedule.time", Clock(0.1))
    fitted = fit(small.override({"budget_minutes": 20 / 60}), TRAIN, VALIDATION)
    assert fitted.rows[-1]["seconds"] == pytest.approx(20, rel=0.05)
    assert fitted.rows[-1]["learning_rate"] < 0.05 * small.learning_rate
    assert len(fitted.rows) > 2


def test_a_time_budget_too_short_for_what_follows_the_last_step_is_rejected(small: Train) -> None:
    expected = r"train\.budget_minutes allows 0 s for the whole training\. Increase train\.budget_minutes\."
    with pytest.raises(UserError, match=expected):
        fit(small.override({"budget_minutes": 1e-9}), TRAIN, VALIDATION)


def test_epochs_are_logged_to_tensorboard(small: Train, tmp_path: Path) -> None:
    fit(small, TRAIN, VALIDATION, [tensorboard_callback(tmp_path)])
    fit(small, TRAIN, VALIDATION, [tensorboard_callback(tmp_path)])  # as after a resume: replaces the first file
    (events,) = tmp_path.glob("events.out.tfevents*")
    assert b"val_accuracy" in events.read_bytes()


@pytest.mark.parametrize("network", ["residual", "basic_cnn"])
def test_the_error_for_a_diverged_training_names_the_step_and_a_remedy(small: Train, network: str) -> None:
    wild = {"network": network, "optimizer": "sgd", "learning_rate": 10.0, "momentum": 0.99, "warmup": 0.0}
    with pytest.raises(UserError, match=r"in step \d+ \(epoch \d+\) at a learning rate of") as error:
        fit(small.override({"epochs": 40, "weight_decay": 1.0, **wild}), TRAIN, VALIDATION)
    assert "diverged. Lower train.learning_rate" in str(error.value)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_memory_use_is_constant_over_epochs(small: Train) -> None:
    sizes: list[int] = []
    settings = small.override({"epochs": 40})
    fit(settings, TRAIN, VALIDATION, [lambda row: sizes.append(resident_bytes())])
    assert sizes[-1] - sizes[10] < 20 * 2**20
