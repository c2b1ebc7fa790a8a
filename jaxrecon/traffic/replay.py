"""Traffic that repeats the recording: every actor is where the log saw it."""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.geometry.boxes import Boxes
from jaxrecon.geometry.transforms import yaw_of
from jaxrecon.logs.driving_log import CATEGORIES, DrivingLog

PARKED_RADIUS = 1.0  # metres; boxes labelled by hand wander by decimetres around a car that stands
RATE_TOLERANCE = 0.25  # largest departure of one time step from the mean, as a share of it


@flax.struct.dataclass
class Actors:
    """Every actor slot at one moment; fields have the batch dimensions of the query, then the slots.

    Attributes:
        centre: (*b, actor, 2) of the boxes, world, metres.
        heading: (*b, actor) of their length on the ground, radians.
        velocity: (*b, actor, 2) of the centres, world, m/s.
        sizes: (*b, actor, 3) length, width, height, metres.
        valid: (*b, actor) bool; whatever else a slot holds means nothing where false.
        parked: (*b, actor) bool, never moves while the log sees it: a static obstacle.
    """

    centre: Float[Array, "*b actor 2"]
    heading: Float[Array, "*b actor"]
    velocity: Float[Array, "*b actor 2"]
    sizes: Float[Array, "*b actor 3"]
    valid: Bool[Array, "*b actor"]
    parked: Bool[Array, "*b actor"]

    @property
    def boxes(self) -> Boxes:
        """Outlines on the ground."""
        return Boxes(self.centre, self.heading, self.sizes[..., 0], self.sizes[..., 1])


@flax.struct.dataclass
class Replay:
    """Recorded actors of one or several scenes on the device.

    Scenes are padded to the most frames and slots of any; slots and frames without an actor are never valid and hold
    identity values.

    Attributes:
        world_from_actor: (scene, frame, actor, 4, 4) rigid box poses; the identity where invalid.
        valid: (scene, frame, actor) bool.
        heading: (scene, frame, actor) of the box's length on the ground, radians.
        centre: (scene, frame, actor, 2) of the box on the ground, metres.
        velocity: (scene, frame, actor, 2) m/s; zero where it was seen once.
        sizes: (scene, actor, 3) length, width, height, metres; ones in unused slots.
        category: (scene, actor) int32, index into ``CATEGORIES``.
        parked: (scene, actor) bool, the actor stays where it is as long as the log sees it: a static obstacle.
    """

    world_from_actor: Float[Array, "scene frame actor 4 4"]
    valid: Bool[Array, "scene frame actor"]
    heading: Float[Array, "scene frame actor"]
    centre: Float[Array, "scene frame actor 2"]
    velocity: Float[Array, "scene frame actor 2"]
    sizes: Float[Array, "scene actor 3"]
    category: Int[Array, "scene actor"]
    parked: Bool[Array, "scene actor"]

    @property
    def scenes(self) -> int:
        """How many scenes there are."""
        return self.valid.shape[0]

    @property
    def frames(self) -> int:
        """Room for log frames of a scene."""
        return self.valid.shape[1]

    @property
    def capacity(self) -> int:
        """How many actor slots a scene has."""
        return self.valid.shape[2]

    def at(self, scene: Int[Array, "*b"], frame: Int[Array, "*b"]) -> Actors:
        """Every slot at a log frame of a scene."""
        return Actors(
            centre=self.centre[scene, frame],
            heading=self.heading[scene, frame],
            velocity=self.velocity[scene, frame],
            sizes=self.sizes[scene],
            valid=self.valid[scene, frame],
            parked=self.parked[scene],
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
    poses = np.tile(np.eye(4), (1, log.frames, slots, 1, 1))
    valid = np.zeros((1, log.frames, slots), bool)
    velocity = np.zeros((1, log.frames, slots, 2))
    sizes = np.ones((1, slots, 3))
    category = np.full((1, slots), CATEGORIES.index("other"))
    parked = np.zeros((1, slots), bool)
    for slot, track in enumerate(log.tracks):
        valid[0, :, slot] = track.valid
        poses[0, track.valid, slot] = track.world_from_box[track.valid]
        velocity[0, track.valid, slot] = _velocity(log.timestamps[track.valid], track.world_from_box[track.valid])
        sizes[0, slot] = track.size
        category[0, slot] = CATEGORIES.index(track.category)
        seen = track.world_from_box[track.valid, :2, 3]
        parked[0, slot] = np.all(np.linalg.norm(seen - np.median(seen, axis=0), axis=-1) < PARKED_RADIUS)
    return Replay(
        world_from_actor=jnp.asarray(poses, jnp.float32),
        valid=jnp.asarray(valid),
        heading=jnp.asarray(yaw_of(poses[..., :3, :3]), jnp.float32),
        centre=jnp.asarray(poses[..., :2, 3], jnp.float32),
        velocity=jnp.asarray(velocity, jnp.float32),
        sizes=jnp.asarray(sizes, jnp.float32),
        category=jnp.asarray(category, jnp.int32),
        parked=jnp.asarray(parked),
    )


def _velocity(seconds: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Of a box at the moments when it was seen."""
    if len(seconds) < 2:
        return np.zeros((len(seconds), 2))
    return np.gradient(poses[:, :2, 3], seconds, axis=0)


def join_replays(replays: Sequence[Replay]) -> Replay:
    """Several scenes' actors, padded to the most frames and slots of any.

    Raises:
        ValueError: if there are none.
    """
    if not replays:
        raise ValueError("join_replays got no traffic; expected that of at least one scene")
    frames, slots = max(one.frames for one in replays), max(one.capacity for one in replays)
    return jax.tree.map(
        lambda *leaves: jnp.concatenate(leaves), *(_padded(replay, frames, slots) for replay in replays)
    )


def _padded(replay: Replay, frames: int, slots: int) -> Replay:
    later, more = frames - replay.frames, slots - replay.capacity
    poses = jnp.broadcast_to(jnp.eye(4), (replay.scenes, frames, slots, 4, 4))
    moving = [(0, 0), (0, later), (0, more)]
    return Replay(
        world_from_actor=poses.at[:, : replay.frames, : replay.capacity].set(replay.world_from_actor),
        valid=jnp.pad(replay.valid, moving),
        heading=jnp.pad(replay.heading, moving),
        centre=jnp.pad(replay.centre, [*moving, (0, 0)]),
        velocity=jnp.pad(replay.velocity, [*moving, (0, 0)]),
        sizes=jnp.pad(replay.sizes, [(0, 0), (0, more), (0, 0)], constant_values=1.0),
        category=jnp.pad(replay.category, [(0, 0), (0, more)], constant_values=CATEGORIES.index("other")),
        parked=jnp.pad(replay.parked, [(0, 0), (0, more)]),
    )
