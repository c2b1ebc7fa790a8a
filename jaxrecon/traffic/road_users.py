"""How other road users move: the kinematic bicycle with limits of its own for cars, walkers and cyclists."""

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.geometry.transforms import in_frame, wrap_angle
from jaxrecon.logs.driving_log import CATEGORIES, CYCLIST, PEDESTRIAN

# Of a road user's length (of its own for walkers, who turn on the spot): between the axles, and from the rear axle to
# the box's centre.
WHEELBASE, CENTRE_AHEAD = 0.58, 0.28
_MOTOR = (5.0, 8.5, 0.65, 1.2, 6.0, 25.0)
_TABLE = {
    PEDESTRIAN: (4.0, 6.0, 1.3, 25.0, 9.0, 4.0),
    CYCLIST: (3.0, 5.0, 0.8, 3.0, 5.0, 9.0),
}


@flax.struct.dataclass
class Limits:
    """What road users can do; every field has their batch dimensions.

    Attributes:
        wheelbase: metres.
        centre_ahead: from the rear axle to the box's centre, metres.
        acceleration: m/s2.
        braking: m/s2, positive.
        steering: largest angle, radians.
        steering_rate: radians per second.
        lateral: largest lateral acceleration, m/s2.
        speed: m/s.
    """

    wheelbase: Float[Array, " *b"]
    centre_ahead: Float[Array, " *b"]
    acceleration: Float[Array, " *b"]
    braking: Float[Array, " *b"]
    steering: Float[Array, " *b"]
    steering_rate: Float[Array, " *b"]
    lateral: Float[Array, " *b"]
    speed: Float[Array, " *b"]


@flax.struct.dataclass
class RoadUser:
    """Planar state at the middle of the rear axle; every field has the same batch dimensions.

    Attributes:
        position: (*b, 2) world, metres.
        yaw: radians.
        speed: m/s, never negative.
        steering: radians, left positive.
    """

    position: Float[Array, "*b 2"]
    yaw: Float[Array, " *b"]
    speed: Float[Array, " *b"]
    steering: Float[Array, " *b"]

    def centre(self, limits: Limits) -> Float[Array, "*b 2"]:
        """Of its box, world, metres."""
        return self.position + limits.centre_ahead[..., None] * _forward(self.yaw)


def limits_of(category: Int[Array, "*b"], sizes: Float[Array, "*b 3"]) -> Limits:
    """What road users of these categories (indices into ``CATEGORIES``) and sizes (metres) can do."""
    rows = jnp.asarray(np.array([_TABLE.get(name, _MOTOR) for name in CATEGORIES], np.float32))
    row, length = rows[category], sizes[..., 0]
    walks = category == CATEGORIES.index(PEDESTRIAN)
    return Limits(
        wheelbase=jnp.where(walks, 0.3, WHEELBASE * length),
        centre_ahead=jnp.where(walks, 0.0, CENTRE_AHEAD * length),
        acceleration=row[..., 0],
        braking=row[..., 1],
        steering=row[..., 2],
        steering_rate=row[..., 3],
        lateral=row[..., 4],
        speed=row[..., 5],
    )


def standing_at(
    centre: Float[Array, "*b 2"], yaw: Float[Array, "*b"], speed: Float[Array, "*b"], limits: Limits
) -> RoadUser:
    """The road user whose box is centred there, its wheels straight."""
    position = centre - limits.centre_ahead[..., None] * _forward(yaw)
    return RoadUser(position, yaw, jnp.minimum(speed, limits.speed), jnp.zeros_like(yaw))


def head_for(user: RoadUser, point: Float[Array, "*b 2"], limits: Limits) -> Float[Array, "*b"]:
    """Steering (radians) onto the arc that is tangent to the heading and meets a world point: pure pursuit."""
    x, y = in_frame(point - user.position, user.yaw)
    # What lies behind is turned to with full lock.
    y = jnp.where(x < 0, jnp.sign(y) * jnp.maximum(jnp.abs(y), jnp.abs(x)), y)
    bend = 2 * y / jnp.maximum(x * x + y * y, 0.01)
    return jnp.arctan(limits.wheelbase * bend)


def move(
    user: RoadUser, acceleration: Float[Array, "*b"], steering: Float[Array, "*b"], dt: float, limits: Limits
) -> RoadUser:
    """Drive or walk for one step with constant acceleration and steering, within the limits.

    The same arcs as ``dynamics.step``, with limits that differ from one road user to the next and a bound on the
    lateral acceleration, which holds back the steering.
    """
    grip = jnp.arctan(limits.wheelbase * limits.lateral / jnp.maximum(user.speed, 0.5) ** 2)
    most, turn = jnp.minimum(limits.steering, grip), limits.steering_rate * dt
    steering = jnp.clip(jnp.clip(steering, -most, most), user.steering - turn, user.steering + turn)
    acceleration = jnp.clip(acceleration, -limits.braking, limits.acceleration)
    reached = jnp.clip(user.speed + acceleration * dt, 0.0, limits.speed)
    distance = 0.5 * (user.speed + reached) * dt
    turned = distance * jnp.tan(steering) / limits.wheelbase
    middle = user.yaw + 0.5 * turned
    chord = distance * jnp.sinc(turned / (2 * jnp.pi))
    return RoadUser(
        position=user.position + chord[..., None] * _forward(middle),
        yaw=wrap_angle(user.yaw + turned),
        speed=reached,
        steering=steering,
    )


def _forward(yaw: Array) -> Array:
    return jnp.stack([jnp.cos(yaw), jnp.sin(yaw)], axis=-1)
