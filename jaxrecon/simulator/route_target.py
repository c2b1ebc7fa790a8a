"""Where the route goes: one lane-centre target ahead, a function of the route and the road and of nothing else."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrecon.scene.roads import LANE_REACH, own_lane_distance
from jaxrecon.simulator.world import World

LANE_WIDTH = 3.5  # metres; a lane centre farther away than this is that of another road
ROUNDS = 2  # of stepping to the side: one where lanes are straight, two in bends


def route_target(
    world: World, scene: Int[Array, " env"], route: Float[Array, " env"], look_ahead: float
) -> tuple[Float[Array, "env 2"], Float[Array, " env"]]:
    """The lane centre at a distance along the route, and the route's heading there.

    The route says which lanes are taken, not how they are driven: whatever the recorded driver does within a lane, or
    on the way from one to the next, is moved to the centre of the nearest lane that leads the route's way. Where the
    log has no lanes, or none is within ``LANE_WIDTH``, the target stays on the path.

    Args:
        world: where.
        scene: of each environment.
        route: arc length of the path at the ego, metres.
        look_ahead: metres along the path from there to the target.

    Returns:
        World point (metres), within the road grid's resolution of the lane's centre, and heading (radians, unwrapped).
    """
    point, heading = world.reference.at_route(scene, route + look_ahead)
    left = jnp.stack([-jnp.sin(heading), jnp.cos(heading)], axis=-1)
    moved, reached = point, own_lane_distance(world.roads, scene, point[:, None], heading)[:, 0]
    for _ in range(ROUNDS):
        moved, reached = _sideways(world, scene, moved, reached, left, heading)
    away = jnp.abs(jnp.sum((moved - point) * left, axis=-1))
    known = world.roads.lanes_known[scene] & (away < LANE_WIDTH) & (reached < LANE_WIDTH / 2)
    return jnp.where(known[:, None], moved, point), heading


def _sideways(
    world: World,
    scene: Int[Array, " env"],
    point: Float[Array, "env 2"],
    distance: Float[Array, " env"],
    left: Float[Array, "env 2"],
    heading: Float[Array, " env"],
) -> tuple[Float[Array, "env 2"], Float[Array, " env"]]:
    """The nearest to a lane centre of a point and of those as far to its left and right as the lane is away.

    Args:
        world: where.
        scene: of each environment.
        point: world, metres.
        distance: of the lane centre from it, metres.
        left: unit vector.
        heading: of the route, radians.

    Returns:
        That point, and how far the lane centre is from it, metres.
    """
    step = jnp.where(distance < LANE_REACH, distance, 0.0)[:, None, None] * left[:, None]
    choices = point[:, None] + jnp.asarray([0.0, 1.0, -1.0])[:, None] * step
    beside = own_lane_distance(world.roads, scene, choices[:, 1:], heading)
    distances = jnp.concatenate([distance[:, None], beside], axis=1)
    best = jnp.argmin(distances, axis=1)[:, None]
    nearest = jnp.take_along_axis(choices, best[..., None], axis=1)[:, 0]
    return nearest, jnp.take_along_axis(distances, best, axis=1)[:, 0]
