"""Which of the cousins that passed are kept: those that together show the most kinds of manoeuvres, evenly."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.geometry.polylines import polyline, project
from jaxrecon.trajectories.cousins import Cousins
from jaxrecon.trajectories.diversity import KINDS, Motions, entropy, kinds, manoeuvres


def kinds_of(cousins: Cousins, path: Float[np.ndarray, "n 2"], dt: float) -> Int[np.ndarray, "cousin window"]:
    """Kind of manoeuvre in every window of each cousin.

    Args:
        cousins: any.
        path: the recorded drive and its continuation, from which offsets are measured, world, metres.
        dt: seconds a step.
    """
    vehicle = cousins.vehicle
    yaw, speed = np.asarray(vehicle.yaw, float), np.asarray(vehicle.speed, float)
    motions = Motions(
        yaw=yaw, speed=speed, acceleration=np.asarray(vehicle.acceleration, float),
        yaw_rate=np.gradient(np.unwrap(yaw, axis=1), dt, axis=1),
        offset=np.asarray(_offset(jnp.asarray(path, jnp.float32), jnp.asarray(vehicle.position)), float), dt=dt,
    )  # fmt: skip
    return kinds(manoeuvres(motions)).reshape(cousins.count, -1)


def choose(
    windows: Int[np.ndarray, "cousin window"], counts: Int[np.ndarray, " kind"], wanted: int
) -> tuple[Int[np.ndarray, " chosen"], Int[np.ndarray, " kind"]]:
    """One after the other the cousin that raises the entropy of all windows the most; ties go to the first drawn.

    Args:
        windows: kinds of manoeuvres of those that may be kept.
        counts: windows of each kind that are kept already.
        wanted: how many to choose, all where there are fewer.

    Returns:
        Their indices in the order in which they were drawn, and the counts with their windows.
    """
    own = np.stack([np.bincount(one, minlength=KINDS) for one in windows]) if len(windows) else windows
    left, chosen = list(range(len(windows))), list[int]()
    while left and len(chosen) < wanted:
        best = max(left, key=lambda index: entropy(counts + own[index]))
        chosen.append(best)
        left.remove(best)
        counts = counts + own[best]
    return np.array(sorted(chosen), int), counts


@jax.jit
def _offset(path: Float[Array, "n 2"], position: Float[Array, "cousin step 2"]) -> Float[Array, "cousin step"]:
    return project(polyline(path), position).lateral
