"""A straight road with somebody in place for every behaviour, for the tests of adversaries."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrecon.geometry.transforms import rigid, yaw_to_matrix
from jaxrecon.logs.driving_log import DrivingLog, Track
from jaxrecon.scene import occupancy
from jaxrecon.simulator import Perturbation, Simulator, SimulatorConfig, Start, World, build_world
from jaxrecon.simulator.casting import Casting, Draw, casting_of, plan_of
from jaxrecon.traffic.adversary import Plan
from jaxrecon.traffic.behaviours import BEHAVIOURS, PARAMETERS

FRAMES, DT, SPEED = 100, 0.1, 10.0
LEADER, LEFT, PARKED, RIGHT, ONCOMING, WALKER, FOLLOWER = range(7)
CAR, PERSON = (4.5, 1.8, 1.5), (0.6, 0.6, 1.75)


def track(name: str, category: str, size: tuple, x: np.ndarray, y: float, yaw: float = 0.0) -> Track:
    place = np.stack([x, np.full_like(x, y), np.full_like(x, size[2] / 2)], axis=-1)
    turned = np.tile(yaw_to_matrix(np.array(yaw)), (len(x), 1, 1))
    return Track(name, category, np.array(size), rigid(turned, place), np.ones(len(x), bool))


def road_log(frames: int = FRAMES) -> DrivingLog:
    time = DT * np.arange(frames)
    still = np.zeros(frames)
    pose = rigid(np.tile(np.eye(3), (frames, 1, 1)), np.stack([SPEED * time, still, still], axis=-1))
    tracks = (
        track("leader", "vehicle", CAR, 25 + SPEED * time, 0.0),
        track("left", "vehicle", CAR, -8 + SPEED * time, 3.4),
        track("parked", "vehicle", CAR, 60 + still, -5.0),
        track("right", "vehicle", CAR, -6 + SPEED * time, -3.4),
        track("oncoming", "vehicle", CAR, 125 - SPEED * time, 6.5, np.pi),
        track("walker", "pedestrian", PERSON, 50 + 1.2 * time, 7.0),
        track("follower", "vehicle", CAR, -14 + SPEED * time, 0.0),
    )
    return DrivingLog(name="road", timestamps=time, world_from_ego=pose, tracks=tracks)


def road_world(keep: tuple[int, ...] = tuple(range(7))) -> World:
    log = road_log()
    chosen = tuple(one for number, one in enumerate(log.tracks) if number in keep)
    return build_world(
        DrivingLog(log.name, log.timestamps, log.world_from_ego, tracks=chosen), None, None, occupancy.empty()
    )


def road_casting(world: World, reacting: bool = False) -> Casting:
    return casting_of(Simulator(world, SimulatorConfig(action="continuous", render=False)), reacting)


def one_of_each(casting: Casting, unit: float = 0.5, reactive: bool = True) -> tuple[Draw, Plan]:
    """A case for each behaviour, all from frame 0."""
    count = len(BEHAVIOURS)
    return cases(casting, np.arange(count), unit, reactive)


def cases(casting: Casting, behaviour: np.ndarray, unit: float, reactive: bool = True) -> tuple[Draw, Plan]:
    count = len(behaviour)
    none, zero = jnp.zeros(count, jnp.int32), jnp.zeros(count)
    drawn = Draw(
        start=Start(none, none, Perturbation(zero, zero, zero + 1.0)),
        behaviour=jnp.asarray(behaviour, jnp.int32)[:, None],
        unit=jnp.full((count, 1, PARAMETERS), unit),
        begin=jnp.full((count, 1), 3, jnp.int32),
        reactive=jnp.full(count, reactive),
        acts=jnp.ones((count, 1), bool),
    )
    return drawn, plan_of(casting, drawn, jax.random.key(0))
