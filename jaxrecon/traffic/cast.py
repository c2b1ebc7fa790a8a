"""The traffic of a clip: the recording, what adversaries make of it, and who lives with that."""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.traffic.adversary import Acting, Plan, overridden, overridden_poses
from jaxrecon.traffic.reacting import Following, late_actors, late_poses
from jaxrecon.traffic.replay import Actors, Replay


@flax.struct.dataclass
class Cast:
    """Whoever departs from the log in a batch of clips.

    Attributes:
        plan: (*b, adversary, ...) who does what.
        acting: where they are now.
        following: how late the others are; None: they repeat the recording.
        detour: (*b, 3) where the clip's reference leaves the expert's path: arc length at which it begins, length over
            which it moves aside (metres), offset to the left (metres; 0: nowhere).
        case: (*b,) int32, which case this is; -1: none.
    """

    plan: Plan
    acting: Acting
    following: Following | None
    detour: Float[Array, "*b 3"]
    case: Int[Array, " *b"]


def actors_at(traffic: Replay, scene: Int[Array, "*b"], frame: Int[Array, "*b"], cast: Cast | None) -> Actors:
    """Every actor slot at a log frame, with those that depart from the log where they are."""
    if cast is None:
        return traffic.at(scene, frame)
    if cast.following is None:
        actors = traffic.at(scene, frame)
    else:
        actors = late_actors(traffic, scene, frame, cast.following)
    return overridden(actors, traffic, scene, cast.plan, cast.acting)


def poses_at(
    traffic: Replay, scene: Int[Array, "*b"], frame: Int[Array, "*b"], cast: Cast | None
) -> tuple[Float[Array, "*b actor 4 4"], Bool[Array, "*b actor"]]:
    """Their box poses, and which are there: what is drawn."""
    if cast is None or cast.following is None:
        poses, valid = traffic.world_from_actor[scene, frame], traffic.valid[scene, frame]
    else:
        poses, valid = late_poses(traffic, scene, frame, cast.following)
    return (poses, valid) if cast is None else overridden_poses(traffic, scene, poses, valid, cast.plan, cast.acting)


def detour_at(detour: Float[Array, "*b 3"], arc: Float[Array, "*b"]) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Offset to the left (metres) of a clip's reference from the expert's path at an arc length, and its slope."""
    share = jnp.clip((arc - detour[..., 0]) / jnp.maximum(detour[..., 1], 1.0), 0.0, 1.0)
    slope = 6 * share * (1 - share) / jnp.maximum(detour[..., 1], 1.0)
    return detour[..., 2] * share * share * (3 - 2 * share), detour[..., 2] * slope
