"""Who does it: the road user in the right place, by its lane and by its distance seen from above."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxrecon.traffic.behaviours import BEHAVIOURS, STANDING, Relation
from jaxrecon.traffic.course import Course
from jaxrecon.traffic.replay import Replay

SPREAD = 0.35  # of the logarithm of the distance by which the nearest is not always taken
BESIDE = 2.2  # metres from the path from which on one that drives may still merge
UNSEEN = 60.0  # metres from the ego at which an actor may be taken to be staged


@flax.struct.dataclass
class Window:
    """Where, seen from the ego, a road user must be; every field is (relation,).

    Attributes:
        ahead_least, ahead_most: along the path, metres.
        left_least, left_most: offset to the left of the expert's path, metres.
        way: 1 drives along the path, -1 against it, 0 either.
        standing: 1 parked or slow ones, and those that drive ``BESIDE`` or more from the path; 0 any; -1 only those
            that drive.
    """

    ahead_least: Float[np.ndarray, " relation"]
    ahead_most: Float[np.ndarray, " relation"]
    left_least: Float[np.ndarray, " relation"]
    left_most: Float[np.ndarray, " relation"]
    way: Float[np.ndarray, " relation"]
    standing: Float[np.ndarray, " relation"]


_ROWS: dict[Relation, tuple[float, ...]] = {
    Relation.AHEAD: (6.0, 60.0, -1.2, 1.2, 1, -1),
    Relation.LEFT: (-25.0, 45.0, 1.9, 5.5, 1, -1),
    Relation.RIGHT: (-25.0, 45.0, -5.5, -1.9, 1, 0),
    Relation.BEHIND: (-45.0, -6.0, -1.2, 1.2, 1, -1),
    Relation.ONCOMING: (15.0, 130.0, -8.0, 8.0, -1, -1),
    Relation.WALKER: (6.0, 70.0, -14.0, 14.0, 0, 0),
    Relation.KERB: (8.0, 70.0, -9.0, 9.0, 1, 1),
}
_TABLE = np.array([_ROWS[relation] for relation in Relation], np.float32)
WINDOWS = Window(*_TABLE.T)


@flax.struct.dataclass
class Lanes:
    """Where every actor is along the expert's path, in every log frame.

    Attributes:
        arc: (scene, frame, actor) metres.
        left: (scene, frame, actor) metres.
        way: (scene, frame, actor) cosine of its heading's angle to the path.
        speed: (scene, frame, actor) m/s.
    """

    arc: Float[Array, "scene frame actor"]
    left: Float[Array, "scene frame actor"]
    way: Float[Array, "scene frame actor"]
    speed: Float[Array, "scene frame actor"]


@jax.jit
def lanes_of(course: Course, traffic: Replay) -> Lanes:
    """The table for all scenes."""

    def one(scene: Array) -> Lanes:
        def frame(moment: Array) -> Lanes:
            at = jnp.full(traffic.capacity, scene)
            arc, left, direction = course.nearest(at, traffic.centre[scene, moment])
            way = jnp.cos(traffic.heading[scene, moment] - direction)
            return Lanes(arc, left, way, jnp.linalg.norm(traffic.velocity[scene, moment], axis=-1))

        return jax.lax.map(frame, jnp.arange(traffic.frames))

    return jax.lax.map(one, jnp.arange(traffic.scenes))


def in_place(
    traffic: Replay,
    lanes: Lanes,
    scene: Int[Array, " n"],
    frame: Int[Array, " n"],
    behaviour: Int[Array, " n"],
    ego_arc: Float[Array, " n"],
) -> tuple[Bool[Array, "n actor"], Float[Array, "n actor"]]:
    """Which actors may do it from a log frame on, and their distance from the ego seen from above, metres.

    Args:
        traffic: the recording.
        lanes: where its actors are.
        scene: of each clip.
        frame: at which it would begin.
        behaviour: index into ``BEHAVIOURS``.
        ego_arc: of the recorded ego's centre then, metres.
    """
    relation = jnp.asarray(np.array([one.relation for one in BEHAVIOURS], np.int32))[behaviour]
    kinds = jnp.asarray(np.array([one.kind_mask for one in BEHAVIOURS]))
    window = jax.tree.map(lambda values: jnp.asarray(values)[relation][:, None], WINDOWS)
    ahead, left = lanes.arc[scene, frame] - ego_arc[:, None], lanes.left[scene, frame]
    way, speed = lanes.way[scene, frame], lanes.speed[scene, frame]
    inside = (ahead > window.ahead_least) & (ahead < window.ahead_most)
    inside &= (left > window.left_least) & (left < window.left_most)
    inside &= (window.way == 0) | (way * window.way > 0.6)
    stands = traffic.parked[scene] | (speed < STANDING)
    aside = jnp.abs(left) > 1.7
    walker = relation[:, None] == Relation.WALKER
    lane = (relation[:, None] == Relation.ONCOMING) | (relation[:, None] == Relation.KERB) | walker
    inside &= aside | ~lane
    inside &= ~((window.standing < 0) & stands)
    # Who stands waits for the ego, which must still come.
    inside &= ~stands | (ahead > 8.0)
    # Who merges is slower than the ego by far, or comes from well beside it.
    inside &= ~((window.standing > 0) & ~stands & (jnp.abs(left) < BESIDE))
    kind = jnp.take_along_axis(kinds[behaviour], traffic.category[scene], axis=1)
    return inside & kind & traffic.valid[scene, frame], jnp.sqrt(ahead**2 + left**2)


def choose(
    keys: Key[Array, " n"],
    allowed: Bool[Array, "n actor"],
    distance: Float[Array, "n actor"],
) -> tuple[Int[Array, " n"], Bool[Array, " n"]]:
    """One of the allowed actors each, the nearest most often, and whether there was any."""
    noise = jax.vmap(lambda key: jax.random.gumbel(key, (distance.shape[1],)))(keys)
    cost = jnp.log(jnp.maximum(distance, 1.0)) - SPREAD * noise
    return jnp.argmin(jnp.where(allowed, cost, jnp.inf), axis=1).astype(jnp.int32), jnp.any(allowed, axis=1)


def may_be_staged(
    traffic: Replay, lanes: Lanes, scene: Int[Array, " n"], frame: Int[Array, " n"], ego_arc: Float[Array, " n"]
) -> Bool[Array, "n actor"]:
    """Cars that the clip does not otherwise show: not in the log in its first frame, or far away from the ego."""
    away = (jnp.abs(lanes.arc[scene, frame] - ego_arc[:, None]) > UNSEEN) | (jnp.abs(lanes.left[scene, frame]) > UNSEEN)
    car = (traffic.category[scene] == 0) & jnp.any(traffic.valid[scene], axis=1)
    return car & (~traffic.valid[scene, frame] | away)
