"""The kinematic bicycle, integrated exactly along its arcs, and its inverse."""

import dataclasses
import math

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.geometry.transforms import wrap_angle


@flax.struct.dataclass
class VehicleState:
    """Planar state of a car at the middle of its rear axle; every field has the same batch dimensions.

    Attributes:
        position: (*b, 2) world x, y, metres.
        yaw: (*b,) heading, radians, in [-pi, pi).
        speed: (*b,) m/s, never negative.
        acceleration: (*b,) change of speed over the last step, m/s2.
        steering: (*b,) angle of the front wheels, radians, left positive.
    """

    position: Float[Array, "*b 2"]
    yaw: Float[Array, " *b"]
    speed: Float[Array, " *b"]
    acceleration: Float[Array, " *b"]
    steering: Float[Array, " *b"]


@dataclasses.dataclass(frozen=True)
class VehicleLimits:
    """What the car can do.

    Attributes:
        steering: largest angle of the front wheels, radians.
        speed: m/s.
        acceleration: m/s2.
        braking: largest deceleration, m/s2, positive.
        steering_rate: radians per second of the front wheels; infinite lets them jump.
    """

    steering: float = math.radians(49.0)
    speed: float = 32.0
    acceleration: float = 6.0
    braking: float = 8.0
    steering_rate: float = 1.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"VehicleLimits.{field.name} is {value}; expected a positive number")
        if self.steering >= math.pi / 2:
            raise ValueError(f"VehicleLimits.steering is {self.steering} rad; expected less than pi/2")


DEFAULT_LIMITS = VehicleLimits()
Length = Float[Array, "*#b"] | float  # metres, of one car or one a batch entry


def curvature(steering: Float[Array, "*b"], wheelbase: Length) -> Float[Array, "*b"]:
    """Curvature of the rear axle's path (1/m, left positive) at a steering angle (radians)."""
    return jnp.tan(steering) / wheelbase


def yaw_rate(state: VehicleState, wheelbase: Length) -> Float[Array, "*b"]:
    """Rate of turn, rad/s, left positive."""
    return state.speed * curvature(state.steering, wheelbase)


def travel(
    speed: Float[Array, "*b"], acceleration: Float[Array, "*b"], seconds: float, top_speed: float
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Distance (m) covered and speed (m/s) reached under constant acceleration that ends at rest or at top speed.

    Args:
        speed: at the start, in [0, ``top_speed``].
        acceleration: m/s2; braking acts until the car stands, never backwards.
        seconds: duration.
        top_speed: m/s.
    """
    bound = jnp.where(acceleration < 0, 0.0, top_speed)
    changing = jnp.abs(acceleration) > 1e-6
    until_bound = (bound - speed) / jnp.where(changing, acceleration, 1.0)
    hits = changing & (until_bound < seconds)
    moving = jnp.where(hits, until_bound, seconds)
    reached = jnp.where(hits, bound, jnp.clip(speed + acceleration * seconds, 0.0, top_speed))
    distance = speed * moving + 0.5 * acceleration * moving**2 + bound * (seconds - moving)
    return jnp.maximum(distance, 0.0), reached


def step(
    state: VehicleState,
    acceleration: Float[Array, "*b"],
    steering: Float[Array, "*b"],
    dt: float,
    wheelbase: Length,
    limits: VehicleLimits = DEFAULT_LIMITS,
) -> VehicleState:
    """Drive for one step with constant acceleration and steering.

    The paper's equations (P' = P + v dt d, theta' = theta + v/L tan(delta) dt) are those of a path whose curvature
    tan(delta)/L is constant over the step, whatever the speed does: an arc, which is followed exactly. That is cheaper
    than any solver's stage and has no error to control.

    Args:
        state: before the step.
        acceleration: wanted, m/s2; clipped to the limits.
        steering: wanted angle of the front wheels, radians; clipped to the limits and to their rate.
        dt: duration of the step, seconds.
        wheelbase: metres.
        limits: what the car can do.

    Returns:
        The state after the step; its acceleration is the change of speed that came about.

    Source: ReconDreamer-RL (arXiv 2508.08170), vehicle kinematics.
    """
    turn = limits.steering_rate * dt
    steering = jnp.clip(steering, state.steering - turn, state.steering + turn)
    steering = jnp.clip(steering, -limits.steering, limits.steering)
    acceleration = jnp.clip(acceleration, -limits.braking, limits.acceleration)
    distance, speed = travel(state.speed, acceleration, dt, limits.speed)
    turned = distance * curvature(steering, wheelbase)
    middle = state.yaw + 0.5 * turned
    chord = distance * jnp.sinc(turned / (2 * jnp.pi))
    direction = jnp.stack([jnp.cos(middle), jnp.sin(middle)], axis=-1)
    return VehicleState(
        position=state.position + chord[..., None] * direction,
        yaw=wrap_angle(state.yaw + turned),
        speed=speed,
        acceleration=(speed - state.speed) / dt,
        steering=steering,
    )


def inverse(
    position: Float[Array, "*b step 2"],
    yaw: Float[Array, "*b step"],
    initial_speed: Float[Array, "*b"],
    dt: float,
    wheelbase: float,
) -> tuple[Float[Array, "*b control"], Float[Array, "*b control"]]:
    """Controls that drive the bicycle through recorded rear-axle poses: the inverse of ``step`` without limits.

    Each pair of poses gives the arc's length (chord over sinc of half the turn) and curvature; speeds follow from
    ``distance = (v + v') dt / 2``. An error of ``initial_speed`` therefore alternates in sign along the drive, so give
    the true one. A step shorter than 1 cm keeps the wheels straight.

    Args:
        position: rear axle, world, metres.
        yaw: heading, radians.
        initial_speed: at the first pose, m/s.
        dt: seconds between poses.
        wheelbase: metres.

    Returns:
        Acceleration (m/s2) and steering (radians), one fewer than poses.
    """
    turned = wrap_angle(jnp.diff(yaw, axis=-1))
    chord = jnp.linalg.norm(jnp.diff(position, axis=-2), axis=-1)
    distance = chord / jnp.sinc(turned / (2 * jnp.pi))
    moved = distance > 0.01
    steering = jnp.arctan(jnp.where(moved, wheelbase * turned / jnp.where(moved, distance, 1.0), 0.0))
    # v_k = (-1)^k (v_0 + sum_j<k (-1)^(j+1) 2 d_j / dt), the closed form of v_(k+1) = 2 d_k / dt - v_k.
    sign = jnp.where(jnp.arange(distance.shape[-1] + 1) % 2 == 0, 1.0, -1.0)
    sums = jnp.cumsum(sign[1:] * 2 * distance / dt, axis=-1)
    before = jnp.concatenate([jnp.zeros_like(sums[..., :1]), sums], axis=-1)
    speed = sign * (initial_speed[..., None] + before)
    return jnp.diff(speed, axis=-1) / dt, steering
