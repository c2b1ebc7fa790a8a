"""Drive through a street and write down what the car's sensors saw."""

import concurrent.futures
import functools

import jax.numpy as jnp
import numpy as np
import tqdm
from jaxtyping import Float, UInt8

from jaxrecon.geometry.transforms import yaw_to_matrix
from jaxrecon.logs.driving_log import CameraStream, DrivingLog, Track
from jaxrecon.street.config import DEFAULT, CameraConfig, LidarConfig, StreetConfig
from jaxrecon.street.lidar import beam_directions, sweep
from jaxrecon.street.road_map import make_map
from jaxrecon.street.street import Street, generate, ground_truth

GOLDEN = 0.6180339887498949  # first azimuths that are multiples of it, modulo a column, fill in evenly


def record(street: Street | StreetConfig = DEFAULT, seed: int | None = None, progress: bool = True) -> DrivingLog:
    """Record the drive of a street's own driver.

    Args:
        street: a generated street, or a configuration to generate one from.
        seed: for a configuration (0 when None); a generated street has its own.
        progress: whether to show a bar.

    Raises:
        ValueError: a seed came with a street that was generated already.
    """
    if isinstance(street, StreetConfig):
        street = generate(street, 0 if seed is None else seed)
    elif seed is not None:
        raise ValueError(
            f"seed: received {seed} with a generated street, expected None (the street has seed {street.seed})"
        )
    config = street.config
    images = {c.name: np.zeros((config.frames, c.height, c.width, 3), np.uint8) for c in config.cameras}
    clouds: list[np.ndarray] = [np.zeros((0, 3), np.float32)] * (config.frames if config.lidar else 0)

    def photograph(cameras: list[CameraConfig], frame: int) -> None:
        for camera, image in zip(cameras, _photograph(street, frame, cameras), strict=True):
            images[camera.name][frame] = image

    def scan(lidar: LidarConfig, frame: int) -> None:
        clouds[frame] = _scan(street, frame, lidar)

    sizes = sorted({(camera.width, camera.height) for camera in config.cameras})
    groups = [[c for c in config.cameras if (c.width, c.height) == size] for size in sizes]
    sensors = [functools.partial(photograph, group) for group in groups]
    if config.lidar is not None:
        sensors.append(functools.partial(scan, config.lidar))
    bar = tqdm.tqdm(total=config.frames, desc="record street", unit="frame", disable=not progress)
    with bar, concurrent.futures.ThreadPoolExecutor(2) as pool:
        # The sensors of the first frame compile side by side; then whole frames run side by side.
        list(pool.map(lambda sense: sense(0), sensors))
        bar.update()
        for _ in pool.map(lambda frame: [sense(frame) for sense in sensors], range(1, config.frames)):
            bar.update()
    return DrivingLog(
        name=f"street-{street.layout.kind}-{street.seed}",
        timestamps=np.arange(config.frames) / config.frames_per_second,
        world_from_ego=street.world_from_ego,
        cameras=tuple(
            CameraStream(c.name, c.intrinsics(), c.ego_from_camera(), images[c.name]) for c in config.cameras
        ),
        lidar=tuple(clouds),
        tracks=tuple(
            Track(a.identifier, a.category, np.array(a.size), a.poses, np.ones(config.frames, dtype=bool))
            for a in street.actors
        ),
        ego=street.ego,
        road_map=make_map(street.layout, config.length),
    )


def _photograph(street: Street, frame: int, cameras: list[CameraConfig]) -> UInt8[np.ndarray, "camera height width 3"]:
    """Images of cameras of one size."""
    poses = np.stack([street.world_from_ego[frame] @ camera.ego_from_camera() for camera in cameras])
    intrinsics = np.stack([camera.intrinsics() for camera in cameras])
    drawing = ground_truth(street, frame, poses, intrinsics, cameras[0].width, cameras[0].height)
    return np.round(np.asarray(drawing.rgb) * 255).astype(np.uint8)


def _scan(street: Street, frame: int, lidar: LidarConfig) -> Float[np.ndarray, "point 3"]:
    """Points of one turn in the ego frame; the car stands still meanwhile."""
    first = 2 * np.pi / lidar.columns * ((frame * GOLDEN) % 1.0)
    ego_from_sensor = np.eye(4)
    ego_from_sensor[:3, :3] = yaw_to_matrix(np.array(first))
    ego_from_sensor[:3, 3] = lidar.position
    rays = beam_directions(lidar)
    world_from_sensor = street.world_from_ego[frame] @ ego_from_sensor
    poses, valid = street.actor_poses(frame)
    distances, _ = sweep(
        street.world,
        jnp.asarray(world_from_sensor, jnp.float32),
        jnp.asarray(rays),
        jnp.asarray(poses),
        jnp.asarray(valid),
    )
    distance = np.asarray(distances, dtype=np.float64).reshape(-1)
    generator = np.random.default_rng([street.seed, frame, 7])
    distance = distance + lidar.noise * generator.standard_normal(distance.shape)
    seen = distance < lidar.longest
    points = rays.reshape(-1, 3)[seen].astype(np.float64) * distance[seen, None]
    return (points @ ego_from_sensor[:3, :3].T + ego_from_sensor[:3, 3]).astype(np.float32)
