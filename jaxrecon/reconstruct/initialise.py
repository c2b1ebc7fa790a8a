"""A first scene from a log: LiDAR (or swept depths) in the images' colours, filled boxes, pixels beyond, the sky."""

import dataclasses
import warnings

import jax.numpy as jnp
import numpy as np
import scipy.spatial

from jaxrecon.geometry.transforms import matrix_to_quaternion
from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.reconstruct.points import (
    Points,
    accumulate,
    beyond_lidar,
    fill_box,
    mirror,
    path_spacing,
    thin_to,
)
from jaxrecon.reconstruct.sky import initial_sky, sky_pixels
from jaxrecon.reconstruct.sweep import sweep_depths
from jaxrecon.reconstruct.views import ReconstructionError, Views, in_threads
from jaxrecon.scene.gaussians import SH_C0, Gaussians
from jaxrecon.scene.scene import Scene

_NEIGHBOURS = 8
_CHUNK = 16_384  # splats that one thread turns at a time
_WIDEST_DISC_PX, _WIDEST_BALL_PX = 16.0, 4.0  # largest first standard deviation, in pixels of the nearest camera


@dataclasses.dataclass(frozen=True)
class InitialiseConfig:
    """How the first scene is built.

    Attributes:
        capacity: slots of the scene, used or not.
        filled: share of the slots that the first scene uses; the rest is room to grow.
        actor_share: most of the used slots given to all actors together.
        beyond_share: share of the used slots placed where LiDAR has nothing.
        sh_degree: of the colours, 0 to 3; the first scene uses only the constant.
        sky_rows: of the sky texture, zenith to nadir.
        sky_columns: of the sky texture, around.
        opacity: of every Gaussian at first.
        flatness: thickness of a disc over its radius.
        fewest_actor_points: an actor with less LiDAR than this gets its box filled up to it.
    """

    capacity: int = 12_000
    filled: float = 1.0
    actor_share: float = 0.2
    beyond_share: float = 0.3
    sh_degree: int = 0
    sky_rows: int = 32
    sky_columns: int = 64
    opacity: float = 0.6
    flatness: float = 0.3
    fewest_actor_points: int = 150

    def __post_init__(self) -> None:
        for field, least in (("capacity", 16), ("sky_rows", 2), ("sky_columns", 4), ("fewest_actor_points", 1)):
            value = getattr(self, field)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"InitialiseConfig.{field} is {value!r}; expected an integer >= {least}")
        for field in ("filled", "actor_share", "beyond_share", "opacity", "flatness"):
            value = getattr(self, field)
            if not 0 < value <= 1 or (field == "opacity" and value >= 1):
                raise ValueError(f"InitialiseConfig.{field} is {value!r}; expected a number in (0, 1]")
        if self.actor_share + self.beyond_share >= 1:
            raise ValueError("InitialiseConfig.actor_share + beyond_share must leave room for LiDAR: expected < 1")
        if self.sh_degree not in (0, 1, 2, 3):
            raise ValueError(f"InitialiseConfig.sh_degree is {self.sh_degree!r}; expected 0, 1, 2 or 3")


def initialise(log: DrivingLog, views: Views, config: InitialiseConfig = InitialiseConfig(), seed: int = 0) -> Scene:
    """A scene to start fitting from, built on the host.

    Args:
        log: images and LiDAR of held-out frames are not looked at.
        views: its images, from ``collect_views``.
        config: counts and shapes.
        seed: of every random choice.

    Warns:
        UserWarning: if the log has no LiDAR. Depths then come from pairs of images and the ground from the car's path.

    Raises:
        ReconstructionError: if no training image sees any of its LiDAR.
    """
    random = np.random.default_rng(seed)
    used = int(config.capacity * config.filled)
    sky, measured = sky_pixels(views), bool(log.lidar)
    if not measured:
        warnings.warn(
            f"log {log.name} has no LiDAR: the first scene takes its depths from pairs of images and the ground from "
            "the car's path, which is coarser; record or convert the LiDAR if there is one",
            stacklevel=2,
        )
        log = dataclasses.replace(log, lidar=sweep_depths(log, views, sky))
    world, moving = accumulate(log, views)
    if measured and not len(world):
        raise ReconstructionError(
            f"log {log.name}: no LiDAR point projects into a training image; check ego_from_camera and the LiDAR frame"
        )
    actors = _actor_points(log, views, moving, int(used * config.actor_share), config, random)
    left = used - sum(len(points) for points in actors)
    share = int(used * config.beyond_share)
    beyond = beyond_lidar(log, views, sky, share if measured else max(share, left - len(world)), seed)
    left -= len(beyond)
    eyes = views.world_from_camera[:, :3, 3].astype(np.float64)
    world = thin_to(world, left, path_spacing(world, eyes))
    focal = float(views.intrinsics[:, 0].mean())
    sets = [Points.join([world, beyond]), *actors]
    pixel = path_spacing(sets[0], eyes) / focal
    spreads = [_discs(sets[0], len(world), pixel, config.flatness)]
    spreads += [_discs(points, 0, np.full(len(points), 6.0 / focal), 1.0) for points in actors]
    texture = initial_sky(views, sky, config.sky_rows, config.sky_columns)
    return _scene(log, sets, spreads, texture, config)


