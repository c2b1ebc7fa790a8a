"""Waymax beside the simulator's rows without cameras, where it is installed: the same street, its overlap and offroad.

Nothing of it is part of this project. It wants dm_env, dm-tree, chex, immutabledict and a module named tensorflow.
"""

import dataclasses
import importlib
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benchmark_rows import BenchmarkError
from benchmark_timing import Timing, measure
from simulator_rollouts import GENTLE

from jaxrecon.geometry.transforms import yaw_of
from jaxrecon.logs import DrivingLog

OBJECTS, POINTS = 32, 2000  # the ego among them; of the road's edges
INIT_STEPS = 11  # its default
ROAD_EDGE = 15  # Waymo's type of a boundary
VEHICLE = 1
SPEEDS = {"cpu": ((16, 64), 8), "gpu": ((64, 256, 1024), 80)}  # batches, and steps of a call


@dataclasses.dataclass(frozen=True)
class WaymaxPeer:
    """Waymax's planning environment with its bicycle.

    Attributes:
        module: the package.
    """

    module: ModuleType

    def measure(self, log: DrivingLog, repeats: int) -> dict[str, Any]:
        """Its best speed on a log, and the keys of a row that say so, ``notes`` beside them.

        Args:
            log: with a map of at least ``POINTS`` points of road edges and 31 tracks.
            repeats: timed calls.
        """
        batches, steps = SPEEDS["cpu" if jax.default_backend() == "cpu" else "gpu"]
        steps = min(steps, log.frames - INIT_STEPS - 1)
        environment, state = self._environment(log)
        timed = {batch: self._time(environment, state, batch, steps, repeats) for batch in batches}
        best = max(batches, key=lambda batch: batch / timed[batch].median)
        notes = {
            "env_steps_per_second_by_batch": {
                str(batch): 1e3 * batch * steps / timing.median for batch, timing in timed.items()
            },
            "metrics": "overlap, offroad",
            "objects": OBJECTS,
            "road_points": POINTS,
            "steps_per_environment": steps,
        }
        value = 1e3 * best * steps / timed[best].median
        return {
            "peer_name": f"waymax {getattr(self.module, '__version__', '')}".strip(),
            "peer_value": value,
            "notes": notes,
        }

    def _environment(self, log: DrivingLog) -> tuple[Any, Any]:
        config, dynamics = (importlib.import_module(f"waymax.{name}") for name in ("config", "dynamics"))
        environments = importlib.import_module("waymax.env")
        settings = config.EnvironmentConfig(
            max_num_objects=OBJECTS,
            init_steps=INIT_STEPS,
            compute_reward=False,
            metrics=config.MetricsConfig(metrics_to_run=("overlap", "offroad")),
        )
        bicycle = dynamics.InvertibleBicycleModel(normalize_actions=False)
        return environments.PlanningAgentEnvironment(bicycle, settings), scenario(log)

    def _time(self, environment: Any, state: Any, batch: int, steps: int, repeats: int) -> Timing:
        datatypes = importlib.import_module("waymax.datatypes")
        many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (batch, *leaf.shape)), state)
        many = environment.reset(many)
        # Its actions are acceleration and curvature.
        scale = jnp.asarray((GENTLE[0], GENTLE[1] / 2.8))

        @jax.jit
        def roll(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            def step(state: Any, action: jax.Array) -> tuple[Any, jax.Array]:
                valid = jnp.ones((batch, 1), bool)
                state = environment.step(state, datatypes.Action(data=action, valid=valid))
                found = environment.metrics(state)
                return state, sum(jnp.sum(found[name].value) for name in ("overlap", "offroad"))

            state, counted = jax.lax.scan(step, state, scale * jax.random.normal(key, (steps, batch, 2)))
            return state.sim_trajectory.x, jnp.sum(counted)

        def call(number: int) -> Any:
            return roll(many, jax.random.fold_in(jax.random.key(1), number))

        return measure(call, jax.block_until_ready, repeats)


def scenario(log: DrivingLog) -> Any:
    """A log as Waymax's state of one scenario: the ego first, then the first tracks; points of road edges.

    Raises:
        BenchmarkError: if the log has too few tracks or points.
    """
    datatypes = importlib.import_module("waymax.datatypes")
    points, directions, ids = _edges(log)
    if len(log.tracks) < OBJECTS - 1 or len(points) < POINTS:
        raise BenchmarkError(
            f"log {log.name} has {len(log.tracks)} tracks and {len(points)} points; expected {OBJECTS - 1} and {POINTS}"
        )
    middle = log.world_from_ego.copy()
    middle[:, :3, 3] += log.ego.centre_ahead * middle[:, :3, 0]
    others = log.tracks[: OBJECTS - 1]
    poses = np.stack([middle, *(track.world_from_box for track in others)])
    valid = np.stack([np.ones(log.frames, bool), *(track.valid for track in others)])
    sizes = np.stack([np.array([log.ego.length, log.ego.width, log.ego.height]), *(track.size for track in others)])
    velocity = np.gradient(poses[:, :, :3, 3], log.timestamps, axis=1)
    along = np.broadcast_to(sizes[:, None], (*valid.shape, 3))
    fields = {
        **{name: poses[:, :, axis, 3] for axis, name in enumerate("xyz")},
        **{name: velocity[..., axis] for axis, name in enumerate(("vel_x", "vel_y"))},
        **{name: along[..., axis] for axis, name in enumerate(("length", "width", "height"))},
        "yaw": yaw_of(poses[..., :3, :3]),
    }
    floats = {name: jnp.asarray(value, jnp.float32) for name, value in fields.items()}
    micros = jnp.asarray(np.broadcast_to(1e6 * log.timestamps, valid.shape), jnp.int32)
    trajectory = datatypes.Trajectory(**floats, valid=jnp.asarray(valid), timestamp_micros=micros)
    number, ego = jnp.arange(OBJECTS), jnp.arange(OBJECTS) == 0
    metadata = datatypes.ObjectMetadata(
        ids=number, object_types=jnp.full(OBJECTS, VEHICLE), is_sdc=ego, is_modeled=~ego, is_valid=ego | True,
        objects_of_interest=ego & False, is_controlled=ego,
    )  # fmt: skip
    axes = {name: jnp.asarray(points[:POINTS, axis], jnp.float32) for axis, name in enumerate("xyz")}
    axes |= {f"dir_{name}": jnp.asarray(directions[:POINTS, axis], jnp.float32) for axis, name in enumerate("xyz")}
    road = datatypes.RoadgraphPoints(
        **axes, types=jnp.full(POINTS, ROAD_EDGE), ids=jnp.asarray(ids[:POINTS]), valid=jnp.ones(POINTS, bool)
    )
    none = jnp.zeros((1, log.frames))
    whole = none.astype(jnp.int32)
    lights = datatypes.TrafficLights(x=none, y=none, z=none, state=whole, lane_ids=whole, valid=none > 0)
    return datatypes.SimulatorState(
        sim_trajectory=trajectory, log_trajectory=trajectory, log_traffic_light=lights, object_metadata=metadata,
        timestep=jnp.asarray(0), roadgraph_points=road,
    )  # fmt: skip


def find_waymax() -> WaymaxPeer | None:
    """Waymax, or None with a printed line where it cannot be imported."""
    try:
        return WaymaxPeer(importlib.import_module("waymax"))
    except ImportError as error:
        print(f"no row is compared: waymax cannot be imported here ({error})", flush=True)
        return None


def _edges(log: DrivingLog) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of the road's edges, the unit directions in which they go on, and which edge each is of."""
    edges = [] if log.road_map is None else [np.asarray(edge) for edge in log.road_map.road_edges]
    steps = [np.diff(edge, axis=0, append=edge[-1:] + (edge[-1:] - edge[-2:-1])) for edge in edges]
    directions = [step / np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-9) for step in steps]
    ids = np.repeat(np.arange(len(edges)), [len(edge) for edge in edges])
    return np.concatenate(edges), np.concatenate(directions), ids.astype(np.int32)
