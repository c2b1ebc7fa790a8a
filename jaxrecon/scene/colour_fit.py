"""Colours of merged Gaussians, such that their overlapping blend is closest to that of what they were merged from.

Merged Gaussians reach into each other, so plain averages come out blurred once more than their size demands. A small
least-squares problem over the scene's own places gives back the contrast that their blend can carry.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from jaxrecon.scene.merging import Moments, shadow_areas

NEIGHBOURS = 8  # Gaussians whose blend makes up the colour of a place
SOFTENING = 0.06  # share of a Gaussian's mean variance added along each axis: places lie off the plane of a flat one
PULL = 0.1  # weight of the plain average against the fit
STEPS = 5  # of conjugate gradients; more change nothing visible
ROWS = 100_000  # places looked up at once, to bound the memory


def blend_matrix(places: Float[np.ndarray, "n 3"], group: Int[np.ndarray, " n"], gaussians: Moments) -> csr_matrix:
    """Share of each Gaussian in the colour of each place of its group, (n, Gaussians); rows sum to 1.

    Args:
        places: in the frame of their group, metres.
        group: of each place; it has a Gaussian at least.
        gaussians: what is blended: the nearest few, by opacity and falloff.
    """
    variance = np.trace(gaussians.covariances, axis1=1, axis2=2) / 3
    soft = (SOFTENING * variance + 1e-12)[:, None, None] * np.eye(3)
    precision = np.linalg.inv(gaussians.covariances + soft)
    # A fourth coordinate keeps groups, which overlap in their own frames, apart.
    apart = 1e3 * (1 + np.abs(gaussians.means).max())
    tree = cKDTree(np.column_stack([gaussians.means, apart * gaussians.group]))
    k = min(NEIGHBOURS, len(gaussians.means))
    columns, shares = [], []
    for first in range(0, len(places), ROWS):
        some = slice(first, first + ROWS)
        near = tree.query(np.column_stack([places[some], apart * group[some]]), k=k, workers=-1)[1].reshape(-1, k)
        offset = places[some, None] - gaussians.means[near]
        falloff = np.zeros(near.shape)
        for i in range(3):
            for j in range(3):
                falloff += 0.5 * offset[..., i] * offset[..., j] * precision[near, i, j]
        falloff -= np.log(np.maximum(gaussians.opacities[near], 1e-12))
        falloff[gaussians.group[near] != group[some, None]] = np.inf
        share = np.exp(falloff.min(axis=1, keepdims=True) - falloff)
        columns.append(near.reshape(-1))
        shares.append((share / share.sum(axis=1, keepdims=True)).reshape(-1))
    starts = np.arange(len(places) + 1) * k
    return csr_matrix(
        (np.concatenate(shares), np.concatenate(columns), starts), shape=(len(places), len(gaussians.means))
    )


def fit_colours(
    parts: Moments,
    owner: Int[np.ndarray, " n"],
    merged: Moments,
    seen: Float[np.ndarray, "n channel"],
) -> Float[np.ndarray, "merged channel"]:
    """View-independent colours of merged Gaussians by least squares, within the range of the parts' own.

    Minimises sum_i h_i |seen_i - sum_j W_ij c_j|^2 + PULL sum_j H_j |c_j - average_j|^2, where W is the blend of the
    merged Gaussians at the parts' centres, h_i what a part hides (opacity times shadow) and H_j the sum of h over the
    parts of j.

    Args:
        parts: what was merged.
        owner: the merged Gaussian that each part went into.
        merged: the result, whose averages the fit starts from.
        seen: colour at each part's centre, the blend of the parts.
    """
    hides = parts.opacities * shadow_areas(parts.covariances)
    total = np.bincount(owner, hides)[:, None]
    blend = blend_matrix(parts.means, parts.group, merged)
    weighted = blend.multiply(hides[:, None]).tocsr().T.tocsr()
    average = merged.sh[:, 0]

    def normal(colours: np.ndarray) -> np.ndarray:
        return weighted @ (blend @ colours) + PULL * total * colours

    colours = average
    residual = weighted @ seen + PULL * total * average - normal(colours)
    direction = scaled = residual / total
    power = np.sum(residual * scaled, axis=0)
    tiny = np.finfo(np.float64).tiny
    for _ in range(STEPS):
        curved = normal(direction)
        step = power / np.maximum(np.sum(direction * curved, axis=0), tiny)
        colours = colours + step * direction
        residual = residual - step * curved
        scaled = residual / total
        power, before = np.sum(residual * scaled, axis=0), power
        direction = scaled + power / np.maximum(before, tiny) * direction
    own = parts.sh[:, 0]
    return np.clip(colours, own.min(axis=0), own.max(axis=0))
