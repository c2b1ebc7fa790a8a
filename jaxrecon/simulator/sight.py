"""When a road user can be seen through the policy's cameras: in a field of view, and with nothing in between."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxrecon.geometry.transforms import in_frame
from jaxrecon.simulator.state import Moment
from jaxrecon.simulator.world import World
from jaxrecon.traffic.replay import Actors

FARTHEST = 80.0  # metres at which a threat counts as seen
ALL_ROUND = 60.0  # metres that the driver of a world without cameras sees, all around
ALOFT = 0.8  # metres above the ground at which road users are looked for
HIDES = 1.2  # metres of height from which a box hides what is behind it
SAMPLES = 12  # places of a line of sight at which obstacles are looked for


def seen(world: World, moment: Moment, centre: Float[Array, "*b n 2"], actors: Actors) -> Bool[Array, "*b n"]:
    """Which places some camera of the rig shows and neither actor nor obstacle hides.

    Args:
        world: with its rig; without cameras, everything near counts as shown.
        moment: where the egos are.
        centre: of road users, world, metres.
        actors: all of them; who stands at a place does not hide it.
    """
    vehicle = moment.vehicle
    ahead, left = in_frame(centre - vehicle.position[..., None, :], vehicle.yaw[..., None])
    far = jnp.sqrt(ahead**2 + left**2)
    if not world.rig.count:
        return far < ALL_ROUND
    place = jnp.stack([ahead, left, jnp.full_like(ahead, ALOFT)], axis=-1)
    shown = jnp.zeros(ahead.shape, bool)
    for camera in range(world.rig.count):
        mount = world.rig.ego_from_camera[moment.scene, camera][..., None, :, :]
        lens = world.rig.intrinsics[moment.scene, camera][..., None, :]
        away = place - mount[..., :3, 3]
        x, y, z = (jnp.sum(away * mount[..., :3, axis], axis=-1) for axis in range(3))
        depth = jnp.maximum(z, 0.1)
        column, row = lens[..., 0] * x / depth + lens[..., 2], lens[..., 1] * y / depth + lens[..., 3]
        inside = (column > 0) & (column < world.rig.width) & (row > 0) & (row < world.rig.height)
        shown |= inside & (z > 0.5)
    return shown & (far < FARTHEST) & ~_hidden(world, moment, centre, actors)


def _hidden(world: World, moment: Moment, centre: Array, actors: Actors) -> Array:
    start = jnp.broadcast_to(moment.vehicle.position[..., None, :], centre.shape)
    boxes = actors.boxes

    def local(point: Array) -> tuple[Array, Array]:
        return in_frame(point[..., :, None, :] - boxes.centre[..., None, :, :], boxes.heading[..., None, :])

    (x, y), (to_x, to_y) = local(start), local(centre)
    enter, leave = jnp.zeros(x.shape), jnp.ones(x.shape)
    for first, last, half in (
        (x, to_x, 0.5 * boxes.length[..., None, :]),
        (y, to_y, 0.5 * boxes.width[..., None, :]),
    ):
        way = last - first
        way = jnp.where(jnp.abs(way) < 1e-6, 1e-6, way)
        one, other = (-half - first) / way, (half - first) / way
        enter, leave = jnp.maximum(enter, jnp.minimum(one, other)), jnp.minimum(leave, jnp.maximum(one, other))
    itself = to_x**2 + to_y**2 < 1.0
    tall = actors.sizes[..., None, :, 2] > HIDES
    hides = jnp.any((enter < leave) & ~itself & tall & actors.valid[..., None, :], axis=-1)
    share = (jnp.arange(SAMPLES) + 1.0) / (SAMPLES + 1)
    line = start[..., None, :] + share[:, None] * (centre - start)[..., None, :]
    shape = line.shape
    room = world.obstacles(moment.scene, line.reshape(*shape[: moment.scene.ndim], -1, 2)).reshape(shape[:-1])
    return hides | jnp.any(room < -0.25, axis=-1)
