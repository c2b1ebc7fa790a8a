"""A log whose every pixel and LiDAR point is known in closed form: a road between two walls, a red box ahead."""

import numpy as np
import pytest

from jaxrecon.geometry.cameras import pixel_rays
from jaxrecon.geometry.transforms import inverse, rigid, transform_points
from jaxrecon.logs.driving_log import CameraStream, DrivingLog, Track
from jaxrecon.street import CameraConfig, LidarConfig, StreetConfig, record

SKY = np.array([0.5, 0.7, 0.95])
RED = np.array([0.85, 0.1, 0.1])
SIZE = np.array([4.0, 1.8, 1.6])
WIDTH, HEIGHT = 64, 40
EGO_FROM_CAMERA = rigid(
    np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([1.5, 0.0, 1.6])
)  # camera z along ego x


def ray_cast(origins: np.ndarray, directions: np.ndarray, world_from_box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance along each ray in units of its length (infinite for the sky), and its colour."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = np.where(directions[:, 2] < 0, -origins[:, 2] / directions[:, 2], np.inf)
        walls = np.where(
            np.abs(directions[:, 1]) > 1e-9,
            (8.0 * np.sign(directions[:, 1]) - origins[:, 1]) / directions[:, 1],
            np.inf,
        )
        walls = np.where(origins[:, 2] + walls * directions[:, 2] < 5.0, walls, np.inf)
        local = transform_points(inverse(world_from_box), origins)
        turned = directions @ world_from_box[:3, :3]
        near = np.minimum((SIZE / 2 - local) / turned, (-SIZE / 2 - local) / turned).max(axis=1)
        far = np.maximum((SIZE / 2 - local) / turned, (-SIZE / 2 - local) / turned).min(axis=1)
    box = np.where((near < far) & (near > 0), near, np.inf)
    distance = np.minimum(np.minimum(ground, walls), box)
    hit = origins + np.where(np.isfinite(distance), distance, 0.0)[:, None] * directions
    checks = 0.35 + 0.1 * ((np.floor(hit[:, :1] / 2) + np.floor(hit[:, 1:2] / 2)) % 2)
    stripes = np.array([0.7, 0.6, 0.3]) - 0.2 * (np.floor(hit[:, :1] / 3) % 2)
    colour = np.where((distance == ground)[:, None], checks, stripes)
    colour = np.where((distance == box)[:, None], RED, colour)
    return distance, np.where(np.isfinite(distance)[:, None], colour, SKY)


@pytest.fixture(scope="session")
def small_log() -> DrivingLog:
    """Eight frames, 1 m apart; the box drives ahead at the same speed."""
    frames, random = 8, np.random.default_rng(0)
    world_from_ego = np.tile(np.eye(4), (frames, 1, 1))
    world_from_ego[:, 0, 3] = np.arange(frames) * 1.0
    world_from_box = np.tile(np.eye(4), (frames, 1, 1))
    world_from_box[:, :3, 3] = np.stack([12.0 + np.arange(frames), np.full(frames, 1.5), np.full(frames, 0.8)], axis=-1)
    intrinsics = np.array([40.0, 40.0, 32.0, 18.0])
    images, lidar = [], []
    for frame in range(frames):
        pose = world_from_ego[frame] @ EGO_FROM_CAMERA
        rays = pixel_rays(intrinsics, WIDTH, HEIGHT).reshape(-1, 3) @ pose[:3, :3].T
        _, colour = ray_cast(np.broadcast_to(pose[:3, 3], rays.shape), rays, world_from_box[frame])
        images.append(np.round(colour.reshape(HEIGHT, WIDTH, 3) * 255).astype(np.uint8))
        azimuth, elevation = random.uniform(-0.7, 0.7, 3000), random.uniform(-0.45, 0.1, 3000)
        beams = np.stack([np.cos(azimuth), np.sin(azimuth), np.tan(elevation)], axis=-1)
        distance, _ = ray_cast(np.broadcast_to(pose[:3, 3], beams.shape), beams, world_from_box[frame])
        hits = pose[:3, 3] + distance[:, None] * beams
        hits = hits[np.isfinite(distance) & (distance < 60.0)]
        lidar.append(transform_points(inverse(world_from_ego[frame]), hits).astype(np.float32))
    return DrivingLog(
        name="small",
        timestamps=np.arange(frames) * 0.1,
        world_from_ego=world_from_ego,
        cameras=(CameraStream("front", intrinsics, EGO_FROM_CAMERA, np.stack(images)),),
        lidar=tuple(lidar),
        tracks=(Track("red", "vehicle", SIZE, world_from_box, np.ones(frames, bool)),),
    )


@pytest.fixture(scope="session")
def street_log() -> DrivingLog:
    """A drive of 17 m along the procedural street, with enough LiDAR to see where depth jumps."""
    config = StreetConfig(
        layout="curve",
        seconds=2.4,
        cameras=(CameraConfig(width=128, height=80),),
        lidar=LidarConfig(columns=240),
        supersampling=1,
    )
    return record(config, 0, progress=False)
