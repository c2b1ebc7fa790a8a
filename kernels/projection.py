"""From Gaussians in three dimensions to splats on an image: EWA projection as gsplat 1.5.3 defines it."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.kernels.arena import Arena, Views
from jaxrecon.kernels.components import components
from jaxrecon.kernels.harmonics import harmonics_colour
from jaxrecon.kernels.raster import BLUR, FAR, MAXIMUM_EXTENT, MINIMUM_ALPHA, MINIMUM_COMPENSATION, NEAR


@flax.struct.dataclass
class Splats:
    """Gaussians as a camera sees them.

    Attributes:
        mean: centre on the image, pixels.
        conic: upper triangle (xx, xy, yy) of the inverse of the projected covariance, per square pixel.
        depth: z in the camera frame, metres.
        opacity: as given; with antialiasing, less where the blur widened a splat.
        colour: seen from this camera.
        extent: half width and height, pixels, of the box outside of which alpha stays below 1/255.
        visible: inside the depth range, opaque enough, touching the image, and all numbers finite.
    """

    mean: Float[Array, "camera n 2"]
    conic: Float[Array, "camera n 3"]
    depth: Float[Array, "camera n"]
    opacity: Float[Array, "camera n"]
    colour: Float[Array, "camera n 3"]
    extent: Float[Array, "camera n 2"]
    visible: Bool[Array, "camera n"]


def covariance_terms(quaternions: Float[Array, "*n 4"], scales: Float[Array, "*n 3"]) -> tuple[Array, ...]:
    """The six distinct entries (xx, xy, xz, yy, yz, zz) of each covariance R diag(s)^2 R^T."""
    parts = components(quaternions)
    norm = jnp.sqrt(jnp.maximum(sum(part * part for part in parts), 1e-20))
    w, x, y, z = (part / norm for part in parts)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    lengths = components(scales)
    axes = [[entry * length for entry, length in zip(row, lengths, strict=True)] for row in rows]
    return tuple(
        axes[i][0] * axes[j][0] + axes[i][1] * axes[j][1] + axes[i][2] * axes[j][2]
        for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    )


def project(arena: Arena, views: Views, drawn: Bool[Array, "camera n"] | None, antialiased: bool = False) -> Splats:
    """Project every Gaussian, posed by its group, into every camera.

    Splats that are not visible hold finite values, so that gradients stay finite whatever is culled.

    Args:
        arena: Gaussians; its leaves may carry a leading camera axis, when each camera has its own.
        views: cameras and poses.
        drawn: Gaussians that a camera draws at all; None: every one.
        antialiased: scale opacities so that the blur leaves a splat's integral unchanged (Mip-Splatting, equation 9,
            as gsplat's antialiased mode does).

    Source: Zwicker et al., EWA volume splatting, 2001; limits and constants of gsplat 1.5.3.
    """
    width, height = views.width, views.height
    rows, present = _posed(arena, views)
    entries = components(rows)
    pose = [entries[4 * i : 4 * i + 4] for i in range(3)]
    mx, my, mz = components(arena.means)
    x, y, z = (row[0] * mx + row[1] * my + row[2] * mz + row[3] for row in pose)
    inside = (z > NEAR) & (z < FAR) & present & (arena.opacities >= MINIMUM_ALPHA) & jnp.isfinite(arena.opacities)
    if drawn is not None:
        inside &= drawn
    z = jnp.where(inside, z, 1.0)

    fx, fy, cx, cy = (views.intrinsics[:, i, None] for i in range(4))
    margin_x, margin_y = 0.15 * width / fx, 0.15 * height / fy
    inverse_z = 1 / z
    tx = jnp.clip(x * inverse_z, -cx / fx - margin_x, (width - cx) / fx + margin_x)
    ty = jnp.clip(y * inverse_z, -cy / fy - margin_y, (height - cy) / fy + margin_y)
    jx, jy = fx * inverse_z, fy * inverse_z
    a = [jx * (pose[0][j] - tx * pose[2][j]) for j in range(3)]
    b = [jy * (pose[1][j] - ty * pose[2][j]) for j in range(3)]
    xx, xy, xz, yy, yz, zz = covariance_terms(arena.quaternions, arena.scales)
    pa = (xx * a[0] + xy * a[1] + xz * a[2], xy * a[0] + yy * a[1] + yz * a[2], xz * a[0] + yz * a[1] + zz * a[2])
    pb = (xx * b[0] + xy * b[1] + xz * b[2], xy * b[0] + yy * b[1] + yz * b[2], xz * b[0] + yz * b[1] + zz * b[2])
    sharp_uu = a[0] * pa[0] + a[1] * pa[1] + a[2] * pa[2]
    uv = b[0] * pa[0] + b[1] * pa[1] + b[2] * pa[2]
    sharp_vv = b[0] * pb[0] + b[1] * pb[1] + b[2] * pb[2]
    uu, vv = sharp_uu + BLUR, sharp_vv + BLUR
    determinant = uu * vv - uv * uv
    # A huge or degenerate Gaussian can lose its determinant to rounding; it is culled rather than inverted.
    inside = inside & (determinant > 0) & jnp.isfinite(determinant)
    inverse = 1 / jnp.where(inside, determinant, 1.0)
    conic = jnp.stack([vv * inverse, -uv * inverse, uu * inverse], axis=-1)
    conic = jnp.where(inside[..., None], conic, jnp.array([1.0, 0.0, 1.0], conic.dtype))
    opacity = jnp.broadcast_to(arena.opacities, inside.shape)
    if antialiased:
        ratio = jnp.where(inside, (sharp_uu * sharp_vv - uv * uv) * inverse, 1.0)
        # Below the floor the square root's slope has no bound; a splat that thin hides under the blur.
        opacity = opacity * jnp.sqrt(jnp.maximum(ratio, MINIMUM_COMPENSATION))
        inside &= opacity >= MINIMUM_ALPHA

    u, v = fx * x * inverse_z + cx, fy * y * inverse_z + cy
    mean = jnp.where(inside[..., None], jnp.stack([u, v], axis=-1), 0.0)
    extent = lax.stop_gradient(_extent(uu, vv, opacity))
    touches = (u + extent[..., 0] > 0) & (u - extent[..., 0] < width)
    touches = touches & (v + extent[..., 1] > 0) & (v - extent[..., 1] < height)
    colour = _colour(arena, views)
    finite = jnp.all(jnp.isfinite(mean), axis=-1) & jnp.all(jnp.isfinite(colour), axis=-1)
    visible = inside & touches & finite
    return Splats(
        mean=mean,
        conic=conic,
        depth=z,
        opacity=opacity,
        colour=jnp.where(visible[..., None], colour, 0.0),
        extent=jnp.where(inside[..., None], extent, 0.0),
        visible=visible,
    )


def _posed(arena: Arena, views: Views) -> tuple[Array, Array]:
    """Each Gaussian's pose in each camera as rows of twelve numbers, and whether its group is there."""
    rows = views.camera_from_group[:, :, :3].reshape(*views.camera_from_group.shape[:2], 12)
    # One group needs no look-up; several are looked up a whole pose at a time.
    if rows.shape[1] == 1:
        return rows, views.group_valid
    group = jnp.broadcast_to(arena.group, (views.count, arena.group.shape[-1]))
    posed = _of_group(rows, arena.group)
    return lax.optimization_barrier(posed), jnp.take_along_axis(views.group_valid, group, axis=1)


