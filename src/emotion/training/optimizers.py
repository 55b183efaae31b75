"""Optimizers: Muon for convolutions, SGD, and AdamW."""

from collections import defaultdict
from typing import Any

import keras
import tensorflow as tf

from emotion.params.sections import Train

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan et al. (2024)
ITERATIONS = 5


@keras.saving.register_keras_serializable(package="emotion")
class Muon(keras.optimizers.Optimizer):
    """Momentum with orthogonalized updates of every convolution (Jordan et al., 2024).

    A filter bank (height, width, inputs, outputs) is treated as a matrix with one column per output;
    Keras' own Muon leaves such weights to AdamW. All other weights, including first convolutions
    with one input channel, use SGD with Nesterov momentum. Weight decay is decoupled and applies to
    all weights except vectors.

    Args:
        learning_rate: learning rate of the filter banks.
        sgd_ratio: learning rate of all other weights, as a multiple of `learning_rate`.
        momentum: momentum of all weights.
        decay: weight decay per step, multiplied by the learning rate of the weights.
    """

    def __init__(
        self,
        learning_rate: float,
        sgd_ratio: float,
        momentum: float,
        decay: float,
        name: str = "muon",
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **options)
        self.sgd_ratio, self.momentum, self.decay = sgd_ratio, momentum, decay

    def build(self, variables: list[keras.Variable]) -> None:
        """Create the momentum variables."""
        if not self.built:
            super().build(variables)
            self.momenta = [self.add_variable_from_reference(v, name="momentum") for v in variables]

    def apply(self, grads: list[tf.Tensor], trainable_variables: list[keras.Variable] | None = None) -> None:
        """Update the variables; see the parent class."""
        if trainable_variables is not None:
            self.build(trainable_variables)
        super().apply(self._directions(grads), trainable_variables)

    def _directions(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Return the momentum of each variable, orthogonalized if it is a filter bank."""
        directions, banks = [], defaultdict(list)
        for index, (gradient, momentum) in enumerate(zip(gradients, self.momenta, strict=True)):
            average = self.momentum * momentum + gradient
            momentum.assign(average)
            directions.append(gradient + self.momentum * average)
            if is_filter_bank(momentum):
                banks[tuple(momentum.shape)].append(index)
        for indices in banks.values():  # equal shapes at once, in fewer and larger operations
            stacked = tf.stack([directions[index] for index in indices])
            for index, direction in zip(indices, tf.unstack(orthogonalized(stacked)), strict=True):
                directions[index] = direction
        return directions

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        """Move a variable; `gradient` is its result of `_directions`."""
        if not is_filter_bank(variable):
            learning_rate = self.sgd_ratio * learning_rate
        decay = self.decay if len(variable.shape) > 1 else 0.0
        variable.assign_sub(learning_rate * (gradient + decay * variable))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        own = {name: getattr(self, name) for name in ("sgd_ratio", "momentum", "decay")}
        return {**super().get_config(), **own}


def is_filter_bank(variable: keras.Variable) -> bool:
    """Return whether a weight belongs to a convolution with several input and output channels."""
    return len(variable.shape) == 4 and min(variable.shape[2:]) > 1


def orthogonalized(banks: tf.Tensor) -> tf.Tensor:
    """Approximate the nearest matrices with orthonormal rows or columns by Newton-Schulz iterations.

    Each bank, (height, width, inputs, outputs), is a matrix with one column per output. Singular values above a
    hundredth of the norm end up between about 0.7 and 1.2. The iterations run on the Gram matrix, which is much
    smaller than the matrix: each iteration multiplies by a polynomial of the Gram matrix, and all such polynomials
    commute. In bfloat16, small singular values would be lost in the rounding errors of the Gram matrix.

    Args:
        banks: (n, height, width, inputs, outputs).
    """
    a, b, c = NEWTON_SCHULZ
    flat = tf.reshape(banks, (banks.shape[0], -1, banks.shape[-1]))
    tall = flat.shape[1] > flat.shape[2]
    square = tf.matmul(flat, flat, transpose_a=tall, transpose_b=not tall)
    norm = tf.sqrt(tf.linalg.trace(square))[:, None, None] + 1e-7
    square /= norm**2
    total = identity = tf.eye(square.shape[1], dtype=banks.dtype)
    for iteration in range(ITERATIONS):
        factor = a * identity + b * square + c * tf.matmul(square, square)
        total = tf.matmul(factor, total) if iteration else factor
        if iteration < ITERATIONS - 1:
            square = tf.matmul(tf.matmul(factor, square), factor)
    total /= norm
    return tf.reshape(tf.matmul(flat, total) if tall else tf.matmul(total, flat), banks.shape)


def make_optimizer(settings: Train) -> keras.optimizers.Optimizer:
    """Create Muon, SGD with Nesterov momentum, or AdamW, without decay of biases and normalization weights."""
    if settings.optimizer == "muon":
        ratio = settings.sgd_learning_rate / settings.learning_rate
        return Muon(settings.learning_rate, ratio, settings.momentum, settings.weight_decay)
    rate, momentum, decay = settings.learning_rate, settings.momentum, settings.weight_decay
    if settings.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum, nesterov=True, weight_decay=decay or None)
    else:
        optimizer = keras.optimizers.AdamW(rate, weight_decay=decay, beta_1=momentum)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
