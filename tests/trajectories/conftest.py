"""A straight road of which everything is known: two lanes east, one west, a kerb, a lead car, and a log of 9 s."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.dynamics import VehicleState
from jaxrecon.geometry.transforms import rigid, yaw_to_matrix
from jaxrecon.logs.driving_log import CameraMount, DrivingLog, RoadMap, Track, TrafficLight
from jaxrecon.scene import occupancy
from jaxrecon.simulator import Simulator, World, build_world, policy_rig
from jaxrecon.simulator.cameras import Drawing
from jaxrecon.trajectories import CousinConfig, Recorded, generate, recorded_drive

SPEED, FRAMES, DT, LANE = 8.0, 90, 0.1, 3.5
LIGHT_AT = 90.0  # metres along the road, of a light that is red until frame 45


def poses(position: np.ndarray, yaw: np.ndarray | float = 0.0, z: float = 0.0) -> np.ndarray:
    """Upright world poses of planar ones."""
    yaw = np.broadcast_to(yaw, len(position)).astype(float)
    return rigid(yaw_to_matrix(yaw), np.concatenate([position, np.full((len(position), 1), z)], axis=-1))


def straight(first: float, speed: float, y: float) -> np.ndarray:
    """Positions along the road."""
    return np.stack([first + speed * DT * np.arange(FRAMES), np.full(FRAMES, y)], axis=-1)


def make_log(**changes) -> DrivingLog:
    """The ego drives east at y = 0 in the right of two lanes; y = 3.5 leads east too, y = 7 west; kerbs at -2 and 9.

    At x = 60 a lane turns off to the right and out of the road along a street between x = 64 and x = 72.
    """
    x = np.arange(-60.0, 260.0, 2.0)
    east = [np.stack([x, np.full_like(x, y), 0 * x], axis=-1) for y in (0.0, LANE)]
    west = np.stack([x[::-1], np.full_like(x, 2 * LANE), 0 * x], axis=-1)
    angle = np.linspace(0.0, np.pi / 2, 12)
    bend = np.stack([58.0 + 10 * np.sin(angle), -10 + 10 * np.cos(angle), 0 * angle], axis=-1)
    away = np.stack([np.full(40, 68.0), np.arange(-11.0, -51.0, -1.0), np.zeros(40)], axis=-1)
    area = [(-60, -2), (60, -2), (64, -6), (64, -60), (72, -60), (72, -2), (258, -2), (258, 9), (-60, 9)]
    ring = np.array(area, float)
    edges = (
        np.array([*area[:4]], float), np.array([*area[4:7]], float), np.array([(-60, 9), (258, 9)], float),
    )  # fmt: skip
    road = RoadMap(
        lane_centres=(*east, west, np.concatenate([bend, away])),
        road_edges=tuple(np.concatenate([edge, np.zeros((len(edge), 1))], axis=-1) for edge in edges),
        drivable=(ring,),
    )
    state = np.where(np.arange(FRAMES) < 45, 1, 3)
    log = DrivingLog(
        name="straight",
        timestamps=DT * np.arange(FRAMES),
        world_from_ego=poses(straight(0.0, SPEED, 0.0)),
        tracks=(
            Track("lead", "vehicle", np.array([4.5, 1.8, 1.5]), poses(straight(45.0, SPEED, 0.0), z=0.75),
                  np.ones(FRAMES, bool)),
            Track("behind", "vehicle", np.array([4.5, 1.8, 1.5]), poses(straight(-14.0, SPEED, 0.0), z=0.75),
                  np.ones(FRAMES, bool)),
        ),
        road_map=road,
        lights=(TrafficLight(0, np.array([LIGHT_AT, 0.0, 0.0]), state),),
    )  # fmt: skip
    camera = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    mount = CameraMount("front", np.array([40.0, 40.0, 32.0, 12.0]), (64, 24), rigid(camera, np.array([1.5, 0.0, 1.5])))
    return dataclasses.replace(log, mounts=(mount,), **changes)


class PoseSource:
    """Paints every frame with where its camera is, in decimetres, and how many actors are there."""

    def draw(self, cameras, scene, world_from_actor, actor_valid) -> Drawing:
        position = jnp.round(10 * cameras.world_from_camera[:, :2, 3]).astype(jnp.int32) % 256
        pixel = jnp.concatenate([position, jnp.sum(actor_valid, axis=-1, keepdims=True)], axis=-1).astype(jnp.uint8)
        shape = (len(pixel), cameras.height, cameras.width, 3)
        return Drawing(frames=jnp.broadcast_to(pixel[:, None, None], shape), overflow=jnp.zeros(len(pixel), bool))


jax.tree_util.register_static(PoseSource)


def obstacle_at(x: float, y: float) -> occupancy.DistanceField:
    """One post."""
    occupied = np.zeros((200, 800), bool)
    origin = np.array([-20.0, -20.0])
    row, column = (np.array([y, x]) - origin[::-1]) / 0.25
    occupied[round(row), round(column)] = True
    return occupancy.distance_field(occupied, origin, 0.25)


@pytest.fixture(scope="session")
def log() -> DrivingLog:
    return make_log()


@pytest.fixture(scope="session")
def world(log) -> World:
    return build_world(log, PoseSource(), policy_rig(log, 8, 4), obstacle_at(100.0, -1.0))


@pytest.fixture(scope="session")
def simulator(world) -> Simulator:
    return Simulator(world)


@pytest.fixture(scope="session")
def drive(log, world) -> Recorded:
    return recorded_drive(log, np.asarray(world.reference.motion.speed[0]))


@pytest.fixture(scope="session")
def few() -> CousinConfig:
    """As little as shows everything."""
    return CousinConfig(per_family=2, candidates=8, rounds=2, seconds=5.0)


@pytest.fixture(scope="session")
def made(log, world, few):
    """Cousins of all families."""
    return generate(log, world, jax.random.key(0), few, progress=False)


def driven(position: np.ndarray, yaw: np.ndarray | float = 0.0, speed: float = SPEED) -> VehicleState:
    """One car at given places, (1, step, ...)."""
    position = jnp.asarray(position, jnp.float32)[None]
    flat = jnp.zeros(position.shape[:2])
    return VehicleState(position, flat + jnp.asarray(yaw, jnp.float32), flat + speed, flat, flat)
