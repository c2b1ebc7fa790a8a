"""Merging Gaussians by moments, on the host in float64."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

MOST_OPAQUE = 0.99  # that merging makes, or counts
THINNEST = 1e-6  # standard deviation, metres, of the flattest Gaussian that principal axes are given for


class Moments(NamedTuple):
    """Gaussians by covariance instead of axes, so that they can be averaged.

    Attributes:
        means: centres in the frame of their group, metres.
        covariances: square metres.
        opacities: in [0, 1].
        sh: spherical-harmonic colour.
        group: rigid body of each.
    """

    means: Float[np.ndarray, "n 3"]
    covariances: Float[np.ndarray, "n 3 3"]
    opacities: Float[np.ndarray, " n"]
    sh: Float[np.ndarray, "n k 3"]
    group: Int[np.ndarray, " n"]


def shadow_areas(covariances: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, " n"]:
    """Size of a Gaussian from a typical side, square metres: the root of its mean squared shadow over all directions.

    The determinant of a covariance projected along d is d^T adj(C) d, which averages to trace(adj(C)) / 3.
    """
    c = covariances
    minors = [c[:, i, i] * c[:, j, j] - c[:, i, j] ** 2 for i, j in ((0, 1), (0, 2), (1, 2))]
    return np.sqrt(np.maximum(sum(minors), 1e-24) / 3)


def merge(
    parts: Moments,
    owner: Int[np.ndarray, " n"],
    spread: float,
) -> Moments:
    """One Gaussian for every owner: first and second moments matched, light held back kept.

    Place, shape and colour are averages weighted by opacity times shadow, so that what covers more counts more. The
    optical thickness -log(1 - opacity), times shadow, is summed and spread over the merged shadow.

    Args:
        parts: what is merged; all that share an owner share a group.
        owner: 0, 1, ..., each at least once.
        spread: factor on the scatter between the merged means. At 1 covariances are the exact second moment, but a
            surface of such Gaussians has holes at the voxels' corners: a uniform voxel's deviation is 0.29 of its side.

    Source: moment matching as in Runnalls, Kullback-Leibler approach to Gaussian mixture reduction, 2007, eq. 2.
    """
    count = int(owner.max()) + 1
    areas = shadow_areas(parts.covariances)
    weights = parts.opacities * areas
    total = np.bincount(owner, weights, count)

    def average(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(len(values), -1)
        sums = [np.bincount(owner, weights * column, count) for column in flat.T]
        return (np.stack(sums, axis=-1) / total[:, None]).reshape(count, *values.shape[1:])

    means = average(parts.means)
    offset = parts.means - means[owner]
    covariances = average(parts.covariances) + spread * average(offset[:, :, None] * offset[:, None, :])
    thickness = -np.log1p(-np.minimum(parts.opacities, MOST_OPAQUE)) * areas
    opacities = -np.expm1(-np.bincount(owner, thickness, count) / shadow_areas(covariances))
    # A Gaussian that is merged with none stays as it is.
    alone = np.bincount(owner, minlength=count) == 1
    opacities = np.where(alone, np.bincount(owner, parts.opacities, count), np.minimum(opacities, MOST_OPAQUE))
    group = np.zeros(count, parts.group.dtype)
    group[owner] = parts.group
    return Moments(means, covariances, opacities, average(parts.sh), group)


def principal_axes(
    covariances: Float[np.ndarray, "n 3 3"],
) -> tuple[Float[np.ndarray, "n 4"], Float[np.ndarray, "n 3"]]:
    """Rotation (``wxyz``) and standard deviations along its axes, ascending, of each covariance."""
    values, vectors = np.linalg.eigh(covariances)
    # Eigenvectors may be left-handed; a flipped axis is the same axis.
    vectors[:, :, 0] *= np.sign(np.linalg.det(vectors))[:, None]
    return _quaternions(vectors), np.sqrt(np.maximum(values, THINNEST**2))


def _quaternions(rotations: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 4"]:
    """``wxyz`` of rotation matrices: the row of 4 q q^T with the largest diagonal entry, normalised."""
    r = rotations
    x, y, z = r[:, 0, 0], r[:, 1, 1], r[:, 2, 2]
    wx, wy, wz = r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]
    xy, xz, yz = r[:, 1, 0] + r[:, 0, 1], r[:, 0, 2] + r[:, 2, 0], r[:, 2, 1] + r[:, 1, 2]
    rows = (
        (1 + x + y + z, wx, wy, wz),
        (wx, 1 + x - y - z, xy, xz),
        (wy, xy, 1 - x + y - z, yz),
        (wz, xz, yz, 1 - x - y + z),
    )
    outer = np.stack([np.stack(row, axis=-1) for row in rows], axis=1)
    largest = np.argmax(np.einsum("nii->ni", outer), axis=1)
    best = outer[np.arange(len(r)), largest]
    return best / np.linalg.norm(best, axis=1, keepdims=True)
