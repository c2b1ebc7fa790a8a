"""From what an agent does to what the pedals and the wheel do."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from jaxrecon.dynamics import VehicleState, to_control
from jaxrecon.simulator.config import SimulatorConfig


def decode(
    action: Shaped[Array, "env 2"], vehicle: VehicleState, wheelbase: Float[Array, " env"], config: SimulatorConfig
) -> tuple[Float[Array, " env"], Float[Array, " env"], Bool[Array, " env"]]:
    """Acceleration (m/s2) and steering (rad) of an action, and whether it had to be corrected.

    Indices outside the anchors go to the nearest, infinities to the car's limits, and what is not a number is zero.

    Raises:
        ValueError: if the action's type is not that of the configured kind.
    """
    integer = jnp.issubdtype(action.dtype, jnp.integer)
    if integer != (config.action == "anchors"):
        expected = "integer anchor indices" if config.action == "anchors" else "floating-point values"
        raise ValueError(f"action has dtype {action.dtype} but SimulatorConfig.action is {config.action!r}: {expected}")
    if integer:
        within = jnp.clip(action, 0, 60)
        controls = to_control(within[:, 0], within[:, 1], vehicle, wheelbase, config.limits)
        return *controls, jnp.any(within != action, axis=-1)
    limits, finite = config.limits, jnp.isfinite(action)
    low = jnp.asarray([-limits.braking, -limits.steering])
    high = jnp.asarray([limits.acceleration, limits.steering])
    bounded = jnp.where(jnp.isnan(action), 0.0, jnp.clip(action, low, high))
    within = jnp.where(finite, action, bounded)  # what is finite is limited by the car, so that gradients see it once
    return within[:, 0], within[:, 1], ~jnp.all(finite, axis=-1)
