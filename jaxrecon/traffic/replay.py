"""Traffic that repeats the recording: every actor is where the log saw it."""

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.geometry.boxes import Boxes
from jaxrecon.geometry.transforms import yaw_of
from jaxrecon.logs.driving_log import CATEGORIES, DrivingLog

PARKED_RADIUS = 1.0  # metres; boxes labelled by hand wander by decimetres around a car that stands
RATE_TOLERANCE = 0.25  # largest departure of one time step from the mean, as a share of it


@flax.struct.dataclass
class Replay:
    """Recorded actors on the device; slots without an actor are never valid and hold identity values.

    Attributes:
        world_from_actor: (frame, actor, 4, 4) rigid box poses; the identity where invalid.
        valid: (frame, actor) bool.
        heading: (frame, actor) of the box's length on the ground, radians.
        sizes: (actor, 3) length, width, height, metres; ones in unused slots.
        category: (actor,) int32, index into ``CATEGORIES``.
        parked: (actor,) bool, the actor stays where it is as long as the log sees it: a static obstacle.
    """

    world_from_actor: Float[Array, "frame actor 4 4"]
    valid: Bool[Array, "frame actor"]
    heading: Float[Array, "frame actor"]
    sizes: Float[Array, "actor 3"]
    category: Int[Array, " actor"]
    parked: Bool[Array, " actor"]

    @property
    def frames(self) -> int:
        """How many log frames there are."""
        return self.valid.shape[0]

    @property
    def capacity(self) -> int:
        """How many actor slots there are."""
        return self.valid.shape[1]

    def boxes(self, frame: Int[Array, "*b"]) -> Boxes:
        """Planar boxes (*b, actor) of every slot at a log frame; meaningless where not valid."""
        return Boxes(
            centre=self.world_from_actor[frame, :, :2, 3],
            heading=self.heading[frame],
            length=self.sizes[:, 0],
            width=self.sizes[:, 1],
        )


def check_rate(log: DrivingLog) -> float:
    """Seconds per frame of a log whose rate is constant.

    Raises:
        ValueError: if there are fewer than two frames, or some time step departs from the mean by more than a quarter.
    """
    if log.frames < 2:
        raise ValueError(f"log {log.name} has {log.frames} frames; driving in it needs at least 2")
    steps, mean = np.diff(log.timestamps), log.seconds_per_frame
    worst = int(np.argmax(np.abs(steps - mean)))
    if not abs(steps[worst] - mean) <= RATE_TOLERANCE * mean:
        raise ValueError(
            f"log {log.name} has no constant rate: frame {worst} to {worst + 1} takes {steps[worst]:.4f} s but the "
            f"mean is {mean:.4f} s; resample the log to a constant rate or cut it there"
        )
    return mean


def replay(log: DrivingLog, capacity: int | None = None) -> Replay:
    """The log's tracks, in their order, as arrays.

    Args:
        log: the recording; its frames are the simulator's steps.
        capacity: actor slots; as many as there are tracks by default.

    Raises:
        ValueError: if there are more tracks than slots.
    """
    check_rate(log)
    slots = len(log.tracks) if capacity is None else capacity
    if len(log.tracks) > slots:
        raise ValueError(
            f"log {log.name} has {len(log.tracks)} tracks but capacity is {slots}; raise the capacity or drop tracks"
        )
    poses = np.tile(np.eye(4), (log.frames, slots, 1, 1))
    valid = np.zeros((log.frames, slots), bool)
    sizes = np.ones((slots, 3))
    category = np.full(slots, CATEGORIES.index("other"))
    parked = np.zeros(slots, bool)
    for slot, track in enumerate(log.tracks):
        valid[:, slot] = track.valid
        poses[track.valid, slot] = track.world_from_box[track.valid]
        sizes[slot] = track.size
        category[slot] = CATEGORIES.index(track.category)
        seen = track.world_from_box[track.valid, :2, 3]
        parked[slot] = np.all(np.linalg.norm(seen - np.median(seen, axis=0), axis=-1) < PARKED_RADIUS)
    return Replay(
        world_from_actor=jnp.asarray(poses, jnp.float32),
        valid=jnp.asarray(valid),
        heading=jnp.asarray(yaw_of(poses[..., :3, :3]), jnp.float32),
        sizes=jnp.asarray(sizes, jnp.float32),
        category=jnp.asarray(category, jnp.int32),
        parked=jnp.asarray(parked),
    )
