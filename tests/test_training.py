"""Batches, augmentation, the schedule, and a real fit."""

import resource
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from emotion.data.dataset import Split, subset
from emotion.data.labels import EMOTIONS
from emotion.data.sources.drawing import draw_face
from emotion.params import Augmentation, Params, Train
from emotion.runtime.errors import UserError
from emotion.training import precision
from emotion.training.augmentation import augment, mix
from emotion.training.checkpoints import Checkpoints
from emotion.training.input_pipeline import class_weights, plain_batches, training_batches
from emotion.training.optimizers import ITERATIONS, NEWTON_SCHULZ, Muon, is_filter_bank, orthogonalized
from emotion.training.schedule import Schedule
from emotion.training.trainer import Row, Trainer, fit, tensorboard_writer

OFF = Augmentation(flip="none", rotation=0, zoom=0, translation=0, contrast=0, erasing=0, mixup=0)


def drawn_split(count: int, seed: int) -> Split:
    """Drawn faces of two emotions that are easy to tell apart."""
    emotions = ["happy" if number % 2 else "surprise" for number in range(count)]
    images = [np.asarray(draw_face(e, np.random.default_rng([seed, n]))) for n, e in enumerate(emotions)]
    labels = np.array([EMOTIONS.index(emotion) for emotion in emotions])
    return Split(
        np.stack(images), labels, pd.DataFrame({"name": [f"{n}.png" for n in range(count)], "emotion": emotions})
    )


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


def test_random_flips_mirror_about_half_of_the_images_exactly() -> None:
    changed = augment(IMAGES, OFF.model_copy(update={"flip": "random"}), seed(1)).numpy()
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


def test_a_step_yields_the_same_batch_wherever_the_training_starts(small: Train) -> None:
    whole = list(islice(training_batches(TRAIN, small), 15))
    later = list(islice(training_batches(TRAIN, small, step=8), 7))
    for (images, labels), (same_images, same_labels) in zip(whole[8:], later, strict=True):
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(labels, same_labels)


def test_alternating_flips_show_every_image_from_both_sides_in_two_epochs(small: Train) -> None:
    alternating = small.override({"augmentation": {**OFF.model_dump(), "flip": "alternate"}})
    batches = list(islice(training_batches(TRAIN, alternating), 12))
    shown = np.rint(np.concatenate([images.numpy() for images, _ in batches])[..., 0]).astype(np.uint8)
    both = [image.tobytes() for images in (TRAIN.images, TRAIN.images[:, :, ::-1]) for image in images]
    assert sorted(image.tobytes() for image in shown) == sorted(both)


def test_images_can_be_smaller_than_the_networks_final_ones(small: Train) -> None:
    images, _ = next(iter(training_batches(TRAIN, small, size=32)))
    assert images.shape == (16, 32, 32, 1)


def test_mixup_mixes_images_and_labels_alike() -> None:
    labels = tf.one_hot(TRAIN.labels[:16], 7)
    images, mixed = mix(IMAGES, labels, 0.4, seed(1))
    part = 1 - float(tf.reduce_max(mixed[0]))
    assert 0 < part < 0.4
    np.testing.assert_allclose(images, IMAGES * (1 - part) + IMAGES[::-1] * part, atol=0.01)


def test_class_weights_have_mean_one_and_even_out_the_emotions() -> None:
    split = subset(TRAIN, 0.7, 1)
    counts = np.bincount(split.labels, minlength=7)
    for power in (0.0, 0.5, 1.0):
        weights = class_weights(split, power)
        assert (weights * counts).sum() / len(split) == pytest.approx(1)
    sums = (weights * counts)[counts > 0]
    np.testing.assert_allclose(sums, sums[0], rtol=1e-5)


def test_the_learning_rate_climbs_to_its_peak_and_falls_to_zero(small: Train) -> None:
    schedule = Schedule(small.override({"learning_rate": 0.5, "warmup": 0.2, "epochs": 10}), 10)
    rates = np.array([schedule.learning_rate(schedule.progress(step)) for step in range(101)])
    assert rates.argmax() == 20
    assert rates.max() == pytest.approx(0.5)
    assert (np.diff(rates[:21]) > 0).all()
    assert (np.diff(rates[20:]) < 0).all()
    assert rates[-1] == pytest.approx(0, abs=1e-6)


