"""Actions that repeat a recorded drive: the inverse of the bicycle where the record carries noise."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.dynamics.anchors import aim
from jaxrecon.dynamics.bicycle import DEFAULT_LIMITS, Length, VehicleLimits, VehicleState, step
from jaxrecon.geometry.transforms import in_frame

PREVIEW = 2  # frames ahead of which a place is aimed at


def recover(
    position: Float[Array, "frame *b 2"],
    start: VehicleState,
    dt: float,
    wheelbase: Length,
    limits: VehicleLimits = DEFAULT_LIMITS,
    preview: int = PREVIEW,
    least: float = -jnp.inf,
) -> tuple[Float[Array, " action *b"], Float[Array, " action *b"], VehicleState]:
    """Accelerations and steering angles whose replay stays on recorded positions.

    ``inverse`` is exact for drives of a bicycle and lets the noise of any other swing up: each error of a speed comes
    back with the opposite sign. Here each action heads for the place a few frames on from where the car by then is,
    as ``aim`` does, so that errors die out within those frames, and the limits hold.

    Args:
        position: recorded rear axle, world, metres.
        start: at the first frame.
        dt: seconds between frames.
        wheelbase: metres.
        limits: what the car can do.
        preview: frames ahead of the place that an action heads for, fewer at the end; 1 answers to every error at once.
        least: metres by which that place must lie ahead for the wheels to be turned to it; they stay as they are
            otherwise, as for a car that stands, instead of turning to rounding errors.

    Returns:
        Acceleration (m/s2) and steering (radians), one fewer than frames, and the states that they lead to.

    Raises:
        ValueError: if there are fewer than two frames, or preview is less than one.
    """
    frames = position.shape[0]
    if frames < 2 or preview < 1:
        raise ValueError(f"recover got {frames} frames and preview {preview}; expected at least 2 and 1")
    now = jnp.arange(frames - 1)
    later = jnp.minimum(now + preview, frames - 1)

    def body(vehicle: VehicleState, aimed: tuple) -> tuple[VehicleState, tuple[Array, Array, VehicleState]]:
        place, horizon = aimed
        ahead, left = in_frame(place - vehicle.position, vehicle.yaw)
        acceleration, steering = aim(left, ahead, vehicle, wheelbase, limits, horizon)
        steering = jnp.where(ahead > least, steering, vehicle.steering)
        after = step(vehicle, acceleration, steering, dt, wheelbase, limits)
        return after, (acceleration, steering, after)

    return jax.lax.scan(body, start, (position[later], (later - now) * dt))[1]
