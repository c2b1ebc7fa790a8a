"""A world on the device: everything about one or several scenes that stays the same from step to step."""

import dataclasses
from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from jaxrecon.dynamics import VehicleState
from jaxrecon.geometry.padding import pad_axis
from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.scene.fields import DistanceFields, stack_fields
from jaxrecon.scene.ground import HeightField
from jaxrecon.scene.occupancy import DistanceField
from jaxrecon.scene.road import build_road
from jaxrecon.scene.roads import Roads, stack_roads, unknown_road
from jaxrecon.scene.scene import Scene
from jaxrecon.simulator.cameras import CameraSource, SplatCameras, exact_cameras, join_cameras
from jaxrecon.simulator.events import collisions
from jaxrecon.simulator.joining import join_fields, join_grounds, join_roads
from jaxrecon.simulator.reference import Reference, build_reference, join_references
from jaxrecon.simulator.rigs import CameraRig, join_rigs, no_cameras, rig_of_scene
from jaxrecon.simulator.shapes import EgoShape, Probes, ego_probes, ego_shapes, join_probes, join_shapes
from jaxrecon.simulator.standing import GroundHeights, stack_heights
from jaxrecon.traffic.replay import Replay, check_rate, join_replays, replay

RATE_TOLERANCE = 0.01  # by which the time steps of joined worlds may differ, as a share


@flax.struct.dataclass
class World:
    """Places to drive in; an environment is in one of the scenes, ``State.scene``.

    Every array has the axis ``scene`` in front, padded to the largest scene, but for grids and Gaussians, which lie
    end to end: nothing of a scene is ever copied for an environment.

    Attributes:
        reference: the recorded drives: expert path, route, road surface.
        traffic: the recorded actors.
        obstacles: signed distance to static obstacles.
        roads: edges, lanes and lights, where the logs have maps.
        ground: height of the ground, where it is mapped; None: nowhere.
        rig: cameras of the policy.
        source: draws the rig's frames; None for worlds that are only driven in by state.
        start_allowed: (scene, frame) bool, log frames whose recorded pose collides with nothing.
        vehicle: size of the ego.
        probes: points of its outline.
        names: of the scenes' logs.
        dt: seconds per step, the logs' own.
    """

    reference: Reference
    traffic: Replay
    obstacles: DistanceFields
    roads: Roads
    ground: GroundHeights | None
    rig: CameraRig
    source: CameraSource | None
    start_allowed: Bool[Array, "scene frame"]
    vehicle: EgoShape
    probes: Probes
    names: tuple[str, ...] = flax.struct.field(pytree_node=False)
    dt: float = flax.struct.field(pytree_node=False)

    @property
    def scenes(self) -> int:
        """How many scenes there are."""
        return self.start_allowed.shape[0]

    @property
    def frames(self) -> Int[Array, " scene"]:
        """How many log frames each scene has."""
        return self.reference.frames


def build_world(
    log: DrivingLog,
    source: CameraSource | Scene | None,
    rig: CameraRig | None,
    obstacles: DistanceField,
    actor_capacity: int | None = None,
    ground: HeightField | None = None,
) -> World:
    """Put a log on the device, as a world of one scene.

    Args:
        log: the recording.
        source: what draws the frames; a ``Scene`` is drawn exactly, as splats; None for state-only worlds.
        rig: the policy's cameras, see ``policy_rig``; None for state-only worlds.
        obstacles: static obstacles: ``occupancy.from_lidar(log)``, or ``occupancy.empty()`` for none.
        actor_capacity: actor slots; as many as the log has tracks by default.
        ground: height of the ground, ``ground.from_lidar(log)``; None: the plane that the recorded car stood on.

    Raises:
        ValueError: if the log's rate is not constant, it has more tracks than slots, its car collides in every frame,
            or a camera is not on the car; or if only one of source and rig is given.
    """
    if (source is None) != (rig is None):
        missing = "rig" if rig is None else "source"
        raise ValueError(f"build_world got no {missing}; give both source and rig, or neither for a state-only world")
    dt = check_rate(log)
    rig = rig_of_scene(no_cameras() if rig is None else rig, log.ego)
    world = World(
        reference=build_reference(log, dt),
        traffic=replay(log, actor_capacity),
        obstacles=stack_fields([obstacles]),
        roads=stack_roads([unknown_road() if log.road_map is None else build_road(log)]),
        ground=None if ground is None else stack_heights([ground]),
        rig=rig,
        source=exact_cameras(source) if isinstance(source, Scene) else source,
        start_allowed=jnp.ones((1, log.frames), bool),
        vehicle=ego_shapes([log.ego]),
        probes=ego_probes([log.ego]),
        names=(log.name,),
        dt=dt,
    )
    return dataclasses.replace(world, start_allowed=_allowed_starts(world))