def test_the_time_left_counts_that_larger_images_take_longer(small: Train) -> None:
    def left(**changes: Any) -> float:
        schedule = Schedule(small.override({"epochs": 10, **changes}), 10)
        schedule.start(60)
        return schedule.remaining(30)

    assert left() == pytest.approx(140, rel=0.01)
    assert 1.1 * 140 < left(smallest_size=32) < 1.8 * 140
    assert left(budget_minutes=4) == pytest.approx(180, rel=0.01)


@pytest.mark.parametrize(("smallest", "all_sizes"), [(32, [32, 40, 48]), (44, [44, 48]), (30, [30, 32, 40, 48])])
def test_images_grow_to_their_full_size(small: Train, smallest: int, all_sizes: list[int]) -> None:
    schedule = Schedule(small.override({"smallest_size": smallest}), 10)
    sizes = [schedule.image_size(progress / 100) for progress in range(101)]
    assert sizes == sorted(sizes)
    assert sorted(set(sizes)) == all_sizes
    assert sizes[60] == 48


def test_orthogonalized_matrices_have_singular_values_near_one() -> None:
    for shape in ((3, 3, 4, 16), (3, 3, 16, 200)):
        matrix = tf.random.stateless_normal(shape, (0, 0)) * 5
        values = np.linalg.svd(orthogonalized(matrix).numpy().reshape(-1, shape[-1]), compute_uv=False)
        assert 0.3 < values.min() <= values.max() < 1.4
        assert orthogonalized(matrix).shape == shape


def test_bfloat16_orthogonalizes_like_float32() -> None:
    matrix = tf.random.stateless_normal((3, 3, 64, 96), (0, 0)) * 5
    exact = orthogonalized(matrix).numpy().ravel()
    rough = orthogonalized(tf.cast(matrix, tf.bfloat16)).numpy().astype(np.float32).ravel()
    assert exact @ rough / np.linalg.norm(exact) / np.linalg.norm(rough) > 0.998


def test_iterating_on_the_square_gives_what_iterating_on_the_matrix_gives() -> None:
    a, b, c = NEWTON_SCHULZ
    for shape in ((3, 3, 32, 48), (3, 3, 2, 48)):
        gradient = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        plain = gradient.reshape(-1, shape[-1]).astype(np.float64)
        plain /= np.linalg.norm(plain)
        for _ in range(ITERATIONS):
            square = plain @ plain.T
            plain = a * plain + (b * square + c * square @ square) @ plain
        ours = orthogonalized(tf.constant(gradient)).numpy().reshape(plain.shape)
        np.testing.assert_allclose(ours, plain, atol=1e-5)


def test_muon_steps_orthogonally_in_filter_banks_and_like_sgd_elsewhere(small: Train) -> None:
    trainer = Trainer(small.override({"optimizer": "muon"}), TRAIN, VALIDATION)
    variables = trainer.network.trainable_variables
    banks = [variable for variable in variables if is_filter_bank(variable)]
    assert len(banks) == 7
    other = next(variable for variable in variables if not is_filter_bank(variable) and len(variable.shape) > 1)
    before, bank_before = other.numpy(), banks[0].numpy()
    gradients = [tf.random.stateless_normal(variable.shape, (0, 0)) for variable in variables]
    optimizer = Muon(0.1, sgd_ratio=2.0, momentum=0.5, decay=0.01)
    optimizer.apply(gradients, variables)
    step = (bank_before * (1 - 0.1 * 0.01) - banks[0].numpy()) / 0.1
    values = np.linalg.svd(step.reshape(-1, step.shape[-1]), compute_uv=False)
    assert 0.3 < values.min() <= values.max() < 1.4
    # Nesterov's first step is (1 + momentum) gradients.
    gradient = gradients[[variable is other for variable in variables].index(True)].numpy()
    np.testing.assert_allclose(other.numpy(), before - 0.2 * (1.5 * gradient + 0.01 * before), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "muon"},
        {"optimizer": "sgd", "learning_rate": 0.05},
        {"optimizer": "adamw", "learning_rate": 0.01},
        {"precision": "bfloat16"},
        {"smallest_size": 40, "epochs": 15},
        {"network": "vgg", "ensemble": 2},
        {"class_weighting": 0.5},
    ],
)
def test_training_learns_and_two_runs_with_the_same_seed_agree(small: Train, changes: dict[str, Any]) -> None:
    longer = small.override({"epochs": 10, "width": 8, **changes})
    first, second = fit(longer, TRAIN, VALIDATION).history, fit(longer, TRAIN, VALIDATION).history
    assert first["val_accuracy"].iloc[-1] > 0.8
    for key in set(first) - {"seconds"}:
        np.testing.assert_allclose(first[key], second[key], rtol=1e-4)


