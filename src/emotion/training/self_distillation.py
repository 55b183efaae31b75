"""Targets that partly follow the networks' own predictions (temporal ensembling, Laine and Aila, 2017).

A network still doubts a wrong label after the first third of the training, so its predictions correct the target before
it has learned the label by heart (Liu et al., 2020). The members of an ensemble teach each other.
"""

import tensorflow as tf

from emotion.training.input_pipeline import Batch

START = 0.3  # the progress of the training from which the predictions count
MEMORY = 0.9  # the weight of the earlier predictions when a new one is averaged


class SelfDistillation:
    """Running averages of the predictions for each training image, by each member of an ensemble.

    Args:
        targets: (images, classes) float32, the averages to start with.
        members: number of networks.
        share: of the predictions in a target, 0..1.
    """

    def __init__(self, targets: tf.Tensor, members: int, share: float) -> None:
        self.share, self.images = share, targets.shape[0]
        self.current = tf.Variable(0.0, trainable=False)  # the share at the present progress
        self.averages = tf.Variable(tf.tile(targets, (members, 1)), trainable=False)  # (members * images, classes)

    def progressed(self, progress: float) -> None:
        """Choose the share for a progress of the training, 0..1."""
        self.current.assign(self.share if progress >= START else 0.0)

    def targets(self, batch: Batch) -> tf.Tensor:
        """Return the labels of a batch mixed with the mean of the members' averages, (batch, classes)."""
        by_member = tf.reshape(self.averages, (-1, self.images, self.averages.shape[1]))
        average = tf.reduce_mean(tf.gather(by_member, batch.rows, axis=1), axis=0)
        return batch.labels + self.current * (average - batch.labels)

    def remember(self, predictions: list[tuple[int, tf.Tensor, tf.Tensor]]) -> None:
        """Add predictions to the averages.

        Args:
            predictions: numbers of members, rows of images, (batch,), and probabilities, (batch, classes).
        """
        for member, rows, probabilities in predictions:
            indices = rows[:, None] + member * self.images
            before = tf.gather_nd(self.averages, indices)
            self.averages.scatter_nd_update(indices, MEMORY * before + (1 - MEMORY) * probabilities)
