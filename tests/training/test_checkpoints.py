"""Checkpoints of a training, and resuming from them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotion.params.sections import Train
from emotion.training.callbacks import Row
from emotion.training.checkpoints import Checkpoints
from emotion.training.trainer import fit
from support.training import TRAIN, VALIDATION


class KilledError(Exception):
    """Simulates an interruption of the training."""


def interrupt_after(epochs: int) -> Callable[[Row], None]:
    def callback(row: Row) -> None:
        if row["epoch"] == epochs:
            raise KilledError

    return callback


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "muon"},
        {"optimizer": "sgd", "learning_rate": 0.05},
        {"optimizer": "adamw", "learning_rate": 0.01},
        {"precision": "bfloat16"},
        {"network": "vgg", "ensemble": 2},
        {"class_weight_power": 0.5},
    ],
)
def test_training_learns_and_has_the_same_result_if_it_is_interrupted(
    small: Train, changes: dict[str, Any], tmp_path: Path
) -> None:
    settings = small.override({"epochs": 10, "width": 8, **changes})
    unbroken = fit(settings, TRAIN, VALIDATION)
    assert unbroken.history["val_accuracy"].iloc[-1] > 0.8
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(KilledError):
        fit(settings, TRAIN, VALIDATION, [interrupt_after(2)], checkpoints)
    told: list[Row] = []
    resumed = fit(settings, TRAIN, VALIDATION, [told.append], checkpoints)
    assert [row["epoch"] for row in told] == list(range(1, 11))
    for key in set(unbroken.history) - {"seconds"}:
        np.testing.assert_allclose(resumed.history[key], unbroken.history[key], rtol=1e-4)
    for ours, theirs in zip(resumed.network.get_weights(), unbroken.network.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_training_resumes_from_the_previous_checkpoint_if_the_newest_is_damaged(
    small: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(KilledError):
        fit(small.override({"epochs": 4}), TRAIN, VALIDATION, [interrupt_after(3)], checkpoints)
    _, newest = sorted(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    fit(small.override({"epochs": 4}), TRAIN, VALIDATION, (), checkpoints)
    said = capsys.readouterr().out
    assert f"{newest} is damaged" in said
    assert "Resuming after epoch 2." in said


def test_training_restarts_if_every_checkpoint_is_damaged(small: Train, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    expected = fit(small, TRAIN, VALIDATION, (), checkpoints)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    again = fit(small, TRAIN, VALIDATION, (), checkpoints)
    np.testing.assert_allclose(again.history["val_loss"], expected.history["val_loss"], rtol=1e-4)


def test_resuming_a_finished_training_changes_nothing(small: Train, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    first = fit(small, TRAIN, VALIDATION, (), checkpoints)
    again = fit(small, TRAIN, VALIDATION, (), checkpoints)
    assert again.rows == first.rows
    np.testing.assert_array_equal(again.val_probabilities, first.val_probabilities)
    for ours, theirs in zip(again.network.get_weights(), first.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
