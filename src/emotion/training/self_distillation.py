"""Targets that partly follow a network's own predictions (temporal ensembling, Laine and Aila, 2017).

A network still doubts a wrong label after the first third of the training, so its predictions correct the target before
it has memorized the label (Liu et al., 2020). The averages start at the labels, without smoothing, and follow the
predictions over ten epochs or so, so this is for long trainings. Each member of an ensemble has averages of its own: if
they taught each other, they would agree, and averaging them would gain nothing.
"""

import tensorflow as tf

from emotion.training.input_pipeline import Batch

START = 0.3  # the progress of the training from which the predictions count
DECAY = 0.9  # of the earlier predictions, each time that a new one is averaged


class SelfDistillation:
    """Running averages of the predictions for each training image, by each member of an ensemble.

    Args:
        labels: (images, classes) float32, the averages to start with.
        members: number of networks.
        share: of the predictions in a target, 0..1.
    """

    def __init__(self, labels: tf.Tensor, members: int, share: float) -> None:
        self.share, self.images = share, labels.shape[0]
        self.current_share = tf.Variable(0.0, trainable=False)
        self.averages = tf.Variable(tf.tile(labels, (members, 1)), trainable=False)  # (members * images, classes)

    def set_progress(self, progress: float) -> None:
        """Choose the share for a progress of the training, 0..1."""
        self.current_share.assign(self.share if progress >= START else 0.0)

    def targets(self, member: int, batch: Batch) -> tf.Tensor:
        """Return the labels of a batch mixed with the averages of a member, (batch, classes)."""
        average = tf.gather(self.averages, batch.rows + member * self.images)
        return batch.labels + self.current_share * (average - batch.labels)

    def update(self, predictions: list[tuple[int, tf.Tensor, tf.Tensor]]) -> None:
        """Add predictions to the averages.

        Args:
            predictions: numbers of members, rows of images, (batch,), and probabilities, (batch, classes).
        """
        for member, rows, probabilities in predictions:
            indices = rows + member * self.images
            before = tf.gather(self.averages, indices)
            averages = DECAY * before + (1 - DECAY) * probabilities
            self.averages.scatter_update(tf.IndexedSlices(averages, indices))
