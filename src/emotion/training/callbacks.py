"""Callbacks that receive the metrics of every epoch."""

import shutil
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

# The metrics of one epoch: epoch (from 1), loss, accuracy (both on augmented images), val_loss, val_accuracy,
# learning_rate of the last step, and seconds (since the start of the training).
Row = dict[str, float]
Callback = Callable[[Row], None]


def tensorboard_callback(folder: Path) -> Callback:
    """Return a callback that writes event files for TensorBoard.

    The folder is deleted first, because a resumed training reports its earlier epochs again.
    """
    shutil.rmtree(folder, ignore_errors=True)
    writer = tf.summary.create_file_writer(str(folder))

    def write(row: Row) -> None:
        with writer.as_default(step=int(row["epoch"])):
            for name, value in row.items():
                tf.summary.scalar(name, value)
        writer.flush()

    return write