def _actor_points(
    log: DrivingLog, views: Views, moving: list[Points], budget: int, config: InitialiseConfig,
    random: np.random.Generator,
) -> list[Points]:  # fmt: skip
    """Each track's points in its box frame, within a common budget split by how much was seen of each."""
    if not log.tracks:
        return []
    fewest = min(config.fewest_actor_points, max(budget // len(log.tracks), 1))
    whole = []
    for track, points in zip(log.tracks, moving, strict=True):
        points = mirror(points, track.category)
        points = thin_to(points, budget, np.ones(len(points)))
        if len(points) < fewest:
            mean = points.colours.mean(axis=0) if len(points) else None
            points = Points.join([points, fill_box(track, views, fewest - len(points), random, mean)])
        whole.append(points)
    wanted = np.array([len(points) for points in whole], float)
    spare = np.maximum(wanted - fewest, 0)
    room = max(budget - fewest * len(whole), 0)
    quota = fewest + np.floor(spare * min(1.0, room / max(spare.sum(), 1.0))).astype(int)
    return [thin_to(points, int(most), np.ones(len(points))) for points, most in zip(whole, quota, strict=True)]


def _discs(points: Points, measured: int, pixel: np.ndarray, flatness: float) -> tuple[np.ndarray, np.ndarray]:
    """Quaternions and scales: discs along the surface through the nearest neighbours; balls past ``measured``.

    ``pixel`` is what a pixel covers (metres) at each point from the nearest camera, which bounds the radius: a splat
    that is small from where it was placed would fill the image of a camera that passes it.
    """
    count = len(points)
    quaternions = np.tile(np.array([1.0, 0.0, 0.0, 0.0]), (count, 1))
    if count < _NEIGHBOURS + 1:
        return quaternions, np.full((count, 3), 0.2)
    gaps, neighbours = scipy.spatial.cKDTree(points.positions).query(points.positions, k=_NEIGHBOURS + 1, workers=-1)
    widest = np.where(np.arange(count) < measured, _WIDEST_DISC_PX, _WIDEST_BALL_PX)
    radius = np.clip(0.75 * gaps[:, 1:4].mean(axis=1), 0.3 * pixel, widest * pixel)
    scales = np.repeat(radius[:, None], 3, axis=1)
    chunks = np.array_split(neighbours[:measured], -(-measured // _CHUNK) or 1)
    quaternions[:measured] = np.concatenate(in_threads(lambda chunk: _facing(points.positions[chunk]), chunks))
    scales[:measured, 0] *= flatness
    return quaternions, scales


def _facing(clusters: np.ndarray) -> np.ndarray:
    """Quaternions whose first axis is the normal of each cluster of points (n, point, 3)."""
    offsets = clusters - clusters.mean(axis=1, keepdims=True)
    _, axes = np.linalg.eigh(offsets.swapaxes(1, 2) @ offsets)  # the normal comes first
    axes *= np.sign(np.linalg.det(axes))[:, None, None]
    return matrix_to_quaternion(axes)


def _scene(
    log: DrivingLog, sets: list[Points], spreads: list[tuple[np.ndarray, np.ndarray]], sky: np.ndarray,
    config: InitialiseConfig,
) -> Scene:  # fmt: skip
    """Everything in one arena, padded with slots that hold identity values."""
    points = Points.join(sets)
    group = np.repeat(np.arange(len(sets)), [len(points) for points in sets])
    count, capacity = len(points), config.capacity

    def padded(values: np.ndarray, rest: float | np.ndarray) -> jnp.ndarray:
        table = np.empty((capacity, *values.shape[1:]), np.float32)
        table[:count], table[count:] = values, rest
        return jnp.asarray(table)

    sh = np.zeros((count, (config.sh_degree + 1) ** 2, 3))
    sh[:, 0] = (points.colours - 0.5) / SH_C0
    gaussians = Gaussians(
        means=padded(points.positions, 0.0),
        quaternions=padded(np.concatenate([q for q, _ in spreads]), np.array([1.0, 0.0, 0.0, 0.0])),
        log_scales=padded(np.log(np.concatenate([s for _, s in spreads])), 0.0),
        opacity_logits=padded(np.full(count, np.log(config.opacity / (1 - config.opacity))), 0.0),
        sh=padded(sh, 0.0),
        valid=jnp.arange(capacity) < count,
    )
    sizes = np.stack([track.size for track in log.tracks]) if log.tracks else np.zeros((0, 3))
    return Scene(
        gaussians=gaussians,
        group=padded(group, 0.0).astype(jnp.int32),
        sky=jnp.asarray(sky, jnp.float32),
        actor_sizes=jnp.asarray(sizes, jnp.float32),
    )
