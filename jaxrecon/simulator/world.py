"""A world on the device: everything about a log that stays the same from step to step."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from jaxrecon.logs.driving_log import DrivingLog, EgoVehicle
from jaxrecon.scene.occupancy import DistanceField
from jaxrecon.scene.scene import Scene
from jaxrecon.simulator.cameras import CameraRig, CameraSource, SplatCameras, no_cameras
from jaxrecon.simulator.events import collisions
from jaxrecon.simulator.reference import Reference, build_reference
from jaxrecon.traffic.replay import Replay, check_rate, replay


@flax.struct.dataclass
class World:
    """A place to drive in.

    Attributes:
        reference: the recorded drive: expert path, route, road surface.
        traffic: the recorded actors.
        obstacles: signed distance to static obstacles.
        rig: cameras of the policy.
        source: draws the rig's frames; None for worlds that are only driven in by state.
        start_allowed: (frame,) bool, log frames whose recorded pose collides with nothing.
        vehicle: size of the ego.
        dt: seconds per step, the log's own.
    """

    reference: Reference
    traffic: Replay
    obstacles: DistanceField
    rig: CameraRig
    source: CameraSource | None
    start_allowed: Bool[Array, " frame"]
    vehicle: EgoVehicle = flax.struct.field(pytree_node=False)
    dt: float = flax.struct.field(pytree_node=False)

    @property
    def frames(self) -> int:
        """How many log frames there are."""
        return self.reference.frames


def build_world(
    log: DrivingLog,
    source: CameraSource | Scene | None,
    rig: CameraRig | None,
    obstacles: DistanceField,
    actor_capacity: int | None = None,
) -> World:
    """Put a log on the device.

    Args:
        log: the recording.
        source: what draws the frames; a ``Scene`` is drawn as splats; None for state-only worlds.
        rig: the policy's cameras, see ``policy_rig``; None for state-only worlds.
        obstacles: static obstacles: ``occupancy.from_lidar(log)``, or ``occupancy.empty()`` for none.
        actor_capacity: actor slots; as many as the log has tracks by default.

    Raises:
        ValueError: if the log's rate is not constant, it has more tracks than slots, or its car collides in every
            frame; or if only one of source and rig is given.
    """
    if (source is None) != (rig is None):
        missing = "rig" if rig is None else "source"
        raise ValueError(f"build_world got no {missing}; give both source and rig, or neither for a state-only world")
    dt = check_rate(log)
    reference, traffic = build_reference(log, dt), replay(log, actor_capacity)
    check = jax.jit(collisions, static_argnames="vehicle")
    hit = np.array(check(reference.motion, jnp.arange(log.frames), traffic, obstacles, vehicle=log.ego))
    allowed = np.logical_not(hit.any(axis=-1))
    if not allowed[:-1].any():
        dynamic, static = hit.sum(axis=0)
        raise ValueError(
            f"log {log.name}: the recorded car collides in every frame ({dynamic} with actors, {static} with static "
            f"obstacles, of {log.frames}), so no clip can start; check the tracks' boxes and the obstacles"
        )
    return World(
        reference=reference,
        traffic=traffic,
        obstacles=obstacles,
        rig=no_cameras() if rig is None else rig,
        source=SplatCameras(source) if isinstance(source, Scene) else source,
        start_allowed=jnp.asarray(allowed),
        vehicle=log.ego,
        dt=dt,
    )
