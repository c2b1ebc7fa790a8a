"""Traffic that lives with what is not in its log: it keeps to its recorded way, and brakes for whoever is new on it."""

import dataclasses

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.geometry.boxes import Boxes
from jaxrecon.logs.driving_log import CATEGORIES, PEDESTRIAN
from jaxrecon.traffic.idm import IDM, IdmParams, PathAhead, idm_acceleration, path_leader, places_along
from jaxrecon.traffic.replay import Actors, Replay

SIGHT, STRIDE = 9, 5  # places of its own way that a driver looks at, and log frames between them
LATE = 0.5  # frames behind the log from which on an actor counts as new to those behind it
SLOW = 0.3  # m/s below which the log's actor waits by itself
MARGIN = 0.15  # metres to each side of a car that its way is wider


@flax.struct.dataclass
class Following:
    """How far actors are behind their recording.

    Attributes:
        lag: (*b, actor) log frames.
        pace: (*b, actor) share of the recorded speed at which they drive, 0 to 1.
    """

    lag: Float[Array, "*b actor"]
    pace: Float[Array, "*b actor"]


def as_recorded(batch: tuple[int, ...], actors: int) -> Following:
    """Nobody is late."""
    return Following(lag=jnp.zeros((*batch, actors)), pace=jnp.ones((*batch, actors)))


def late_actors(traffic: Replay, scene: Int[Array, "*b"], frame: Int[Array, "*b"], following: Following) -> Actors:
    """Where they are at a log frame: between the two recorded poses around the frame that each has come to."""
    low, share = _places(frame, following.lag)
    slot = jnp.arange(traffic.capacity)
    at, high = scene[..., None], jnp.minimum(low + 1, traffic.frames - 1)
    before, after = traffic.centre[at, low, slot], traffic.centre[at, high, slot]
    both = traffic.valid[at, low, slot] & traffic.valid[at, high, slot]
    share = jnp.where(both, share, 0.0)
    return Actors(
        centre=before + share[..., None] * (after - before),
        heading=traffic.heading[at, low, slot],
        velocity=traffic.velocity[at, low, slot] * following.pace[..., None],
        sizes=traffic.sizes[scene],
        valid=traffic.valid[at, low, slot],
        parked=traffic.parked[scene],
    )


def late_poses(
    traffic: Replay, scene: Int[Array, "*b"], frame: Int[Array, "*b"], following: Following
) -> tuple[Float[Array, "*b actor 4 4"], Bool[Array, "*b actor"]]:
    """Their box poses, and which are there."""
    actors = late_actors(traffic, scene, frame, following)
    low, _ = _places(frame, following.lag)
    pose = traffic.world_from_actor[scene[..., None], low, jnp.arange(traffic.capacity)]
    return pose.at[..., :2, 3].set(actors.centre), actors.valid


