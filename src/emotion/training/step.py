"""One training step: the batches of all members of an ensemble, and the update of their weights."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import NDArray

from emotion.networks.build import members
from emotion.training.input_pipeline import Batch

Result = tuple[tf.Tensor, tf.Tensor]


class TrainingStep:
    """Trains every member of a network on its own batch of a step.

    TensorFlow computes members and parts of batches in parallel, each on half of the cores, which is faster than
    computing one operation after another on all cores. So each part has its own batch statistics (ghost batch
    normalization, Hoffer et al., 2017).

    Args:
        network: a network from `build`.
        optimizer: built for the network's variables.
        load: a result of `batch_loader`.
        parts: number of parts of a batch that are computed in parallel.
        class_weights: (classes,) float32, the loss weights of the emotions.
        compiled: whether to compile the update with XLA, which is slower on a CPU.
    """

    def __init__(
        self,
        network: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        load: Callable[..., Batch],
        parts: int,
        class_weights: NDArray[Any],
        compiled: bool,
    ) -> None:
        self.members = [keras.Model(network.input, output) for output in members(network).outputs]
        self._network, self._optimizer, self._load, self._parts = network, optimizer, load, parts
        self._class_weights = tf.constant(class_weights)
        # Created per instance, so that each training run traces its own functions. Without AutoGraph, which they do
        # not need, tracing is faster.
        self._step = tf.function(self._load_and_update, autograph=False)
        self._update = tf.function(self._update_weights, autograph=False, jit_compile=compiled)

    def __call__(self, step: int) -> Result:
        """Train on the batches of a step, counted from 0.

        Returns:
            The mean loss and the mean number of correct predictions of the members, float32 scalars.
        """
        result: Result = self._step(tf.constant(step, tf.int64))
        return result

    def _load_and_update(self, step: tf.Tensor) -> Result:
        numbers, parts = range(len(self.members)), range(self._parts)
        result: Result = self._update([[self._load(step, number, part) for part in parts] for number in numbers])
        return result

    def _update_weights(self, batches: list[list[Batch]]) -> Result:
        losses, correct = [], []
        with tf.GradientTape() as tape:
            for member, parts in zip(self.members, batches, strict=True):
                for batch in parts:
                    probabilities = member(batch.images, training=True)
                    loss = keras.losses.categorical_crossentropy(batch.labels, probabilities)
                    losses.append(tf.reduce_sum(loss * tf.linalg.matvec(batch.labels, self._class_weights)))
                    is_correct = tf.argmax(probabilities, 1) == tf.argmax(batch.labels, 1)
                    correct.append(tf.reduce_sum(tf.cast(is_correct, tf.float32)))
            # Summed over the members, so that every member trains as it would on its own.
            loss = tf.add_n(losses) / sum(batch.images.shape[0] for batch in batches[0])
        variables = self._network.trainable_variables
        self._optimizer.apply(tape.gradient(loss, variables), variables)
        return loss / len(self.members), tf.add_n(correct) / len(self.members)