def test_a_member_of_an_ensemble_learns_as_it_would_alone(small: Train) -> None:
    plain = small.override({"optimizer": "sgd", "learning_rate": 0.1, "dropout": 0, "precision": "float32"})
    alone = Trainer(plain, TRAIN, VALIDATION)
    together = Trainer(plain.override({"ensemble": 2}), TRAIN, VALIDATION)
    pair = [keras.Model(together.network.input, answer) for answer in together.members.outputs]
    before = alone.network.get_weights()
    for member in pair:
        member.set_weights(before)
    batch = next(iter(training_batches(TRAIN, plain)))
    for trainer in (alone, together):
        trainer.optimizer.learning_rate.assign(0.1)
        trainer.train_step(*batch)
    after = alone.network.get_weights()
    assert max(np.abs(new - old).max() for new, old in zip(after, before, strict=True)) > 1e-3
    for member in pair:
        for own, expected in zip(member.get_weights(), after, strict=True):
            np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-6)


def test_the_best_weights_are_kept_and_not_the_last(small: Train) -> None:
    fitted = fit(small.override({"epochs": 4}), TRAIN, VALIDATION)
    answers = fitted.network(VALIDATION.images[..., None].astype(np.float32)).numpy()
    kept = (answers.argmax(axis=1) == VALIDATION.labels).mean()
    assert kept == pytest.approx(fitted.history["val_accuracy"].max())


def test_training_stops_early_without_improvement(small: Train) -> None:
    flat = small.override({"epochs": 30, "patience": 2, "learning_rate": 1e-9, "sgd_learning_rate": 1e-9})
    assert len(fit(flat, TRAIN, VALIDATION).rows) < 30


def test_the_history_has_the_learning_rate_and_the_image_size_of_every_epoch(small: Train) -> None:
    history = fit(small.override({"smallest_size": 40}), TRAIN, VALIDATION).history
    assert len(history) == 2
    assert history["learning_rate"][0] == pytest.approx(
        small.learning_rate * (1 - 5 / 12) / (1 - small.warmup), rel=1e-5
    )
    assert history["image_size"].tolist() == [40, 48]