def join_worlds(worlds: Sequence[World], source: CameraSource | None = None) -> World:
    """One world of all the scenes of several, in their order.

    Args:
        worlds: all state-only, or all with rigs of the same number of cameras and image size.
        source: what draws the frames of all scenes; by default their splats are put into one arena.

    Raises:
        ValueError: if there are none; if their time steps, rigs or ways of drawing differ.
    """
    if not worlds:
        raise ValueError("join_worlds got no worlds; expected at least one: build_world makes one from a log")
    _check_steps(worlds)
    frames = max(world.start_allowed.shape[1] for world in worlds)
    return World(
        reference=join_references([world.reference for world in worlds]),
        traffic=join_replays([world.traffic for world in worlds]),
        obstacles=join_fields([world.obstacles for world in worlds]),
        roads=join_roads([world.roads for world in worlds]),
        ground=join_grounds([world.ground for world in worlds], [world.scenes for world in worlds]),
        rig=join_rigs([world.rig for world in worlds]),
        source=_joined_source(worlds) if source is None else source,
        start_allowed=jnp.concatenate([pad_axis(world.start_allowed, 1, frames) for world in worlds]),
        vehicle=join_shapes([world.vehicle for world in worlds]),
        probes=join_probes([world.probes for world in worlds]),
        names=tuple(name for world in worlds for name in world.names),
        dt=worlds[0].dt,
    )


def _check_steps(worlds: Sequence[World]) -> None:
    first = worlds[0]
    for world in worlds[1:]:
        if abs(world.dt - first.dt) > RATE_TOLERANCE * first.dt:
            raise ValueError(
                f"world {'+'.join(world.names)} has steps of {world.dt:.4f} s but {'+'.join(first.names)} of "
                f"{first.dt:.4f} s; environments of one world step together: resample one of the logs"
            )


def _joined_source(worlds: Sequence[World]) -> CameraSource | None:
    sources = [world.source for world in worlds]
    if all(source is None for source in sources):
        return None
    splats = [source for source in sources if isinstance(source, SplatCameras)]
    if len(splats) == len(sources):
        return join_cameras(splats)
    kinds = sorted({type(source).__name__ for source in sources})
    raise ValueError(
        f"the worlds draw their frames in different ways ({', '.join(kinds)}); give join_worlds one source for all"
    )


def _allowed_starts(world: World) -> Bool[Array, "scene frame"]:
    """Frames of a world of one scene at which its recorded car collides with nothing.

    Raises:
        ValueError: if there are none, the last aside.
    """
    frames = int(world.frames[0])

    distance = world.obstacles.distance
    # Room in powers of two, so that logs of as many frames and actors share what is compiled for them.
    room = pad_axis(distance, 0, 1 << int(distance.shape[0] - 1).bit_length())
    obstacles = dataclasses.replace(world.obstacles, distance=room)
    motion = jax.tree.map(lambda leaf: leaf[0], world.reference.motion)
    hit = np.asarray(recorded_collisions(motion, world.traffic, world.vehicle, world.probes, obstacles))
    allowed = np.logical_not(hit.any(axis=-1))
    if not allowed[:-1].any():
        dynamic, static = hit.sum(axis=0)
        raise ValueError(
            f"log {world.names[0]}: the recorded car collides in every frame ({dynamic} with actors, {static} with "
            f"static obstacles, of {frames}), so no clip can start; check the tracks' boxes and the obstacles"
        )
    return jnp.asarray(allowed)[None]


@jax.jit
def recorded_collisions(
    motion: VehicleState, traffic: Replay, vehicle: EgoShape, probes: Probes, obstacles: DistanceFields
) -> Bool[Array, "frame 2"]:
    """Whether a drive collides with an actor, and with a static obstacle, in each frame of its traffic.

    Args:
        motion: fields (frame, ...).
        traffic: of one scene.
        vehicle: size of the car.
        probes: points of its outline.
        obstacles: of one scene.
    """
    frame = jnp.arange(traffic.frames)
    scene = jnp.zeros_like(frame)
    return collisions(motion, traffic.at(scene, frame), vehicle.at(scene), probes, obstacles, scene)
