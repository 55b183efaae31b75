"""Parameters of a short training."""

import pytest

from emotion.params.sections import Params, Train


@pytest.fixture
def small(params: Params) -> Train:
    return params.train.override({"width": 4, "epochs": 2, "batch_size": 16})
