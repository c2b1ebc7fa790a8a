"""RAD's decoupled action anchors: 61 lateral x 61 longitudinal displacements over half a second.

An anchor pair names the point (longitudinal ahead, lateral to the left) where the rear axle would be half a second
from now, in its frame of now. One step of the motion towards it is driven: constant steering on the arc through the
point, tangent to the heading, and constant acceleration that covers the arc in that time.

Source: RAD (arXiv 2502.13144), decoupled action space.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.dynamics.bicycle import DEFAULT_LIMITS, Length, VehicleLimits, VehicleState, travel

HORIZON = 0.5  # seconds
LATERAL = np.linspace(-0.75, 0.75, 61, dtype=np.float32)  # metres, left positive
LONGITUDINAL = np.linspace(0.0, 15.0, 61, dtype=np.float32)  # metres
LATERAL_SPACING = 0.025
LONGITUDINAL_SPACING = 0.25


def feasible(
    speed: Float[Array, "*b"], wheelbase: Length = 2.765, limits: VehicleLimits = DEFAULT_LIMITS
) -> tuple[Bool[Array, "*b 61"], Bool[Array, "*b 61"]]:
    """Anchors that the car can reach, to within half an anchor's spacing.

    Longitudinal: between full braking and full acceleration, and always the anchor nearest to holding the speed.
    Lateral: by full steering over the longest feasible distance, and always straight ahead. Neither is ever all False.

    Args:
        speed: m/s.
        wheelbase: metres.
        limits: what the car can do.

    Returns:
        Lateral and longitudinal mask.
    """
    speed = jnp.clip(speed, 0.0, limits.speed)
    shortest, _ = travel(speed, jnp.full_like(speed, -limits.braking), HORIZON, limits.speed)
    longest, _ = travel(speed, jnp.full_like(speed, limits.acceleration), HORIZON, limits.speed)
    reach = LONGITUDINAL_SPACING / 2 + 1e-4
    anchors = jnp.asarray(LONGITUDINAL)
    longitudinal = (anchors >= shortest[..., None] - reach) & (anchors <= longest[..., None] + reach)
    holding = jnp.clip(jnp.round(speed * HORIZON / LONGITUDINAL_SPACING), 0, 60)
    longitudinal = longitudinal | (jnp.arange(61) == holding[..., None])
    turned = jnp.minimum(longest * float(np.tan(limits.steering)) / wheelbase, np.pi / 2)
    farthest = longest * jnp.sin(turned / 2) * jnp.sinc(turned / (2 * np.pi))
    lateral = jnp.abs(jnp.asarray(LATERAL)) <= farthest[..., None] + LATERAL_SPACING / 2
    return lateral, longitudinal


def to_control(
    lateral_index: Int[Array, "*b"],
    longitudinal_index: Int[Array, "*b"],
    state: VehicleState,
    wheelbase: Length = 2.765,
    limits: VehicleLimits = DEFAULT_LIMITS,
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Acceleration (m/s2) and steering (radians) that head for an anchor pair, within the limits."""
    lateral, longitudinal = jnp.asarray(LATERAL)[lateral_index], jnp.asarray(LONGITUDINAL)[longitudinal_index]
    return aim(lateral, longitudinal, state, wheelbase, limits)


def aim(
    lateral: Float[Array, "*b"],
    longitudinal: Float[Array, "*b"],
    state: VehicleState,
    wheelbase: Length = 2.765,
    limits: VehicleLimits = DEFAULT_LIMITS,
    horizon: Float[Array, ""] | float = HORIZON,
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Acceleration (m/s2) and steering (radians) that head for a point a horizon away, within the limits.

    The arc tangent to the heading through (x, y) has curvature 2 y / (x^2 + y^2) (pure pursuit). The acceleration
    covers the arc in the horizon; where that needs a stop before it, braking ends where the arc does. The wheels stay
    straight for a point on the rear axle itself.

    Args:
        lateral: metres to the left of the rear axle.
        longitudinal: metres ahead of it; behind counts as a stop.
        state: of the car.
        wheelbase: metres.
        limits: what the car can do.
        horizon: when to be there, seconds from now.
    """
    x, y = jnp.maximum(longitudinal, 0.0), lateral
    squared = x * x + y * y
    apart = squared > 1e-6
    bend = jnp.where(apart, 2 * y / jnp.where(apart, squared, 1.0), 0.0)
    half_angle = jnp.where(apart, jnp.arctan2(y, jnp.where(apart, x, 1.0)), 0.0)
    # A point straight to the side would need a half circle: the wheels turn, the car does not move.
    chord = jnp.sqrt(jnp.where(apart, squared, 1.0))
    distance = jnp.where((x > 0) & apart, chord / jnp.sinc(half_angle / jnp.pi), 0.0)
    through = 2 * (distance - state.speed * horizon) / horizon**2
    stopping = -(state.speed**2) / (2 * jnp.maximum(distance, 1e-3))
    acceleration = jnp.where(distance < 0.5 * state.speed * horizon, stopping, through)
    steering = jnp.arctan(wheelbase * bend)
    return (
        jnp.clip(acceleration, -limits.braking, limits.acceleration),
        jnp.clip(steering, -limits.steering, limits.steering),
    )


def nearest(
    lateral: Float[Array, "*b"],
    longitudinal: Float[Array, "*b"],
    speed: Float[Array, "*b"],
    wheelbase: Length = 2.765,
    limits: VehicleLimits = DEFAULT_LIMITS,
) -> tuple[Int[Array, "*b"], Int[Array, "*b"]]:
    """Indices of the feasible anchors nearest to a displacement over the horizon: labels for imitation.

    Args:
        lateral: metres to the left, in the rear axle's frame at the start.
        longitudinal: metres ahead, in the same frame.
        speed: at the start, m/s.
        wheelbase: metres.
        limits: what the car can do.

    Returns:
        Lateral and longitudinal index, int32.
    """
    lateral_mask, longitudinal_mask = feasible(speed, wheelbase, limits)
    lateral_gap = jnp.abs(jnp.asarray(LATERAL) - lateral[..., None])
    longitudinal_gap = jnp.abs(jnp.asarray(LONGITUDINAL) - longitudinal[..., None])
    return (
        jnp.argmin(jnp.where(lateral_mask, lateral_gap, jnp.inf), axis=-1).astype(jnp.int32),
        jnp.argmin(jnp.where(longitudinal_mask, longitudinal_gap, jnp.inf), axis=-1).astype(jnp.int32),
    )
