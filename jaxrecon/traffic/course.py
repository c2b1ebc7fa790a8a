"""The expert's paths as curves that are cheap to follow: even samples, arc length along, offset to the left."""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

SPACING = 1.0  # metres of arc length between samples


@flax.struct.dataclass
class Course:
    """Paths of several scenes, sampled every ``SPACING`` metres and padded by repeating the last.

    Attributes:
        samples: (scene, sample, 4) world x, y, z (metres) and direction (radians, unwrapped along the path).
    """

    samples: Float[Array, "scene sample 4"]

    def at(
        self, scene: Int[Array, "*b"], arc: Float[Array, "*b"]
    ) -> tuple[Float[Array, "*b 2"], Float[Array, "*b"], Float[Array, "*b"]]:
        """Point (metres), direction (radians) and height (world z, metres) at an arc length, clamped to the ends."""
        place = jnp.clip(arc / SPACING, 0.0, self.samples.shape[1] - 1.001)
        low = place.astype(jnp.int32)
        share = (place - low)[..., None]
        found = self.samples[scene, low] * (1 - share) + self.samples[scene, low + 1] * share
        return found[..., :2], found[..., 3], found[..., 2]

    def beside(
        self, scene: Int[Array, "*b"], arc: Float[Array, "*b"], lateral: Float[Array, "*b"]
    ) -> Float[Array, "*b 2"]:
        """World point so many metres to the left of an arc length."""
        point, direction, _ = self.at(scene, arc)
        return point + lateral[..., None] * _left(direction)

    def follow(
        self, scene: Int[Array, "*b"], point: Float[Array, "*b 2"], near: Float[Array, "*b"]
    ) -> tuple[Float[Array, "*b"], Float[Array, "*b"], Float[Array, "*b"]]:
        """Arc length and offset to the left (metres) of a point, and the path's direction there.

        Two Newton steps from an arc length that was right a moment ago: exact where the path is straight, and within
        millimetres for points some metres beside a bend that a car can drive.

        Args:
            scene: of each point.
            point: world, metres.
            near: arc length to begin at, metres.
        """
        arc = near
        for _ in range(2):
            here, direction, _ = self.at(scene, arc)
            arc = arc + _dot(point - here, _along(direction))
        here, direction, _ = self.at(scene, arc)
        return arc, _dot(point - here, _left(direction)), direction

    def nearest(
        self, scene: Int[Array, "*b"], point: Float[Array, "*b 2"]
    ) -> tuple[Float[Array, "*b"], Float[Array, "*b"], Float[Array, "*b"]]:
        """The same of points anywhere, by looking at every sample."""
        away = self.samples[scene][..., :2] - point[..., None, :]
        best = jnp.argmin(jnp.sum(away * away, axis=-1), axis=-1)
        return self.follow(scene, point, SPACING * best.astype(jnp.float32))


def make_course(points: Float[Array, "scene sample 3"]) -> Course:
    """A course through points that lie ``SPACING`` apart along each path."""
    step = jnp.diff(points[..., :2], axis=1)
    step = jnp.concatenate([step, step[:, -1:]], axis=1)
    # Repeated points at the end of shorter paths keep the last direction.
    moves = jnp.sum(step * step, axis=-1) > 1e-6
    last = jnp.maximum(jnp.sum(moves, axis=1, keepdims=True) - 1, 0)
    index = jnp.minimum(jnp.arange(step.shape[1]), last)
    step = jnp.take_along_axis(step, index[..., None], axis=1)
    direction = jnp.unwrap(jnp.arctan2(step[..., 1], step[..., 0]), axis=1)
    return Course(jnp.concatenate([points, direction[..., None]], axis=-1))


def _along(direction: Array) -> Array:
    return jnp.stack([jnp.cos(direction), jnp.sin(direction)], axis=-1)


def _left(direction: Array) -> Array:
    return jnp.stack([-jnp.sin(direction), jnp.cos(direction)], axis=-1)


def _dot(first: Array, second: Array) -> Array:
    return first[..., 0] * second[..., 0] + first[..., 1] * second[..., 1]
