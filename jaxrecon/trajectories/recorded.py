"""The recorded drive as cousins need it: a smooth curve through it and beyond it, its speed, and its branches."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.geometry.polylines import polyline, project
from jaxrecon.geometry.transforms import yaw_of
from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.trajectories.curves import SPACING, Curve, smooth_curve, stack_curves
from jaxrecon.trajectories.lanes import branches, prolonged


@dataclasses.dataclass(frozen=True)
class RecordedConfig:
    """How much is known around the drive.

    Attributes:
        before: metres by which the curve is prolonged, straight, before the first pose.
        after: metres by which it is prolonged after the last one.
        branches: most ways that turn off.
        branch: metres that they go on for.
    """

    before: float = 20.0
    after: float = 120.0
    branches: int = 6
    branch: float = 70.0

    def __post_init__(self) -> None:
        for name in ("before", "after", "branch"):
            if not getattr(self, name) > 0:
                raise ValueError(f"RecordedConfig.{name} is {getattr(self, name)}; expected a positive length")


DEFAULT_RECORDED = RecordedConfig()


@flax.struct.dataclass
class Recorded:
    """A recorded drive on the device.

    Attributes:
        curves: the drive's own first, then its branches; slots that have none repeat the drive.
        departure: (curve,) arc length at which each leaves the drive, metres; of the drive itself where it was last.
        branches: () int32, how many there are.
        arc: (frame,) arc length of the recorded car along its curve, metres.
        speed: (frame,) m/s.
    """

    curves: Curve
    departure: Float[Array, " curve"]
    branches: Int[Array, ""]
    arc: Float[Array, " frame"]
    speed: Float[Array, " frame"]

    @property
    def own(self) -> Curve:
        """The drive's own curve."""
        return self.curve(jnp.zeros((), jnp.int32))

    def curve(self, index: Int[Array, ""]) -> Curve:
        """One of the curves."""
        return jax.tree.map(lambda leaf: leaf[index], self.curves)


def recorded_drive(
    log: DrivingLog, speed: Float[np.ndarray, " frame"], config: RecordedConfig = DEFAULT_RECORDED
) -> Recorded:
    """The drive of a log (host): interpolated by arc length, prolonged at both ends, with the turns the map allows.

    Args:
        log: the recording.
        speed: of its car, m/s, see ``simulator.build_reference``.
        config: how far.
    """
    position, yaw = log.world_from_ego[:, :2, 3], yaw_of(log.world_from_ego[:, :3, :3])
    first = np.array([np.cos(yaw[0]), np.sin(yaw[0])])
    lead = position[0] - np.arange(config.before, 0.0, -1.0)[:, None] * first
    rest = prolonged(log.road_map, position, float(yaw[-1]), config.after)
    whole = np.concatenate([lead, position, rest])
    own = smooth_curve(whole, float(yaw[0]))
    arc = project(
        jax.jit(polyline)(own.points),
        jnp.asarray(position, jnp.float32),
        near=config.before + jnp.asarray(_driven(position), jnp.float32),
        window=10.0,
    ).arc
    vertices = np.asarray(own.points)[: int(float(own.length) / SPACING) : 2]
    turns = branches(log.road_map, vertices, config.branch, config.branches)
    curves = [own, *(smooth_curve(turn.points, float(yaw[0])) for turn in turns)]
    departure = [float(arc[-1]), *(turn.departure for turn in turns)]
    empty = 1 + config.branches - len(curves)
    return Recorded(
        curves=stack_curves(curves + [own] * empty),
        departure=jnp.asarray(departure + [departure[0]] * empty, jnp.float32),
        branches=jnp.asarray(len(turns), jnp.int32),
        arc=jnp.asarray(arc, jnp.float32),
        speed=jnp.asarray(speed, jnp.float32),
    )


def _driven(position: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(position, axis=0), axis=-1))])
