"""From Gaussians in three dimensions to splats on an image: EWA projection as gsplat 1.5.3 defines it."""

import flax.struct
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.kernels.harmonics import harmonics_colour
from jaxrecon.kernels.raster import BLUR, FAR, MAXIMUM_EXTENT, MINIMUM_ALPHA, NEAR


@flax.struct.dataclass
class Splats:
    """Gaussians as a camera sees them.

    Attributes:
        mean: centre on the image, pixels.
        conic: upper triangle (xx, xy, yy) of the inverse of the projected covariance, per square pixel.
        depth: z in the camera frame, metres.
        opacity: as given.
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


def covariance_terms(quaternions: Float[Array, "n 4"], scales: Float[Array, "n 3"]) -> tuple[Array, ...]:
    """The six distinct entries (xx, xy, xz, yy, yz, zz) of each covariance R diag(s)^2 R^T."""
    q = quaternions / jnp.sqrt(jnp.maximum(jnp.sum(quaternions * quaternions, axis=-1, keepdims=True), 1e-20))
    w, x, y, z = q[:, 0], q[:, 1], q[:, 2], q[:, 3]
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    axes = [[entry * scales[:, j] for j, entry in enumerate(row)] for row in rows]
    return tuple(
        axes[i][0] * axes[j][0] + axes[i][1] * axes[j][1] + axes[i][2] * axes[j][2]
        for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    )


def project(
    means: Float[Array, "n 3"],
    quaternions: Float[Array, "n 4"],
    scales: Float[Array, "n 3"],
    opacities: Float[Array, " n"],
    sh: Float[Array, "n k 3"],
    group: Int[Array, " n"],
    camera_from_group: Float[Array, "camera group 4 4"],
    group_valid: Bool[Array, "camera group"],
    intrinsics: Float[Array, "camera 4"],
    width: int,
    height: int,
) -> Splats:
    """Project every Gaussian, posed by its group, into every camera.

    Splats that are not visible hold finite values, so that gradients stay finite whatever is culled.

    Args:
        means: centres in the frame of their group, metres.
        quaternions: ``wxyz``, any non-zero norm.
        scales: standard deviations, metres.
        opacities: in [0, 1].
        sh: spherical-harmonic colour, (degree + 1)^2 coefficients.
        group: which rigid body a Gaussian belongs to.
        camera_from_group: pose of every group in every camera.
        group_valid: groups that are there; the others are not drawn.
        intrinsics: fx, fy, cx, cy, pixels.
        width: image width, pixels.
        height: image height, pixels.

    Source: Zwicker et al., EWA volume splatting, 2001; limits and constants of gsplat 1.5.3.
    """
    rows = camera_from_group[:, :, :3].reshape(*camera_from_group.shape[:2], 12)
    # One group needs no look-up; several are looked up a whole pose at a time.
    rows = rows[:, :1] if rows.shape[1] == 1 else lax.optimization_barrier(rows[:, group])
    present = group_valid[:, :1] if rows.shape[1] == 1 else group_valid[:, group]
    pose = [[rows[..., 4 * i + j] for j in range(4)] for i in range(3)]
    mx, my, mz = means[:, 0], means[:, 1], means[:, 2]
    x, y, z = (row[0] * mx + row[1] * my + row[2] * mz + row[3] for row in pose)
    inside = (z > NEAR) & (z < FAR) & present & (opacities >= MINIMUM_ALPHA)
    z = jnp.where(inside, z, 1.0)

    fx, fy, cx, cy = (intrinsics[:, i, None] for i in range(4))
    margin_x, margin_y = 0.15 * width / fx, 0.15 * height / fy
    inverse_z = 1 / z
    tx = jnp.clip(x * inverse_z, -cx / fx - margin_x, (width - cx) / fx + margin_x)
    ty = jnp.clip(y * inverse_z, -cy / fy - margin_y, (height - cy) / fy + margin_y)
    jx, jy = fx * inverse_z, fy * inverse_z
    a = [jx * (pose[0][j] - tx * pose[2][j]) for j in range(3)]
    b = [jy * (pose[1][j] - ty * pose[2][j]) for j in range(3)]
    xx, xy, xz, yy, yz, zz = covariance_terms(quaternions, scales)
    pa = (xx * a[0] + xy * a[1] + xz * a[2], xy * a[0] + yy * a[1] + yz * a[2], xz * a[0] + yz * a[1] + zz * a[2])
    pb = (xx * b[0] + xy * b[1] + xz * b[2], xy * b[0] + yy * b[1] + yz * b[2], xz * b[0] + yz * b[1] + zz * b[2])
    uu = a[0] * pa[0] + a[1] * pa[1] + a[2] * pa[2] + BLUR
    uv = b[0] * pa[0] + b[1] * pa[1] + b[2] * pa[2]
    vv = b[0] * pb[0] + b[1] * pb[1] + b[2] * pb[2] + BLUR
    determinant = uu * vv - uv * uv
    # A huge or degenerate Gaussian can lose its determinant to rounding; it is culled rather than inverted.
    inside = inside & (determinant > 0) & jnp.isfinite(determinant)
    inverse = 1 / jnp.where(inside, determinant, 1.0)
    conic = jnp.stack([vv * inverse, -uv * inverse, uu * inverse], axis=-1)
    conic = jnp.where(inside[..., None], conic, jnp.array([1.0, 0.0, 1.0], conic.dtype))

    u, v = fx * x * inverse_z + cx, fy * y * inverse_z + cy
    mean = jnp.where(inside[..., None], jnp.stack([u, v], axis=-1), 0.0)
    extent = lax.stop_gradient(_extent(uu, vv, opacities))
    touches = (u + extent[..., 0] > 0) & (u - extent[..., 0] < width)
    touches = touches & (v + extent[..., 1] > 0) & (v - extent[..., 1] < height)
    colour = _colour(means, sh, group, camera_from_group)
    finite = jnp.all(jnp.isfinite(mean), axis=-1) & jnp.all(jnp.isfinite(colour), axis=-1)
    visible = inside & touches & finite
    return Splats(
        mean=mean,
        conic=conic,
        depth=z,
        opacity=jnp.broadcast_to(opacities, inside.shape),
        colour=jnp.where(visible[..., None], colour, 0.0),
        extent=jnp.where(inside[..., None], extent, 0.0),
        visible=visible,
    )


def _extent(uu: Array, vv: Array, opacities: Array) -> Array:
    deviations = jnp.sqrt(jnp.maximum(2 * jnp.log(255 * jnp.maximum(opacities, MINIMUM_ALPHA)), 0.0))
    deviations = jnp.minimum(deviations, MAXIMUM_EXTENT)
    return jnp.ceil(jnp.stack([deviations * jnp.sqrt(uu), deviations * jnp.sqrt(vv)], axis=-1))


def _colour(means: Array, sh: Array, group: Array, camera_from_group: Array) -> Array:
    degree = round(sh.shape[1] ** 0.5) - 1
    cameras = camera_from_group.shape[0]
    if degree == 0:
        colour = harmonics_colour(sh, jnp.ones_like(means), 0)
        return jnp.broadcast_to(colour, (cameras, *colour.shape))
    rotation, translation = camera_from_group[..., :3, :3], camera_from_group[..., :3, 3]
    centre = -jnp.einsum("cgij,cgi->cgj", rotation, translation)
    return harmonics_colour(jnp.broadcast_to(sh, (cameras, *sh.shape)), means - centre[:, group], degree)
