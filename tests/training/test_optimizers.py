"""The Muon optimizer."""

import numpy as np
import tensorflow as tf

from emotion.params.sections import Train
from emotion.training.optimizers import ITERATIONS, NEWTON_SCHULZ, Muon, is_filter_bank, orthogonalized
from emotion.training.trainer import Trainer
from support.training import TRAIN, VALIDATION


def test_orthogonalized_matrices_have_singular_values_near_one() -> None:
    for shape in ((3, 3, 4, 16), (3, 3, 16, 200)):
        banks = tf.random.stateless_normal((2, *shape), (0, 0)) * 5
        result = orthogonalized(banks)
        assert result.shape == banks.shape
        values = np.linalg.svd(result.numpy().reshape(2, -1, shape[-1]), compute_uv=False)
        assert 0.6 < values.min() <= values.max() < 1.4


def test_small_singular_values_survive_the_orthogonalization() -> None:
    generator = np.random.default_rng(0)
    left, right = (np.linalg.qr(generator.normal(size=(size, 64)))[0] for size in (288, 64))
    matrix = left * np.geomspace(1, 0.02, 64) @ right.T
    result = orthogonalized(tf.constant(matrix.reshape(1, 3, 3, 32, 64), tf.float32)).numpy().reshape(288, 64)
    kept = np.diag(left.T @ result @ right)
    assert 0.6 < kept.min() <= kept.max() < 1.3


def test_iterating_on_the_gram_matrix_matches_iterating_on_the_matrix() -> None:
    a, b, c = NEWTON_SCHULZ
    for shape in ((3, 3, 32, 48), (3, 3, 2, 48)):
        gradient = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        plain = gradient.reshape(-1, shape[-1]).astype(np.float64)
        plain /= np.linalg.norm(plain)
        for _ in range(ITERATIONS):
            square = plain @ plain.T
            plain = a * plain + (b * square + c * square @ square) @ plain
        ours = orthogonalized(tf.constant(gradient)[None]).numpy().reshape(plain.shape)
        np.testing.assert_allclose(ours, plain, atol=1e-5)


def test_muon_orthogonalizes_filter_banks_and_uses_sgd_elsewhere(small: Train) -> None:
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
    assert 0.6 < values.min() <= values.max() < 1.4
    # The first Nesterov step is (1 + momentum) times the gradient.
    gradient = gradients[[variable is other for variable in variables].index(True)].numpy()
    np.testing.assert_allclose(other.numpy(), before - 0.2 * (1.5 * gradient + 0.01 * before), rtol=1e-4, atol=1e-6)
