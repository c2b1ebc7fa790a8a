"""One small street, recorded once for all tests: compiling the ray caster costs more than running it."""

import pytest

from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.street import CameraConfig, LidarConfig, Street, StreetConfig, generate, record

WIDTH, HEIGHT = 48, 32
CONFIG = StreetConfig(
    layout="junction",
    seconds=1.2,
    cameras=(
        CameraConfig(width=WIDTH, height=HEIGHT),
        CameraConfig("side", WIDTH, HEIGHT, field_of_view_deg=90, yaw_deg=70),
    ),
    lidar=LidarConfig(beams=16, columns=60, noise=0.0),
    supersampling=1,
)


@pytest.fixture(scope="session")
def street() -> Street:
    return generate(CONFIG, 3)


@pytest.fixture(scope="session")
def log(street: Street) -> DrivingLog:
    return record(street, progress=False)
