"""Wrong settings are named."""

import pytest

from jaxrecon.street import CameraConfig, DrawConfig, LidarConfig, StreetConfig, record


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StreetConfig(layout="spiral"), r"StreetConfig\.layout: received 'spiral', expected one of"),
        (lambda: StreetConfig(seconds=0.0), r"StreetConfig\.seconds: received 0\.0, expected at least one frame"),
        (lambda: StreetConfig(length=30.0), r"StreetConfig\.length: received 30\.0, expected at least 120 m"),
        (lambda: StreetConfig(parked=-1), r"StreetConfig\.parked: received -1"),
        (lambda: StreetConfig(supersampling=0), r"StreetConfig\.supersampling: received 0, expected 1 to 8"),
        (lambda: StreetConfig(cameras=(CameraConfig(), CameraConfig())), r"cameras: .*front.* expected unique names"),
        (lambda: CameraConfig(width=0), r"CameraConfig\.width: received 0"),
        (lambda: CameraConfig(field_of_view_deg=180.0), r"CameraConfig\.field_of_view_deg: received 180"),
        (lambda: LidarConfig(lowest_deg=5.0, highest_deg=-5.0), r"LidarConfig\.lowest_deg, highest_deg: received"),
        (lambda: LidarConfig(noise=-0.1), r"LidarConfig\.noise: received -0\.1"),
        (lambda: DrawConfig(tile_px=15), r"DrawConfig\.tile_px: received 15, expected a multiple of 2"),
        (lambda: DrawConfig(supersampling=0), r"DrawConfig\.supersampling: received 0, expected at least 1"),
    ],
)
def test_message_names_field_received_and_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_generated_street_takes_no_seed(street):
    with pytest.raises(ValueError, match="seed: received 5 with a generated street, expected None"):
        record(street, 5)
