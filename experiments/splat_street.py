"""A synthetic street of Gaussians, and cameras on it: inputs of a known distribution for measuring the rasterizer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrecon.kernels import Arena, Views
from jaxrecon.scene.gaussians import SH_C0, Gaussians
from jaxrecon.scene.scene import Scene

LENGTH, HALF_WIDTH, HEIGHT = 200.0, 12.0, 15.0  # metres
SHARES = (0.35, 0.45)  # of ground and facades; the rest is vehicles
VEHICLES = 40
LANES = (-4.0, 0.0, 4.0, 9.0, -9.0)  # metres to the left of the middle
VEHICLE_DEVIATION = (1.8, 0.7, 0.5)  # metres
VEHICLE_CENTRE = 0.8  # metres above the ground
VEHICLE_AREA = 20.0  # square metres
EYE = 1.6  # metres
FIELD_OF_VIEW = 90.0  # degrees


@dataclasses.dataclass(frozen=True)
class Splats:
    """Gaussians on the host.

    Attributes:
        means: metres, in the frame of the group.
        quaternions: unit, ``wxyz``.
        scales: metres.
        opacities: in (0, 1).
        colours: in [0, 1], the same from everywhere.
        kind: 0 ground, 1 facade, 2 vehicle.
        group: 0 static, a for actor a - 1.
    """

    means: np.ndarray
    quaternions: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    colours: np.ndarray
    kind: np.ndarray
    group: np.ndarray


def street(count: int, seed: int = 0, actors: int = 0) -> Splats:
    """A straight street: 35 % ground, 45 % facades, 20 % vehicles along 200 m, neighbours in space next to each other.

    Args:
        count: Gaussians.
        seed: of the drawing.
        actors: if given, the vehicles are that many actors, centred in frames of their own; else 40 that stand.
    """
    random = np.random.default_rng(seed)
    ground, facade = (int(share * count) for share in SHARES)
    vehicle = count - ground - facade
    vehicles = actors or VEHICLES
    kind = np.repeat([0, 1, 2], [ground, facade, vehicle])
    on_ground = [random.uniform(0, LENGTH, ground), random.uniform(-HALF_WIDTH, HALF_WIDTH, ground)]
    on_ground.append(random.normal(0, 0.02, ground))
    side = np.where(random.uniform(size=facade) < 0.5, -1.0, 1.0)
    on_facade = [random.uniform(0, LENGTH, facade), side * (HALF_WIDTH + np.abs(random.normal(0, 0.3, facade)))]
    on_facade.append(random.uniform(0, HEIGHT, facade))
    of_vehicle = random.integers(0, vehicles, vehicle)
    centres = np.stack(
        [random.uniform(0, LENGTH, vehicles), random.choice(LANES, vehicles), np.full(vehicles, VEHICLE_CENTRE)], axis=1
    )
    on_vehicle = random.normal(0, 1, (vehicle, 3)) * VEHICLE_DEVIATION + (0 if actors else centres[of_vehicle])
    means = np.concatenate([np.stack(on_ground, axis=1), np.stack(on_facade, axis=1), on_vehicle])
    surface = (LENGTH * 2 * HALF_WIDTH, 2 * LENGTH * HEIGHT, vehicles * VEHICLE_AREA)
    area = np.asarray(surface) / np.maximum((ground, facade, vehicle), 1)
    scales = 0.8 * np.sqrt(area)[kind][:, None] * np.exp(random.normal(0, 0.35, (count, 3)))
    quaternions = random.normal(size=(count, 4))
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    opacities = 1 / (1 + np.exp(-random.normal(1.0, 1.5, count)))
    colours = random.uniform(0, 1, (count, 3))
    group = np.where(kind == 2, np.concatenate([np.zeros(ground + facade, int), of_vehicle + 1]), 0) * bool(actors)
    order = np.lexsort((_morton(means), group))
    floats = {"means": means, "quaternions": quaternions, "scales": scales, "opacities": opacities, "colours": colours}
    single = {name: array[order].astype(np.float32) for name, array in floats.items()}
    return Splats(**single, kind=kind[order], group=group[order].astype(np.int32))


def _morton(means: np.ndarray) -> np.ndarray:
    """Position along a curve that keeps neighbours together, from ten bits an axis."""
    low, high = means.min(axis=0), means.max(axis=0)
    cell = (1023 * (means - low) / np.maximum((high - low).max(), 1e-9)).astype(np.int64)
    code = np.zeros(len(means), np.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cell[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code


def road_cameras(count: int, seed: int = 1) -> np.ndarray:
    """Poses ``camera_from_world`` [count, 4, 4] of cameras on the road that look along it."""
    random = np.random.default_rng(seed)
    x, y, yaw = random.uniform(5, 150, count), random.uniform(-4, 4, count), random.normal(0, 0.15, count)
    zero = np.zeros(count)
    forward = np.stack([np.cos(yaw), np.sin(yaw), zero], axis=1)
    right = np.stack([np.sin(yaw), -np.cos(yaw), zero], axis=1)
    down = np.broadcast_to([0.0, 0.0, -1.0], (count, 3))
    pose = np.tile(np.eye(4), (count, 1, 1))
    pose[:, :3, :3] = np.stack([right, down, forward], axis=1)
    pose[:, :3, 3] = -np.einsum("cij,cj->ci", pose[:, :3, :3], np.stack([x, y, zero + EYE], axis=1))
    return pose.astype(np.float32)


def intrinsics(width: int, height: int) -> np.ndarray:
    """fx, fy, cx, cy, pixels, of a camera that sees 90 degrees across."""
    focal = width / 2 / np.tan(np.radians(FIELD_OF_VIEW) / 2)
    return np.array([focal, focal, width / 2, height / 2], np.float32)


def actor_poses(camera_from_world: np.ndarray, actors: int, seed: int) -> np.ndarray:
    """Poses ``world_from_actor`` [camera, actor, 4, 4] of vehicles, from 20 m behind each camera to 60 m ahead."""
    random = np.random.default_rng(seed)
    shape = (len(camera_from_world), actors)
    eye = -np.einsum("cji,cj->ci", camera_from_world[:, :3, :3], camera_from_world[:, :3, 3])
    yaw = random.normal(0, 0.1, shape)
    pose = np.tile(np.eye(4), (*shape, 1, 1))
    pose[..., 0, 0] = pose[..., 1, 1] = np.cos(yaw)
    pose[..., 0, 1], pose[..., 1, 0] = -np.sin(yaw), np.sin(yaw)
    pose[..., 0, 3] = eye[:, :1] + random.uniform(-20, 60, shape)
    pose[..., 1, 3], pose[..., 2, 3] = random.choice(LANES, shape), VEHICLE_CENTRE
    return pose.astype(np.float32)


def arena_of(splats: Splats) -> Arena:
    """The Gaussians as the rasterizer takes them, all of them drawn."""
    return Arena(
        means=jnp.asarray(splats.means),
        quaternions=jnp.asarray(splats.quaternions),
        scales=jnp.asarray(splats.scales),
        opacities=jnp.asarray(splats.opacities),
        sh=jnp.asarray((splats.colours[:, None] - 0.5) / SH_C0),
        group=jnp.asarray(splats.group),
    )


def scene_of(splats: Splats) -> Scene:
    """The Gaussians as a scene with a black sky."""
    gaussians = Gaussians(
        means=jnp.asarray(splats.means),
        quaternions=jnp.asarray(splats.quaternions),
        log_scales=jnp.log(jnp.asarray(splats.scales)),
        opacity_logits=jax.scipy.special.logit(jnp.asarray(splats.opacities)),
        sh=jnp.asarray((splats.colours[:, None] - 0.5) / SH_C0),
        valid=jnp.ones(len(splats.means), bool),
    )
    sizes = np.tile(4 * np.asarray(VEHICLE_DEVIATION, np.float32), (int(splats.group.max(initial=0)), 1))
    return Scene(gaussians, jnp.asarray(splats.group), jnp.zeros((2, 4, 3)), jnp.asarray(sizes))


def join(arenas: list[Arena]) -> Arena:
    """Arenas of several scenes laid end to end."""
    start = np.cumsum([0, *(arena.count for arena in arenas)]).astype(np.int32)
    alike = [
        dataclasses.replace(arena, largest_scene=0) for arena in arenas
    ]  # static fields must be equal to be mapped over
    joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *alike)
    return dataclasses.replace(joined, scene_start=jnp.asarray(start), largest_scene=int(np.diff(start).max()))


def views_of(
    camera_from_world: np.ndarray,
    width: int,
    height: int,
    world_from_actor: np.ndarray | None = None,
    scene: np.ndarray | None = None,
    finer: int = 1,
) -> Views:
    """Cameras as the rasterizer takes them.

    Args:
        camera_from_world: poses.
        width: pixels.
        height: pixels.
        world_from_actor: poses of each camera's actors.
        scene: of each camera, for an arena of several.
        finer: how many times more pixels along each side, of the same field of view.
    """
    groups = camera_from_world[:, None]
    if world_from_actor is not None:
        groups = np.concatenate([groups, groups @ world_from_actor], axis=1)
    pinhole = np.tile(finer * intrinsics(width, height), (len(groups), 1))
    return Views(
        camera_from_group=jnp.asarray(groups),
        group_valid=jnp.ones(groups.shape[:2], bool),
        intrinsics=jnp.asarray(pinhole),
        scene=None if scene is None else jnp.asarray(scene),
        width=finer * width,
        height=finer * height,
    )