def follow(
    traffic: Replay,
    scene: Int[Array, "*b"],
    frame: Int[Array, "*b"],
    following: Following,
    actors: Actors,
    acting: Bool[Array, "*b actor"],
    ego: Boxes,
    ego_velocity: Float[Array, "*b 2"],
    dt: float,
    params: IdmParams = IDM,
) -> Following:
    """One step on, by the Intelligent Driver Model behind whoever the log did not have there.

    That is the ego, adversaries and those who are late themselves; who follows nobody new repeats the recording.

    Args:
        traffic: the recording.
        scene: of each clip.
        frame: log frame before the step.
        following: before it.
        actors: where all are, adversaries included.
        acting: which are adversaries, who do not follow.
        ego: its box.
        ego_velocity: world, m/s.
        dt: seconds.
        params: how they follow.
    """
    slots, at = jnp.arange(traffic.capacity), scene[..., None]
    low, _ = _places(frame, following.lag)
    when = jnp.minimum(low[..., None] + STRIDE * jnp.arange(SIGHT), traffic.frames - 1)
    point = traffic.centre[at[..., None], when, slots[:, None]]
    seen = traffic.valid[at[..., None], when, slots[:, None]]
    # Beyond what was recorded the way goes no further.
    point = jnp.where(seen[..., None], point, actors.centre[..., None, :])
    step = jnp.diff(point, axis=-2)
    length = jnp.sqrt(jnp.maximum(jnp.sum(step * step, axis=-1), 1e-9))
    heading = jnp.where(length > 0.3, jnp.arctan2(step[..., 1], step[..., 0]), actors.heading[..., None])
    path = PathAhead(
        point=point,
        heading=jnp.concatenate([heading, heading[..., -1:]], axis=-1),
        arc=jnp.concatenate([jnp.zeros_like(length[..., :1]), jnp.cumsum(length, axis=-1)], axis=-1),
    )
    new, others, velocity = _new_ones(following, actors, acting, ego, ego_velocity)
    places = places_along(path, others, velocity)
    others_than_self = jnp.concatenate(
        [~jnp.eye(traffic.capacity, dtype=bool), jnp.ones((traffic.capacity, 1), bool)], axis=-1
    )
    recorded = jnp.linalg.norm(traffic.velocity[at, low, slots], axis=-1)
    speed, half = recorded * following.pace, 0.5 * actors.sizes
    gap, closing = path_leader(places, new & others_than_self, half[..., 0], speed, half[..., 1] + MARGIN)
    chosen = idm_acceleration(speed, jnp.maximum(recorded, SLOW), gap, closing, params)
    wanted = jnp.maximum(speed + chosen * dt, 0.0)
    pace = jnp.where(recorded > SLOW, wanted / jnp.maximum(recorded, SLOW), jnp.where(gap > params.jam, 1.0, 0.0))
    walks = traffic.category[scene] == CATEGORIES.index(PEDESTRIAN)
    drives = actors.valid & ~acting & ~actors.parked & ~walks
    free = (gap > 200.0) & (following.pace > 0.99)
    pace = jnp.where(drives & ~free, jnp.clip(pace, 0.0, 1.0), 1.0)
    return Following(lag=following.lag + (1 - pace), pace=pace)


def _places(frame: Array, lag: Array) -> tuple[Array, Array]:
    place = jnp.maximum(frame[..., None] - lag, 0.0)
    low = jnp.floor(place + 1e-4)
    return low.astype(jnp.int32), jnp.clip(place - low, 0.0, 1.0)


def _new_ones(
    following: Following, actors: Actors, acting: Array, ego: Boxes, ego_velocity: Array
) -> tuple[Array, Boxes, Array]:
    """Whom the log did not have where they are: (*b, 1, actor + 1), the ego last."""
    boxes = actors.boxes

    def joined(first: Array, second: Array) -> Array:
        return jnp.concatenate([first, second[..., None, :] if second.ndim == first.ndim - 1 else second], axis=-2)

    def row(first: Array, second: Array) -> Array:
        return jnp.concatenate([first, jnp.broadcast_to(second, first.shape[:-1])[..., None]], axis=-1)

    new = actors.valid & (acting | (following.lag > LATE))
    new = jnp.concatenate([new, jnp.ones_like(new[..., :1])], axis=-1)
    together = Boxes(
        centre=joined(boxes.centre, ego.centre),
        heading=row(boxes.heading, ego.heading),
        length=row(boxes.length, ego.length),
        width=row(boxes.width, ego.width),
    )
    shape = (*acting.shape[:-1], acting.shape[-1], acting.shape[-1] + 1)

    def every(values: Array) -> Array:
        extra = values.shape[len(shape) - 1 :]
        return jnp.broadcast_to(values[..., None, :] if not extra else values[..., None, :, :], (*shape, *extra))

    spread = {field.name: every(getattr(together, field.name)) for field in dataclasses.fields(together)}
    return every(new), Boxes(**spread), every(joined(actors.velocity, ego_velocity))
