"""RAD's auxiliary objective: from where each event threatens, and a loss that moves probability away from there."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxrecon.agents.returns import masked_mean
from jaxrecon.simulator import Moment, Simulator, State
from jaxrecon.simulator.moments import heading_error
from jaxrecon.simulator.observation import in_ego
from jaxrecon.simulator.rewards import Terms
from jaxrecon.traffic.cast import actors_at, detour_at

NEAR = 30.0  # metres to the nearest road user that moves, beyond which it threatens from nowhere
SIDEWAYS = ("static", "position", "heading")  # events that threaten from the left or from the right
ASIDE, AHEAD, ALERT = (1.5, 2.5, 3.5), (0.0, 3.0, 6.0, 9.0), 4.0  # metres at which obstacles are looked for


def event_sides(environment: Any, state: Any) -> Float[Array, "env reward"] | None:
    """From where each reward's event threatens: 1 ahead or on the left, -1 behind or on the right, 0 from nowhere.

    Args:
        environment: a ``Simulator``, or anything that has a method ``event_sides`` of its own.
        state: of the environments.

    Returns:
        One number for each environment and reward; None where the environment cannot tell.
    """
    if isinstance(environment, Simulator):
        return simulator_sides(environment, state)
    return environment.event_sides(state) if hasattr(environment, "event_sides") else None


def simulator_sides(simulator: Simulator, state: State) -> Float[Array, "env reward"]:
    """Sides of RAD's events in the order of the simulator's terms; zero for terms that are none of them.

    Dynamic collisions threaten from where the nearest moving road user is, ahead or behind; static ones from the side
    on which obstacles and parked cars are nearer; departures from the side to which the ego is off the expert's path,
    or is turned away from it.
    """
    world = simulator.world
    moment = simulator.moment(state)
    actors = actors_at(world.traffic, state.scene, moment.frame, state.cast)
    shape = world.vehicle.at(state.scene)
    vehicle = jax.tree.map(lambda leaf: leaf[:, None], state.vehicle)
    place = in_ego(vehicle, actors.centre) - jnp.stack([shape.centre_ahead, 0 * shape.centre_ahead], axis=-1)[:, None]
    sides = {
        "dynamic": _ahead_or_behind(place, actors.valid & ~actors.parked),
        "static": _nearer_side(simulator, state, place, actors.valid & actors.parked),
        "position": jnp.sign(_aside(moment)),
        "heading": jnp.sign(heading_error(world, moment)),
    }
    none = jnp.zeros(state.route.shape)
    return jnp.stack([sides.get(name, none) for name, _ in simulator.config.terms], axis=-1)


def mirrored_sides(sides: Float[Array, "env reward"], terms: Terms) -> Float[Array, "env reward"]:
    """The same sides in the world's mirror image."""
    return sides * jnp.array([-1.0 if name in SIDEWAYS else 1.0 for name, _ in terms])


def _aside(moment: Moment) -> Float[Array, " env"]:
    """Metres to the left of the clip's reference: the expert's path, or the way that a corner case leaves open."""
    projection = moment.projection
    if moment.cast is None:
        return projection.lateral
    return projection.lateral - detour_at(moment.cast.detour, projection.arc)[0]


def _ahead_or_behind(place: Float[Array, "env actor 2"], there: Bool[Array, "env actor"]) -> Float[Array, " env"]:
    squared, x = jnp.sum(place**2, axis=-1), place[..., 0]
    ahead, behind = (
        jnp.min(jnp.where(there & side, squared, jnp.inf), axis=-1, initial=jnp.inf) for side in (x > 0, x <= 0)
    )
    return jnp.where(jnp.minimum(ahead, behind) < NEAR**2, jnp.where(ahead < behind, 1.0, -1.0), 0.0)


def _nearer_side(
    simulator: Simulator, state: State, place: Float[Array, "env actor 2"], parked: Bool[Array, "env actor"]
) -> Float[Array, " env"]:
    """1 where what stands is nearer on the left, -1 on the right, 0 where there is nothing on either."""
    x, y = jnp.meshgrid(jnp.asarray(AHEAD), jnp.asarray(ASIDE), indexing="ij")
    heading, clearance = state.vehicle.yaw, []
    for side in (1.0, -1.0):
        cos, sin = jnp.cos(heading)[:, None], jnp.sin(heading)[:, None]
        right_up = jnp.stack([x.ravel() * cos - side * y.ravel() * sin, x.ravel() * sin + side * y.ravel() * cos], -1)
        points = state.vehicle.position[:, None] + right_up
        from_car = y.ravel() + jnp.maximum(simulator.world.obstacles(state.scene, points), 0.0)
        within = parked & (side * place[..., 1] > 0) & (jnp.abs(place[..., 0]) < AHEAD[-1])
        cars = jnp.where(within, jnp.abs(place[..., 1]), jnp.inf)
        clearance.append(jnp.minimum(jnp.min(from_car, axis=-1), jnp.min(cars, axis=-1, initial=jnp.inf)))
    left, right = clearance
    return jnp.where(jnp.minimum(left, right) < ALERT, jnp.sign(right - left), 0.0)


def auxiliary_loss(
    below: Float[Array, "b head"],
    advantage: Float[Array, "b reward"],
    sides: Float[Array, "b reward"],
    valid: Bool[Array, " b"],
    rewards_of_heads: tuple[tuple[int, ...], ...],
) -> Float[Array, ""]:
    """Probability moved by the sign of each event's own advantage, away from where it threatens.

        L = sum_head sum_{reward of the head} mean(A side P(action below the one taken))

    with "below" slower, and farther right. What is ahead or on the left and has a negative advantage makes slower
    actions, and those farther right, more probable.

    Args:
        below: of each head at the actions taken, see ``Output.below``.
        advantage: of each reward alone, in the unit of its head.
        sides: see ``event_sides``.
        valid: rows that count.
        rewards_of_heads: that each head learns from, in the order of ``HEADS``.

    Source:
        RAD (arXiv 2502.13144), auxiliary objective.
    """
    loss = jnp.zeros(())
    for head, rewards in enumerate(rewards_of_heads):
        pull = jnp.sum((advantage * sides)[:, list(rewards)], axis=-1)
        loss += masked_mean(pull * below[:, head], valid)
    return loss
