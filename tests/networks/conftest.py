"""A fixture for every network architecture."""

import keras
import pytest

from emotion.networks.build import NETWORKS
from support.networks import tiny


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> keras.Model:
    return tiny(request.param)