class Clock:
    """A clock that moves on by a fixed time whenever it is read: as many steps on every processor."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now = seconds, 0.0

    def monotonic(self) -> float:
        self.now += self.seconds
        return self.now


def test_a_budget_ends_the_training_on_time_with_the_rate_at_zero(
    small: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emotion.training.schedule.time", Clock(0.1))
    fitted = fit(small.override({"budget_minutes": 20 / 60, "patience": 1}), TRAIN, VALIDATION)
    assert fitted.rows[-1]["seconds"] == pytest.approx(20, rel=0.05)
    assert fitted.rows[-1]["learning_rate"] < 0.05 * small.learning_rate
    assert len(fitted.rows) > 2


def test_a_budget_too_short_for_one_look_at_validation_is_refused(small: Train) -> None:
    with pytest.raises(UserError, match=r"train\.budget_minutes gives 0 s to all of the training\. Give it more\."):
        fit(small.override({"budget_minutes": 1e-9}), TRAIN, VALIDATION)


def test_tensorboard_gets_every_epoch(small: Train, tmp_path: Path) -> None:
    fit(small, TRAIN, VALIDATION, [tensorboard_writer(tmp_path)])
    fit(small, TRAIN, VALIDATION, [tensorboard_writer(tmp_path)])  # as after a resume: in place of the first
    (events,) = tmp_path.glob("events.out.tfevents*")
    assert b"val_accuracy" in events.read_bytes()


@pytest.mark.parametrize("network", ["residual", "basic_cnn"])
def test_a_diverged_training_names_the_step_and_what_to_do(small: Train, network: str) -> None:
    wild = {"network": network, "optimizer": "sgd", "learning_rate": 10.0, "momentum": 0.99, "warmup": 0.0}
    with pytest.raises(UserError, match=r"in step \d+ \(epoch \d+\) at a learning rate of") as error:
        fit(small.override({"epochs": 40, "weight_decay": 1.0, **wild}), TRAIN, VALIDATION)
    assert "diverged. Lower train.learning_rate" in str(error.value)


class KilledError(Exception):
    """Stands for whatever ends a training."""


def cut_after(epochs: int) -> Callable[[Row], None]:
    def listener(row: Row) -> None:
        if row["epoch"] == epochs:
            raise KilledError

    return listener


@pytest.mark.parametrize("optimizer", ["muon", "sgd", "adamw"])
def test_a_training_that_was_cut_goes_on_and_ends_like_an_unbroken_one(
    small: Train, optimizer: str, tmp_path: Path
) -> None:
    settings = small.override({"epochs": 5, "smallest_size": 32, "optimizer": optimizer})
    unbroken = fit(settings, TRAIN, VALIDATION)
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(KilledError):
        fit(settings, TRAIN, VALIDATION, [cut_after(2)], checkpoints)
    told: list[Row] = []
    resumed = fit(settings, TRAIN, VALIDATION, [told.append], checkpoints)
    assert [row["epoch"] for row in told] == [1, 2, 3, 4, 5]
    for key in set(unbroken.history) - {"seconds"}:
        np.testing.assert_allclose(resumed.history[key], unbroken.history[key], rtol=1e-4)
    for ours, theirs in zip(resumed.network.get_weights(), unbroken.network.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_a_truncated_checkpoint_falls_back_to_the_one_before(
    small: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(KilledError):
        fit(small.override({"epochs": 4}), TRAIN, VALIDATION, [cut_after(3)], checkpoints)
    _, newest = sorted(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    fit(small.override({"epochs": 4}), TRAIN, VALIDATION, (), checkpoints)
    said = capsys.readouterr().out
    assert f"{newest} is damaged" in said
    assert "Going on after epoch 2." in said


def test_where_every_checkpoint_is_damaged_the_training_starts_afresh(small: Train, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    expected = fit(small, TRAIN, VALIDATION, (), checkpoints)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    again = fit(small, TRAIN, VALIDATION, (), checkpoints)
    np.testing.assert_allclose(again.history["val_loss"], expected.history["val_loss"], rtol=1e-4)


def test_the_same_training_cannot_run_twice_at_once(tmp_path: Path) -> None:
    first, second = Checkpoints(tmp_path / "key"), Checkpoints(tmp_path / "key")
    with first.held(), pytest.raises(UserError, match="already running in another process"):
        second.held().__enter__()
    with second.held():
        pass


def test_a_finished_training_that_is_taken_up_trains_no_more(small: Train, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    first = fit(small, TRAIN, VALIDATION, (), checkpoints)
    again = fit(small, TRAIN, VALIDATION, (), checkpoints)
    assert again.rows == first.rows
    for ours, theirs in zip(again.network.get_weights(), first.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_memory_stays_flat_over_epochs(small: Train) -> None:
    sizes: list[int] = []
    settings = small.override({"epochs": 40, "patience": 100})
    fit(settings, TRAIN, VALIDATION, [lambda row: sizes.append(resident_bytes())])
    assert sizes[-1] - sizes[10] < 20 * 2**20


@pytest.mark.parametrize(
    ("flags", "chosen", "reason"),
    [
        ("fpu avx2 avx512_bf16 amx_bf16", "bfloat16", "the processor has amx_bf16 and avx512_bf16"),
        ("fpu avx2 f16c", "float32", "the processor has no bfloat16 in hardware"),
    ],
)
def test_precision_is_chosen_by_what_the_processor_has(
    flags: str, chosen: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("a GPU decides here")
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    found = precision.cpu_flags(tmp_path / "cpuinfo")
    monkeypatch.setattr(precision, "cpu_flags", lambda: found)
    assert precision.choose("auto") == (chosen, reason)
    assert precision.choose("float32")[0] == "float32"


def test_a_subset_is_a_seeded_part_in_the_same_order() -> None:
    part, again = subset(TRAIN, 0.25, 3), subset(TRAIN, 0.25, 3)
    assert len(part) == 24
    np.testing.assert_array_equal(part.images, again.images)
    rows = [next(r for r in range(96) if (TRAIN.images[r] == image).all()) for image in part.images]
    assert rows == sorted(rows)
