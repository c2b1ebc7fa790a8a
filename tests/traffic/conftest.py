"""One road, cast once for all tests of adversaries."""

import pytest
from challenged_road import road_casting, road_world

from jaxrecon.simulator.casting import Casting


@pytest.fixture(scope="session")
def road() -> Casting:
    return road_casting(road_world())
