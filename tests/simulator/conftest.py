"""A drive made of closed forms: 60 frames straight at 10 m/s, then a left arc of radius 30 m, past two cars."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.geometry.transforms import rigid, yaw_to_matrix
from jaxrecon.logs.driving_log import CameraStream, DrivingLog, Track
from jaxrecon.scene import occupancy
from jaxrecon.simulator import Perturbation, Simulator, SimulatorConfig, build_world, default_params, policy_rig
from jaxrecon.simulator.cameras import Drawing

STANDARD = SimulatorConfig()
SPEED, RADIUS, STRAIGHT, FRAMES, DT = 10.0, 30.0, 60, 130, 0.1


def along_path(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position (n, 2) and heading (n,) at a distance from the start of the drive."""
    straight = SPEED * STRAIGHT * DT
    turned = np.maximum(distance - straight, 0.0) / RADIUS
    x = np.minimum(distance, straight) + RADIUS * np.sin(turned)
    return np.stack([x, RADIUS * (1 - np.cos(turned))], axis=-1), turned


def poses(position: np.ndarray, yaw: np.ndarray, z: float = 0.0) -> np.ndarray:
    """Upright world poses of planar ones."""
    return rigid(yaw_to_matrix(yaw), np.concatenate([position, np.full((len(position), 1), z)], axis=-1))


def make_log(**changes) -> DrivingLog:
    """The drive; a lead car 25 m ahead on the same path until frame 100, and one parked 4 m left of the straight."""
    distance = SPEED * DT * np.arange(FRAMES)
    position, yaw = along_path(distance)
    lead_position, lead_yaw = along_path(distance + 25.0)
    parked = poses(np.tile([30.0, 4.0], (FRAMES, 1)), np.zeros(FRAMES), 0.75)
    camera_rotation = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    camera = CameraStream(
        name="front",
        intrinsics=np.array([40.0, 40.0, 32.0, 12.0]),
        ego_from_camera=rigid(camera_rotation, np.array([1.5, 0.0, 1.5])),
        images=np.broadcast_to(np.arange(FRAMES, dtype=np.uint8)[:, None, None, None], (FRAMES, 24, 64, 3)).copy(),
    )
    log = DrivingLog(
        name="closed-form",
        timestamps=DT * np.arange(FRAMES),
        world_from_ego=poses(position, yaw),
        cameras=(camera,),
        tracks=(
            Track("lead", "vehicle", np.array([4.5, 1.8, 1.5]), poses(lead_position, lead_yaw, 0.75),
                  np.arange(FRAMES) < 100),
            Track("parked", "vehicle", np.array([4.5, 1.8, 1.5]), parked, np.ones(FRAMES, bool)),
        ),
    )  # fmt: skip
    return dataclasses.replace(log, **changes)


class PoseSource:
    """Paints every frame with what it was asked for: camera x and y in decimetres, and how many actors are there."""

    def draw(self, cameras, scene, world_from_actor, actor_valid) -> Drawing:
        position = jnp.round(10 * cameras.world_from_camera[:, :2, 3]).astype(jnp.int32) % 256
        pixel = jnp.concatenate([position, jnp.sum(actor_valid, axis=-1, keepdims=True)], axis=-1).astype(jnp.uint8)
        shape = (len(pixel), cameras.height, cameras.width, 3)
        return Drawing(frames=jnp.broadcast_to(pixel[:, None, None], shape), overflow=jnp.zeros(len(pixel), bool))


jax.tree_util.register_static(PoseSource)


@pytest.fixture(scope="session")
def log() -> DrivingLog:
    return make_log()


@pytest.fixture(scope="session")
def build():
    """Builds (log, simulator) from changes to the log and the configuration."""

    def build(config=STANDARD, obstacles=None, **changes):
        log = make_log(**changes)
        rig = policy_rig(log, 8, 3)
        world = build_world(log, PoseSource(), rig, occupancy.empty() if obstacles is None else obstacles)
        return Simulator(world, config)

    return build


@pytest.fixture(scope="session")
def simulator(build) -> Simulator:
    return build()


@pytest.fixture(scope="session")
def step():
    """The compiled step."""
    return jax.jit(Simulator.step, static_argnames=("draw", "auto_reset"))


@pytest.fixture(scope="session")
def reset_at():
    """The compiled start of given clips: (simulator, frames, perturbation fields) -> (state, observation)."""
    compiled = jax.jit(Simulator.reset_at)

    def reset_at(simulator, frames, params=None, **perturbation):
        values = dict(lateral=0.0, heading=0.0, speed=1.0) | perturbation
        fields = {
            name: jnp.broadcast_to(jnp.asarray(value, jnp.float32), len(frames)) for name, value in values.items()
        }
        return compiled(
            simulator, jax.random.key(0), jnp.asarray(frames), Perturbation(**fields), params or default_params()
        )

    return reset_at
