"""What a policy would see on a cousin's drive, what the cousin does there, and what would lead back to the recording.

A cousin is a drive of its own in the world of its log: its route is its own way, and its traffic and lights count its
own steps.
So the simulator's demonstrations of it are of the same kind as those of a recorded drive.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.dynamics import HORIZON, VehicleLimits, VehicleState, nearest
from jaxrecon.geometry.polylines import Polyline, polyline, project, sample
from jaxrecon.geometry.transforms import wrap_angle
from jaxrecon.logs.driving_log import DrivingLog, EgoVehicle
from jaxrecon.simulator import (
    Moment,
    Simulator,
    World,
    build_reference,
    default_params,
    demonstrations,
)
from jaxrecon.simulator.observation import in_ego, navigation, world_from_ego
from jaxrecon.simulator.world import recorded_collisions
from jaxrecon.traffic.replay import Replay
from jaxrecon.trajectories.adapted import Adapted, adapted_replay
from jaxrecon.trajectories.confidence import nearest_on_path
from jaxrecon.trajectories.cousins import Cousins

RETURN = 1.5  # seconds ahead of which a car heads back for the recorded path,
NEAREST_RETURN = 6.0  # and metres, at least
FARTHEST, MOST_TURNED = 4.0, np.radians(60)  # metres and radians from the path beyond which nothing leads back at once
CHUNK = 8  # moments drawn at once


def labelled_steps(steps: int, dt: float, stride: int) -> Int[np.ndarray, " row"]:
    """Steps of a cousin that are shown: those after which it still goes on for as long as an action looks ahead."""
    return np.arange(0, steps - round(HORIZON / dt), stride)


def cousin_world(world: World, ego: EgoVehicle, cousins: Cousins, index: int) -> World:
    """The world in which a cousin's drive is the recorded one.

    Args:
        world: of the log alone.
        ego: size of its car.
        cousins: of that log.
        index: which of them.
    """
    one = jax.tree.map(jnp.asarray, cousins.take(index))
    position = np.concatenate([np.asarray(one.vehicle.position), np.asarray(one.onward)])
    step = np.diff(np.concatenate([np.asarray(one.vehicle.position)[-1:], np.asarray(one.onward)]), axis=0)
    yaw = np.concatenate([np.asarray(one.vehicle.yaw), np.arctan2(step[:, 1], step[:, 0])])
    frames, steps = len(position), cousins.steps
    poses = _stand(world, jnp.asarray(position, jnp.float32), jnp.asarray(yaw, jnp.float32))
    drive = DrivingLog(
        name=world.names[0],
        timestamps=world.dt * np.arange(frames),
        world_from_ego=np.asarray(poses, np.float64),
        ego=ego,
    )
    reference = build_reference(drive, world.dt)

    def put(values: Array, driven: Array) -> Array:
        return values.at[0, :steps].set(driven)

    reference = dataclasses.replace(reference, motion=jax.tree.map(put, reference.motion, one.vehicle))
    adapted = jax.tree.map(lambda leaf: leaf[None], one.others)
    traffic = _replayed(world, adapted, one.frame)
    stop = world.roads.stop
    roads = dataclasses.replace(world.roads, stop=stop[:, jnp.minimum(one.frame, stop.shape[1] - 1)])
    # Beyond the cousin's end nobody knows who is in the way.
    hit = recorded_collisions(one.vehicle, traffic, world.vehicle, world.probes, world.obstacles)
    allowed = jnp.zeros((1, frames), bool).at[0, :steps].set(~jnp.any(hit, axis=-1))
    return dataclasses.replace(world, reference=reference, traffic=traffic, roads=roads, start_allowed=allowed)


@jax.jit
def _stand(world: World, position: Float[Array, "n 2"], yaw: Float[Array, " n"]) -> Float[Array, "n 4 4"]:
    """How the car stands on the ground."""
    zero, scene = jnp.zeros_like(yaw), jnp.zeros(yaw.shape, jnp.int32)
    vehicle = VehicleState(position, yaw, zero, zero, zero)
    return world_from_ego(world, Moment(scene, scene, vehicle, nearest_on_path(world, position)))


@jax.jit
def _replayed(world: World, adapted: Adapted, frame: Int[Array, " step"]) -> Replay:
    return adapted_replay(world.traffic, adapted, frame, 0)


def show(
    simulator: Simulator,
    cousins: Cousins,
    index: int,
    ego: EgoVehicle,
    path: Float[np.ndarray, "n 2"],
    stride: int,
    draw: bool = True,
) -> dict[str, np.ndarray]:
    """All rows of one cousin.

    Args:
        simulator: of the log's world.
        cousins: of that log.
        index: which of them.
        ego: size of its car.
        path: to which recovery leads back: that of the recorded drive and beyond it, ``Generated.path``.
        stride: steps between two rows.
        draw: whether to draw frames; they are black otherwise.

    Returns:
        Arrays with the axis ``row`` in front: ``frames``, ``ego``, ``navigation`` as in ``simulator.Observation``;
        ``lateral`` and ``longitudinal``, anchors of what the cousin does next; ``action``, (row, 2) its acceleration
        (m/s2) and steering (radians); ``recovery_lateral``, ``recovery_longitudinal`` and ``recovery_valid``, anchors
        that lead back to the recorded path, and ``recovery_navigation``, which is the recorded route's;
        ``unsupported``, (row, camera) where the world knows it; ``family``, ``step`` and ``log_frame``.
    """
    driven = dataclasses.replace(simulator, world=cousin_world(simulator.world, ego, cousins, index))
    steps = labelled_steps(cousins.steps, simulator.world.dt, stride)
    params, parts = default_params(), []
    for first in range(0, len(steps), CHUNK):
        rows = steps[np.minimum(first + np.arange(CHUNK), len(steps) - 1)]
        parts.append(jax.device_get(_demonstrations(driven, jnp.asarray(rows, jnp.int32), params, draw=draw)))
    shown = jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(steps)], *parts)
    one = jax.tree.map(np.asarray, cousins.take(index))
    states = jax.tree.map(lambda leaf: jnp.asarray(leaf[steps]), one.vehicle)
    line = _line(jnp.asarray(path, jnp.float32))
    wheelbase = simulator.world.vehicle.wheelbase[0]
    back = jax.device_get(_returning(line, states, wheelbase, simulator.config.limits))
    route, away = jax.device_get(_recorded_route(simulator, states))
    found = {
        "frames": shown.observation.frames,
        "ego": shown.observation.ego,
        "navigation": shown.observation.navigation,
        "lateral": shown.lateral,
        "longitudinal": shown.longitudinal,
        "action": np.stack([one.acceleration[steps], one.steering[steps]], axis=-1),
        "recovery_lateral": back[0],
        "recovery_longitudinal": back[1],
        "recovery_valid": back[2] & (away < FARTHEST),
        "recovery_navigation": route,
        "family": np.full(len(steps), one.family, np.int32),
        "step": steps.astype(np.int32),
        "log_frame": one.frame[steps],
    }
    if shown.observation.unsupported is not None:
        found["unsupported"] = shown.observation.unsupported
    return found


_demonstrations = jax.jit(demonstrations, static_argnames="draw")


@jax.jit
def _recorded_route(simulator: Simulator, vehicle: VehicleState) -> tuple[Float[Array, "row 6"], Float[Array, " row"]]:
    """Navigation along the recorded route, and metres from the recorded path, which ends where the log does."""
    world, scene = simulator.world, jnp.zeros(vehicle.speed.shape, jnp.int32)
    near = nearest_on_path(world, vehicle.position)
    return navigation(world, scene, vehicle, near.arc, simulator.config.look_ahead), near.distance


def returning(
    path: Polyline, vehicle: VehicleState, wheelbase: Float[Array, ""], limits: VehicleLimits
) -> tuple[Int[Array, " row"], Int[Array, " row"], Bool[Array, " row"]]:
    """Anchors that lead a car back to a path at the speed that it has: pure pursuit of a place ahead on the path.

    Args:
        path: the recorded one.
        vehicle: fields (row, ...).
        wheelbase: metres.
        limits: what the car can do.

    Returns:
        Lateral and longitudinal index, and whether the path is near enough to be returned to.
    """
    near = project(path, vehicle.position)
    ahead, _ = sample(path, near.arc + jnp.maximum(RETURN * vehicle.speed, NEAREST_RETURN))
    there = in_ego(vehicle, ahead)
    squared = jnp.maximum(jnp.sum(there * there, axis=-1), 1e-6)
    bend = 2 * there[..., 1] / squared
    moved = vehicle.speed * HORIZON
    half = 0.5 * bend * moved
    chord = moved * jnp.sinc(half / jnp.pi)
    lateral, longitudinal = nearest(chord * jnp.sin(half), chord * jnp.cos(half), vehicle.speed, wheelbase, limits)
    turned = jnp.abs(wrap_angle(vehicle.yaw - near.heading))
    return lateral, longitudinal, (near.distance < FARTHEST) & (turned < MOST_TURNED)


_line = jax.jit(polyline)
_returning = jax.jit(returning, static_argnames="limits")
