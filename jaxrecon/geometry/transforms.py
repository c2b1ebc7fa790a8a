"""Rotations, rigid transforms and planar poses.

Every function takes NumPy or JAX arrays and answers in kind, so the host side keeps float64 and the device side
float32. Matrices read target-from-source and cancel: ``world_from_camera @ camera_from_lidar``.

Nothing here is a JAX product of matrices: accelerators round the factors of those to 8 or 11 bits, which moves a point
100 m away by decimetres. Sums of products are as exact as float32 on every device.
"""

from typing import Any

from jaxtyping import Float

Array = Any  # a NumPy or a JAX array


def quaternion_to_matrix(quaternion: Float[Array, "*b 4"]) -> Float[Array, "*b 3 3"]:
    """Rotation matrix of a quaternion ``wxyz``, which is normalised first (its norm must not be zero)."""
    xp = quaternion.__array_namespace__()
    quaternion = quaternion / xp.sqrt(xp.sum(quaternion * quaternion, axis=-1, keepdims=True))
    w, x, y, z = (quaternion[..., i] for i in range(4))
    entries = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return xp.reshape(xp.stack(entries, axis=-1), (*quaternion.shape[:-1], 3, 3))


def matrix_to_quaternion(matrix: Float[Array, "*b 3 3"]) -> Float[Array, "*b 4"]:
    """Unit quaternion ``wxyz`` with w >= 0 of a rotation matrix.

    Takes the best conditioned of the four algebraic forms (Shepperd 1978), so it is accurate at every angle.
    """
    xp = matrix.__array_namespace__()
    m = matrix
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    d, e, f = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    rows = xp.stack(
        [
            xp.stack([1 + xx + yy + zz, a, b, c], axis=-1),
            xp.stack([a, 1 + xx - yy - zz, d, e], axis=-1),
            xp.stack([b, d, 1 - xx + yy - zz, f], axis=-1),
            xp.stack([c, e, f, 1 - xx - yy + zz], axis=-1),
        ],
        axis=-2,
    )
    diagonal = xp.stack([rows[..., i, i] for i in range(4)], axis=-1)
    best = xp.argmax(diagonal, axis=-1)[..., None, None]
    row = xp.take_along_axis(rows, xp.broadcast_to(best, (*best.shape[:-2], 1, 4)), axis=-2)[..., 0, :]
    row = row / xp.sqrt(xp.sum(row * row, axis=-1, keepdims=True))
    return xp.where(row[..., :1] < 0, -row, row)


def yaw_to_matrix(yaw: Float[Array, "*b"]) -> Float[Array, "*b 3 3"]:
    """Rotation about +z by ``yaw`` (radians, counter-clockwise seen from above)."""
    xp = yaw.__array_namespace__()
    cos, sin, zero, one = xp.cos(yaw), xp.sin(yaw), xp.zeros_like(yaw), xp.ones_like(yaw)
    rows = [xp.stack([cos, -sin, zero], -1), xp.stack([sin, cos, zero], -1), xp.stack([zero, zero, one], -1)]
    return xp.stack(rows, axis=-2)


def yaw_of(rotation: Float[Array, "*b 3 3"]) -> Float[Array, "*b"]:
    """Heading (radians) of a rotation's x axis, projected onto the ground plane."""
    xp = rotation.__array_namespace__()
    return xp.arctan2(rotation[..., 1, 0], rotation[..., 0, 0])


def in_frame(
    vector: Float[Array, "*#b 2"], heading: Float[Array, "*#b"]
) -> tuple[Float[Array, "*c"], Float[Array, "*c"]]:
    """A vector of the world as seen by who has a heading (radians): how far ahead, and how far to the left.

    Batch dimensions broadcast.
    """
    xp = vector.__array_namespace__()
    cos, sin = xp.cos(heading), xp.sin(heading)
    x, y = vector[..., 0], vector[..., 1]
    return x * cos + y * sin, y * cos - x * sin


def wrap_angle(angle: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """The same angle in [-pi, pi)."""
    xp = angle.__array_namespace__()
    return xp.remainder(angle + xp.pi, 2 * xp.pi) - xp.pi


def rigid(rotation: Float[Array, "*b 3 3"], translation: Float[Array, "*b 3"]) -> Float[Array, "*b 4 4"]:
    """Homogeneous matrix of ``x -> rotation @ x + translation``; batch dimensions must be equal."""
    xp = rotation.__array_namespace__()
    top = xp.concat([rotation, translation[..., None]], axis=-1)
    bottom = xp.broadcast_to(xp.asarray([0.0, 0.0, 0.0, 1.0], dtype=rotation.dtype), (*top.shape[:-2], 1, 4))
    return xp.concat([top, bottom], axis=-2)


def inverse(transform: Float[Array, "*b 4 4"]) -> Float[Array, "*b 4 4"]:
    """Inverse of a rigid transform (its rotation must be orthonormal)."""
    xp = transform.__array_namespace__()
    rotation = xp.swapaxes(transform[..., :3, :3], -1, -2)
    return rigid(rotation, -sum(transform[..., i, :3] * transform[..., i, 3:] for i in range(3)))


def compose(first: Float[Array, "*#b 4 4"], second: Float[Array, "*#b 4 4"]) -> Float[Array, "*c 4 4"]:
    """The product ``first @ second`` of two transforms, exact on every device; batch dimensions broadcast."""
    return sum(first[..., i, None] * second[..., i : i + 1, :] for i in range(4))


def transform_points(transform: Float[Array, "*b 4 4"], points: Float[Array, "*b n 3"]) -> Float[Array, "*b n 3"]:
    """Apply a rigid transform to points."""
    x, y, z = (points[..., i] for i in range(3))
    rows = transform[..., None, :3, :]
    moved = [rows[..., i, 0] * x + rows[..., i, 1] * y + rows[..., i, 2] * z + rows[..., i, 3] for i in range(3)]
    return moved[0].__array_namespace__().stack(moved, axis=-1)
