"""The script leaves a scene, a sheet and a video of a world that was made for a log without images."""

import assemble as script
import imageio.v2 as imageio
import numpy as np
import pytest

from jaxrecon.geometry.transforms import rigid
from jaxrecon.logs import DrivingLog, RoadMap, Track, write_log
from jaxrecon.scene import load_scene
from jaxrecon.scene.assembled import AssembleConfig

FRAMES = 11
SMALL = AssembleConfig(capacity=40_000, spacing=0.6, body_spacing=0.3, reach=30.0, ahead=10.0)


def _along(y: float) -> np.ndarray:
    x = np.arange(-40.0, 60.0)
    return np.stack([x, np.full_like(x, y), np.zeros_like(x)], axis=-1)


@pytest.fixture(scope="module")
def log() -> DrivingLog:
    """A straight road of two lanes, and a car that waits ahead."""
    turn, forward = np.tile(np.eye(3), (FRAMES, 1, 1)), np.arange(FRAMES)[:, None] * np.array([0.8, 0.0, 0.0])
    waiting = rigid(turn, np.tile(np.array([25.0, -1.8, 0.75]), (FRAMES, 1)))
    car = Track("car", "vehicle", np.array([4.5, 1.9, 1.5]), waiting, np.ones(FRAMES, bool))
    road = RoadMap(
        lane_centres=(_along(-1.8), _along(1.8)[::-1]),
        lane_lines=(_along(0.0),),
        road_edges=(_along(-4.0), _along(4.0)[::-1]),
    )
    poses = rigid(turn, forward + np.array([0.0, -1.8, 0.0]))
    return DrivingLog("road", np.arange(FRAMES) * 0.1, poses, tracks=(car,), road_map=road)


@pytest.mark.slow
def test_a_scene_a_sheet_and_a_video_are_left(log, tmp_path):
    write_log(log, tmp_path / "log")
    config = script.Assemble(tmp_path / "log", tmp_path / "out", seconds=0.25, width=48, height=32, world=SMALL)
    measured = script.main(config)
    scene, _ = load_scene(tmp_path / "out" / "scene")
    assert int(np.asarray(scene.gaussians.valid).sum()) == measured["splats"] > 1000
    assert scene.actors == measured["actors"] == 1
    sheet = imageio.imread(tmp_path / "out" / "sheet.png")
    # Four cameras and the view from above, then a square one, for three moments.
    assert sheet.shape == (3 * 32, 5 * 48 + 32, 3)
    ahead = sheet[:32, :48].astype(float)
    sky, road = ahead[:3, 30:].mean(axis=(0, 1)), ahead[-6:].mean(axis=(0, 1))  # the name stands on the left
    assert sky[2] > sky[0] + 20 and np.ptp(road) < 25
    assert len(imageio.mimread(tmp_path / "out" / "drive.mp4")) == 3
