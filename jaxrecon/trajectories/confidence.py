"""How much of what a cousin's cameras would show was ever recorded."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.dynamics import VehicleState
from jaxrecon.geometry.polylines import Projection, polyline, project
from jaxrecon.reconstruct.survey import UNSUPPORTED
from jaxrecon.simulator import Moment, SplatCameras, World
from jaxrecon.simulator.observation import draw_cameras

Confidence = Callable[[VehicleState, Array], np.ndarray]

EVERY = 10  # steps between two places that are looked at
CHUNK = 16  # images drawn at once


def confidence_of(world: World) -> Confidence | None:
    """The check of a world for ``generate``; None where its source knows nothing of what was recorded."""
    source = world.source
    if not isinstance(source, SplatCameras) or source.view is None:
        return None
    return lambda vehicle, frame: unsupported(world, vehicle, frame)


def nearest_on_path(world: World, position: Float[Array, "*b 2"]) -> Projection:
    """Nearest points of a world's only recorded path, wherever along it."""
    count = world.reference.paths.count[0]
    return project(polyline(world.reference.paths.points[0], count), position)


def unsupported(world: World, vehicle: VehicleState, frame: Int[Array, "cousin step"]) -> Float[np.ndarray, " cousin"]:
    """Share of pixels, the mean over the cameras, that no recorded view supports: the worst of a few places each.

    Args:
        world: of one scene, whose source draws confidence, see ``simulator.with_field_of_view``.
        vehicle: the cousins, fields (cousin, step, ...).
        frame: of the log at each step.
    """
    picked = np.unique(np.append(np.arange(0, frame.shape[1], EVERY), frame.shape[1] - 1))
    some = jax.tree.map(lambda leaf: np.asarray(leaf)[:, picked].reshape(-1, *leaf.shape[2:]), vehicle)
    frames = np.asarray(frame)[:, picked].ravel()
    shares = []
    for first in range(0, len(frames), CHUNK):
        rows = np.minimum(first + np.arange(CHUNK), len(frames) - 1)
        shares.append(np.asarray(_share(world, jax.tree.map(lambda leaf, rows=rows: leaf[rows], some), frames[rows])))
    return np.concatenate(shares)[: len(frames)].reshape(frame.shape[0], -1).max(axis=1)


@jax.jit
def _share(world: World, vehicle: VehicleState, frame: Int[Array, " row"]) -> Float[Array, " row"]:
    moment = Moment(jnp.zeros_like(frame), frame, vehicle, nearest_on_path(world, vehicle.position))
    drawing = draw_cameras(world, moment)
    assert drawing.confidence is not None
    return jnp.mean(drawing.confidence < UNSUPPORTED, axis=(1, 2, 3))
