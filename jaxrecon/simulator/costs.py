"""Smooth costs of a drive by given actions, differentiable in the actions and in where the actors are."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.dynamics import step, yaw_rate
from jaxrecon.geometry.boxes import Boxes, axis_gap
from jaxrecon.simulator.events import obstacle_clearance
from jaxrecon.simulator.moments import heading_error
from jaxrecon.simulator.simulator import Simulator
from jaxrecon.simulator.state import Moment, State
from jaxrecon.simulator.world import World
from jaxrecon.traffic.cast import actors_at


@flax.struct.dataclass
class CostScales:
    """Where costs begin; traced, so that a sweep compiles once.

    Attributes:
        margin: metres to an actor or obstacle below which nearness costs.
        softness: metres over which that cost sets in.
    """

    margin: Float[Array, ""] | float = 1.0
    softness: Float[Array, ""] | float = 0.3


@flax.struct.dataclass
class Costs:
    """What a drive costs, the sum over its steps; every field is (env,), none negative but that of progress.

    Attributes:
        path: squared distance from the expert's path, square metres.
        heading: one minus the cosine of the heading error.
        actors: metres by which actors are nearer than the margin, softly, over all of them.
        obstacles: the same of the static obstacle nearest the outline.
        comfort: squared longitudinal and lateral acceleration, m2/s4.
        progress: minus the metres along the expert's path.
    """

    path: Float[Array, " env"]
    heading: Float[Array, " env"]
    actors: Float[Array, " env"]
    obstacles: Float[Array, " env"]
    comfort: Float[Array, " env"]
    progress: Float[Array, " env"]


SCALES = CostScales()


def rollout_costs(
    simulator: Simulator, state: State, actions: Float[Array, "step env 2"], scales: CostScales = SCALES
) -> Costs:
    """Costs of driving on from a state by state-only steps that no event ends and nothing resets.

    Differentiable in ``actions``, in the state, and in every array of the simulator's world: the gradient in
    ``world.traffic.centre`` and ``.heading`` says where actors would hurt more. Limits are hard: an action beyond one
    has no gradient. Adversaries act, and the gradient in ``state.cast.plan.parameters`` says what they would have to do
    to hurt more; when they begin jumps, and has none.

    Args:
        simulator: world and limits; with challenges where the state has a cast.
        state: of the environments.
        actions: accelerations (m/s2) and steering angles (rad).
        scales: where costs begin.

    Raises:
        ValueError: if the simulator's actions are anchors, which have no derivative.
    """
    if simulator.config.action != "continuous":
        raise ValueError(
            f"SimulatorConfig.action is {simulator.config.action!r}; costs are differentiable in 'continuous' actions"
        )
    world, limits = simulator.world, simulator.config.limits
    wheelbase = world.vehicle.wheelbase[state.scene]

    def body(state: State, action: Array) -> tuple[State, Costs]:
        vehicle = step(state.vehicle, action[:, 0], action[:, 1], world.dt, wheelbase, limits)
        cast = simulator.next_cast(state)
        state = dataclasses.replace(state, vehicle=vehicle, elapsed=state.elapsed + 1, cast=cast)
        moment = simulator.moment(state)
        progress = state.route - moment.projection.arc
        state = dataclasses.replace(state, route=moment.projection.arc)
        return state, _costs_at(world, moment, progress, scales)

    _, costs = jax.lax.scan(body, state, actions)
    return jax.tree.map(lambda values: jnp.sum(values, axis=0), costs)


def _costs_at(world: World, moment: Moment, progress: Array, scales: CostScales) -> Costs:
    vehicle, scene = moment.vehicle, moment.scene
    shape, actors = world.vehicle.at(scene), actors_at(world.traffic, scene, moment.frame, moment.cast)
    ego = shape.box(vehicle)
    one = Boxes(ego.centre[:, None], ego.heading[:, None], ego.length[:, None], ego.width[:, None])
    nearness = jnp.where(actors.valid, _soft(axis_gap(one, actors.boxes), scales), 0.0)
    clearance = jnp.min(obstacle_clearance(vehicle, world.probes, world.obstacles, scene), axis=-1)
    lateral = vehicle.speed * yaw_rate(vehicle, shape.wheelbase)
    return Costs(
        path=moment.projection.distance**2,
        heading=1 - jnp.cos(heading_error(world, moment)),
        actors=jnp.sum(nearness, axis=-1),
        obstacles=_soft(clearance, scales),
        comfort=vehicle.acceleration**2 + lateral**2,
        progress=progress,
    )


def _soft(gap: Array, scales: CostScales) -> Array:
    return scales.softness * jax.nn.softplus((scales.margin - gap) / scales.softness)