@jax.custom_vjp
def _of_group(values: Float[Array, "camera group k"], group: Int[Array, "*c n"]) -> Float[Array, "camera n k"]:
    """What belongs to each Gaussian's group in each camera.

    Its gradient is a product of matrices: adding up a scene's Gaussians one by one takes turns at a few numbers, which
    costs more than the rest of a drawing and gives another rounding every time.
    """
    index = jnp.broadcast_to(group, (values.shape[0], group.shape[-1]))
    return jnp.take_along_axis(values, index[..., None], axis=1)


def _of_group_forward(values: Array, group: Array) -> tuple[Array, tuple[Array, Array]]:
    # The number of groups is a shape, and residuals hold arrays: an empty one carries it.
    return _of_group(values, group), (group, values[:0])


def _of_group_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, np.ndarray]:
    group, like = residuals
    member = jax.nn.one_hot(group, like.shape[1], dtype=cotangent.dtype)
    axes = "cng,cnk->cgk" if group.ndim > 1 else "ng,cnk->cgk"
    d_values = jnp.einsum(axes, member, cotangent, precision=lax.Precision.HIGHEST)
    return d_values, np.zeros(group.shape, jax.dtypes.float0)


_of_group.defvjp(_of_group_forward, _of_group_backward)


def _extent(uu: Array, vv: Array, opacities: Array) -> Array:
    deviations = jnp.sqrt(jnp.maximum(2 * jnp.log(255 * jnp.maximum(opacities, MINIMUM_ALPHA)), 0.0))
    deviations = jnp.minimum(deviations, MAXIMUM_EXTENT)
    return jnp.ceil(jnp.stack([deviations * jnp.sqrt(uu), deviations * jnp.sqrt(vv)], axis=-1))


def _colour(arena: Arena, views: Views) -> Array:
    degree = round(arena.sh.shape[-2] ** 0.5) - 1
    shape = (views.count, arena.means.shape[-2])
    if degree == 0:
        colour = harmonics_colour(arena.sh, jnp.ones_like(arena.means), 0)
        return jnp.broadcast_to(colour, (*shape, 3))
    own_centre = _of_group(views.centres, arena.group)
    return harmonics_colour(
        jnp.broadcast_to(arena.sh, (*shape, *arena.sh.shape[-2:])), arena.means - own_centre, degree
    )
