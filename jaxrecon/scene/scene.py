"""The scene graph: a static background, one rigid set of Gaussians per actor, and a sky at infinity.

All sets lie in one arena. ``group`` says which rigid body a slot belongs to: 0 is the static world, a is actor a - 1,
whose Gaussians live in its box frame and are posed when drawn (``G_world = R_t G_local + S_t``, Street Gaussians).
"""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrecon.scene.gaussians import Gaussians


@flax.struct.dataclass
class Scene:
    """A world that can be drawn.

    Attributes:
        gaussians: the arena of all slots.
        group: rigid body of each slot: 0 static, a for actor a - 1.
        sky: colour in [0, 1] by direction: rows from the zenith to the nadir, columns by azimuth from -pi to pi.
        actor_sizes: (length, width, height) in metres of each actor's box.
    """

    gaussians: Gaussians
    group: Int[Array, " n"]
    sky: Float[Array, "row column 3"]
    actor_sizes: Float[Array, "actor 3"]

    @property
    def actors(self) -> int:
        """How many actors the scene has."""
        return self.actor_sizes.shape[0]


def sky_colour(sky: Float[Array, "row column 3"], directions: Float[Array, "*b 3"]) -> Float[Array, "*b 3"]:
    """Bilinear look-up of the sky in world directions (any norm but zero); azimuth wraps around."""
    return _blend(sky, sky.shape[0], jnp.int32(0), directions)


def sky_colours(
    skies: Float[Array, "scene row column 3"], scene: Int[Array, "*b"], directions: Float[Array, "*b height width 3"]
) -> Float[Array, "*b height width 3"]:
    """The same for images, each under the sky of its scene."""
    rows, columns = skies.shape[1:3]
    return _blend(skies.reshape(-1, columns, 3), rows, rows * scene[..., None, None], directions)


def _blend(skies: Array, rows: int, first: Array, directions: Array) -> Array:
    """Of the sky whose rows begin at ``first``."""
    columns = skies.shape[1]
    x, y, z = directions[..., 0], directions[..., 1], directions[..., 2]
    horizontal = jnp.sqrt(jnp.maximum(x * x + y * y, 1e-12))
    row = (0.5 - jnp.arctan2(z, horizontal) / jnp.pi) * (rows - 1)
    # Straight up or down there is no azimuth, and its gradient would be 0 / 0.
    azimuth = jnp.arctan2(y, jnp.where(x * x + y * y > 1e-12, x, 1.0))
    column = (azimuth / (2 * jnp.pi) + 0.5) * columns - 0.5
    row0 = jnp.clip(jnp.floor(row), 0, rows - 2)
    column0 = jnp.floor(column)
    fr, fc = (row - row0)[..., None], (column - column0)[..., None]
    r0 = first + row0.astype(jnp.int32)
    c0 = jnp.mod(column0.astype(jnp.int32), columns)
    c1 = jnp.mod(c0 + 1, columns)
    upper = skies[r0, c0] * (1 - fc) + skies[r0, c1] * fc
    lower = skies[r0 + 1, c0] * (1 - fc) + skies[r0 + 1, c1] * fc
    return upper * (1 - fr) + lower * fr
