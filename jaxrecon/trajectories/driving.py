"""Plans driven by the kinematic bicycle: what it does is the cousin, and what it takes are the cousin's actions."""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.dynamics import VehicleLimits, VehicleState, recover
from jaxrecon.geometry.transforms import wrap_angle
from jaxrecon.trajectories.families import Plan

PREVIEW = 2  # steps ahead of which a place is aimed at
LEAST = 0.1  # metres by which it must lie ahead for the wheels to be turned to it


@flax.struct.dataclass
class Driven:
    """Cousins as the bicycle drives them.

    Attributes:
        vehicle: fields (cousin, step, ...).
        acceleration: (cousin, action) m/s2, one action fewer than steps.
        steering: (cousin, action) radians.
        error: (cousin, step) metres from where the plan wanted it.
    """

    vehicle: VehicleState
    acceleration: Float[Array, "cousin action"]
    steering: Float[Array, "cousin action"]
    error: Float[Array, "cousin step"]


def places(plan: Plan) -> Float[Array, "step 2"]:
    """World points, metres, of one plan's rear axle."""
    return plan.curve.beside(plan.arc, plan.lateral)


def first_state(plan: Plan, dt: float | Array, wheelbase: Float[Array, ""]) -> VehicleState:
    """The car at the first step of one plan: on the tangent of its way, with the wheels turned for its curvature."""
    point = plan.curve.beside(plan.arc[0], plan.lateral[0])
    _, heading, bend = plan.curve.at(plan.arc[0])
    shrunk = jnp.maximum(1 - bend * plan.lateral[0], 0.2)
    travelled = plan.arc[1] - plan.arc[0]
    change = (2 * travelled / dt - 2 * plan.speed) / dt  # by the trapezoids of which the arc is the sum
    return VehicleState(
        position=point,
        yaw=wrap_angle(heading + jnp.arctan2(plan.slope, shrunk)),
        speed=plan.speed * jnp.hypot(shrunk, plan.slope),
        acceleration=change,
        steering=jnp.arctan(wheelbase * bend / shrunk),
    )


def drive(
    target: Float[Array, "cousin step 2"],
    start: VehicleState,
    dt: float,
    wheelbase: Float[Array, ""],
    limits: VehicleLimits,
) -> Driven:
    """Inverse dynamics of plans: the actions that keep the bicycle on them, and the states that they lead to.

    By ``dynamics.recover``: each action heads for the place ``PREVIEW`` steps on, so that errors die out.

    Args:
        target: where to be, world, metres.
        start: fields (cousin, ...).
        dt: seconds a step.
        wheelbase: metres.
        limits: what the car can do.
    """
    places = jnp.moveaxis(target, 1, 0)
    acceleration, steering, after = recover(places, start, dt, wheelbase, limits, PREVIEW, LEAST)
    vehicle = jax.tree.map(
        lambda first, rest: jnp.concatenate([first[:, None], jnp.moveaxis(rest, 0, 1)], axis=1), start, after
    )
    error = jnp.linalg.norm(vehicle.position - target, axis=-1)
    return Driven(vehicle, acceleration.T, steering.T, error)
