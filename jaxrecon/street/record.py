"""Drive through a street and write down what the car's sensors saw."""

import concurrent.futures
import functools

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jaxtyping import Float, UInt8

from jaxrecon.geometry.transforms import yaw_to_matrix
from jaxrecon.logs.driving_log import CameraStream, DrivingLog, Track
from jaxrecon.street.config import DEFAULT, CameraConfig, LidarConfig, StreetConfig
from jaxrecon.street.lidar import beam_directions, sweep
from jaxrecon.street.road_map import make_map
from jaxrecon.street.street import Street, draw_frames, generate

GOLDEN = 0.6180339887498949  # first azimuths that are multiples of it, modulo a column, fill in evenly
FRAMES_AT_ONCE = 16  # on accelerators, which a small image does not fill


def record(
    street: Street | StreetConfig = DEFAULT,
    seed: int | None = None,
    progress: bool = True,
    frames_at_once: int | None = None,
) -> DrivingLog:
    """Record the drive of a street's own driver.

    Args:
        street: a generated street, or a configuration to generate one from.
        seed: for a configuration (0 when None); a generated street has its own.
        progress: whether to show a bar.
        frames_at_once: drawn by one call; None picks 1 on CPU and ``FRAMES_AT_ONCE`` elsewhere.

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

    if frames_at_once is None:
        frames_at_once = 1 if jax.default_backend() == "cpu" else FRAMES_AT_ONCE

    def photograph(cameras: list[CameraConfig], frames: list[int]) -> None:
        for camera, seen in zip(cameras, _photograph(street, frames, cameras), strict=True):
            images[camera.name][frames] = seen

    def scan(lidar: LidarConfig, frames: list[int]) -> None:
        for frame, cloud in zip(frames, _scan(street, frames, lidar), strict=True):
            clouds[frame] = cloud

    sizes = sorted({(camera.width, camera.height) for camera in config.cameras})
    groups = [[c for c in config.cameras if (c.width, c.height) == size] for size in sizes]
    sensors = [functools.partial(photograph, group) for group in groups]
    if config.lidar is not None:
        sensors.append(functools.partial(scan, config.lidar))
    # All calls have one shape: the last is filled up with its last frame.
    last, starts = config.frames - 1, range(0, config.frames, frames_at_once)
    calls = [np.minimum(np.arange(start, start + frames_at_once), last).tolist() for start in starts]
    bar = tqdm.tqdm(total=config.frames, desc="record street", unit="frame", disable=not progress)
    with bar, concurrent.futures.ThreadPoolExecutor(2) as pool:
        # The sensors of the first frames compile side by side; then whole frames run side by side.
        list(pool.map(lambda sense: sense(calls[0]), sensors))
        bar.update(len(set(calls[0])))
        for done in pool.map(lambda frames: [sense(frames) for sense in sensors] and frames, calls[1:]):
            bar.update(len(set(done)))
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


def _photograph(
    street: Street, frames: list[int], cameras: list[CameraConfig]
) -> UInt8[np.ndarray, "camera frame height width 3"]:
    """Images of cameras of one size."""
    poses = np.stack([street.world_from_ego[frames] @ camera.ego_from_camera() for camera in cameras])
    intrinsics = np.stack([camera.intrinsics() for camera in cameras]).repeat(len(frames), 0)
    size = cameras[0].width, cameras[0].height
    drawing = draw_frames(street, np.tile(frames, len(cameras)), poses.reshape(-1, 4, 4), intrinsics, *size)
    seen = np.round(np.asarray(drawing.rgb) * 255).astype(np.uint8)
    return seen.reshape(len(cameras), len(frames), *seen.shape[1:])


def _scan(street: Street, frames: list[int], lidar: LidarConfig) -> list[Float[np.ndarray, "point 3"]]:
    """Points of one turn in each frame, in its ego frame; the car stands still meanwhile."""
    ego_from_sensor = np.tile(np.eye(4), (len(frames), 1, 1))
    first = 2 * np.pi / lidar.columns * ((np.array(frames) * GOLDEN) % 1.0)
    ego_from_sensor[:, :3, :3] = yaw_to_matrix(first)
    ego_from_sensor[:, :3, 3] = lidar.position
    rays = beam_directions(lidar)
    world_from_sensor = jnp.asarray(street.world_from_ego[frames] @ ego_from_sensor, jnp.float32)
    actors = [street.actor_poses(frame) for frame in frames]
    poses, valid = (jnp.asarray(np.stack(part)) for part in zip(*actors, strict=True))
    if len(frames) == 1:  # without a batch of them, solids that no ray meets are skipped
        distances = sweep(street.world, world_from_sensor[0], jnp.asarray(rays), poses[0], valid[0])[0][None]
    else:
        distances = _sweeps(street.world, world_from_sensor, jnp.asarray(rays), poses, valid)[0]
    clouds = []
    for frame, turn, distance in zip(frames, ego_from_sensor, np.asarray(distances, dtype=np.float64), strict=True):
        flat = distance.reshape(-1)
        generator = np.random.default_rng([street.seed, frame, 7])
        flat = flat + lidar.noise * generator.standard_normal(flat.shape)
        seen = flat < lidar.longest
        points = rays.reshape(-1, 3)[seen].astype(np.float64) * flat[seen, None]
        clouds.append((points @ turn[:3, :3].T + turn[:3, 3]).astype(np.float32))
    return clouds


_sweeps = jax.jit(jax.vmap(sweep, in_axes=(None, 0, None, 0, 0)))
