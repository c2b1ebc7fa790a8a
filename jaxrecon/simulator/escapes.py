"""Can it be avoided? A fixed set of manoeuvres, each begun half a second after the threat is seen."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.dynamics import VehicleLimits, aim
from jaxrecon.simulator.observation import in_ego
from jaxrecon.simulator.shapes import Probes
from jaxrecon.simulator.state import State
from jaxrecon.simulator.world import World

REACTION = 0.5  # seconds between seeing a threat and doing something about it
CORRIDOR = 1.6  # metres to the side that a manoeuvre may lead without leaving the corridor of the expert's path
LOOK, NEAREST, FARTHEST = 0.9, 6.0, 20.0  # seconds, and metres, to the point that is steered for
TURNING = 2.4  # seconds over which a way out moves aside
COVER = 5  # discs that together cover the ego
# Share of the speed, m/s2 and metres to the left: the gentlest first, those within the corridor before those that leave
# it. The first few suffice for most cases, and are tried before the others.
FIRST = ((1.0, 0.0, 0.0), (0.6, 4.0, 0.0), (0.0, 8.0, 0.0))
ASIDE = tuple(
    (share, rate, left) for left in (1.5, -1.5, 3.3, -3.3) for share, rate in ((1.0, 0.0), (0.6, 4.0), (1.35, 3.0))
)
FURTHER = ((0.3, 6.0, 0.0), (0.0, 4.0, 0.0), (1.35, 3.0, 0.0), *ASIDE)
MANOEUVRES = (*FIRST, *FURTHER)


@flax.struct.dataclass
class Manoeuvres:
    """What egos do from a moment on; every field has their batch dimensions.

    Attributes:
        share: of their speed then, that they go to.
        rate: at which they go there, m/s2.
        left: offset from the expert's path that they steer for, metres.
    """

    share: Float[Array, " *b"]
    rate: Float[Array, " *b"]
    left: Float[Array, " *b"]


def manoeuvres(rows: tuple[tuple[float, float, float], ...] = MANOEUVRES) -> Manoeuvres:
    """The fixed set, or some of it."""
    return Manoeuvres(*(jnp.asarray(column) for column in np.array(rows, np.float32).T))


@flax.struct.dataclass
class Escaping:
    """An ego on its way; every field is (env,).

    Attributes:
        reaction: int32, step of the clip from which on it does something else than the recorded driver.
        manoeuvre: what.
        speed: when it began, m/s.
    """

    reaction: Int[Array, " env"]
    manoeuvre: Manoeuvres
    speed: Float[Array, " env"]


def escaping_by(reaction: Int[Array, " env"], manoeuvre: Int[Array, " env"]) -> Escaping:
    """Egos that will get out by manoeuvres (indices into ``MANOEUVRES``), each from a step of its clip on."""
    chosen = jax.tree.map(lambda leaf: leaf[manoeuvre], manoeuvres())
    return Escaping(reaction, chosen, jnp.zeros(reaction.shape))


def nothing_done(environments: int) -> Escaping:
    """Egos that never react: they drive as was recorded."""
    ones = jnp.ones(environments)
    never = jnp.full(environments, 1 << 30, jnp.int32)
    return Escaping(never, Manoeuvres(ones, 0 * ones, 0 * ones), ones)


def controls(
    world: World, state: State, escaping: Escaping, limits: VehicleLimits
) -> tuple[Float[Array, "env 2"], Escaping]:
    """Acceleration and steering: the recorded speed on the expert's path and, from the reaction on, the manoeuvre."""
    scene, vehicle = state.scene, state.vehicle
    frame = jnp.minimum(state.start_frame + state.elapsed, world.frames[scene] - 1)
    after = jnp.minimum(frame + 1, world.frames[scene] - 1)
    speed = world.reference.motion.speed
    # One that started faster than the recorded car stays so: it knows nothing of the recorded clock.
    recorded = (speed[scene, after] - speed[scene, frame]) / world.dt
    reacts = state.elapsed >= escaping.reaction
    begun = jnp.where(state.elapsed <= escaping.reaction, vehicle.speed, escaping.speed)
    escaping = dataclasses.replace(escaping, speed=begun)
    manoeuvre = escaping.manoeuvre
    wanted = (manoeuvre.share * begun - vehicle.speed) / world.dt
    chosen = jnp.where(reacts, jnp.clip(wanted, -manoeuvre.rate, manoeuvre.rate), recorded)
    left = jnp.where(reacts, manoeuvre.left, 0.0)
    look = jnp.clip(LOOK * vehicle.speed, NEAREST, FARTHEST)
    return jnp.stack([chosen, pursue(world, state, look, left, limits)], axis=-1), escaping


def pursue(
    world: World, state: State, look: Float[Array, " env"], left: Float[Array, " env"], limits: VehicleLimits
) -> Float[Array, " env"]:
    """Steering (radians) to a point ahead on the expert's path, or beside it: pure pursuit.

    Args:
        world: where.
        state: of all environments.
        look: along the path to the point, metres.
        left: of the path, metres, where the point is.
        limits: what the cars can do.
    """
    scene, vehicle = state.scene, state.vehicle
    point, heading = world.reference.at_route(scene, state.route + look)
    beside = point + left[:, None] * jnp.stack([-jnp.sin(heading), jnp.cos(heading)], axis=-1)
    target = in_ego(vehicle, beside)
    return aim(target[:, 1], target[:, 0], vehicle, world.vehicle.wheelbase[scene], limits)[1]


def detour_of(route: Float[Array, " env"], speed: Float[Array, " env"], manoeuvre: Manoeuvres) -> Float[Array, "env 3"]:
    """Where the reference of a clip leads aside with a manoeuvre that begins at an arc length, see ``Cast``."""
    leaves = jnp.abs(manoeuvre.left) > CORRIDOR
    length = jnp.maximum(TURNING * speed * jnp.sqrt(jnp.clip(manoeuvre.share, 0.25, 1.0)), 8.0)
    return jnp.stack([route, length, jnp.where(leaves, manoeuvre.left, 0.0)], axis=-1)


def covering_probes(world: World) -> World:
    """The same world with few discs that cover each ego: whoever keeps them off obstacles keeps the ego off them.

    The search among many manoeuvres looks at them; what it finds is driven again with all probes.
    """
    shape = world.vehicle
    half = shape.length / (2 * COVER)
    radius = jnp.sqrt(half**2 + (0.5 * shape.width) ** 2)
    place = (jnp.arange(COVER) + 0.5) / COVER - 0.5
    ahead = shape.centre_ahead[:, None] + shape.length[:, None] * place
    points = jnp.stack([ahead, jnp.zeros_like(ahead)], axis=-1)
    return dataclasses.replace(world, probes=Probes(points, jnp.broadcast_to(radius[:, None], ahead.shape)))


def tile(tree, copies: int):
    """Every row repeated so many times, copies next to one another."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, copies, axis=0), tree)
