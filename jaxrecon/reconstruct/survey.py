"""Cameras beside and askew of the recorded path, and how well the recorded views support what they see."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.geometry.cameras import rescale_intrinsics
from jaxrecon.geometry.transforms import inverse, rigid, yaw_to_matrix
from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.reconstruct.confidence import ConfidenceScales, render_confidence, with_room_for
from jaxrecon.reconstruct.confidence_error import ConfidenceCalibration
from jaxrecon.reconstruct.support import MOST_GROWTHS, Support
from jaxrecon.reconstruct.views import ReconstructionError, Views
from jaxrecon.render import Cameras, RenderConfig
from jaxrecon.scene.scene import Scene

UNSUPPORTED = 0.3  # confidence below which a pixel counts as never recorded


@dataclasses.dataclass(frozen=True)
class CertificateConfig:
    """Where novel views are drawn, and what they must hold to be trusted.

    Attributes:
        offsets: of the car to the left of the recorded path, metres, increasing, 0 among them.
        yaws_deg: of the car to the left of the recorded heading, increasing, 0 among them.
        samples: recorded frames, evenly spread, from which cameras are moved.
        width: of the drawn views, pixels; never more than the scene was fitted at.
        unsupported_below: confidence below which a pixel counts as unsupported.
        most_growth: largest predicted error of a trusted view, in multiples of that on the recorded path.
        most_unsupported: largest share of unsupported pixels of a trusted view, beyond that on the recorded path.
    """

    offsets: tuple[float, ...] = tuple(float(offset) for offset in range(-6, 7))
    yaws_deg: tuple[float, ...] = tuple(float(yaw) for yaw in range(-30, 31, 10))
    samples: int = 6
    width: int = 96
    unsupported_below: float = UNSUPPORTED
    most_growth: float = 2.0
    most_unsupported: float = 0.25

    def __post_init__(self) -> None:
        for field in ("offsets", "yaws_deg"):
            values = getattr(self, field)
            if 0.0 not in values or list(values) != sorted(set(values)):
                raise ValueError(f"CertificateConfig.{field} is {values}; expected increasing numbers, 0 among them")
        for field, least in (("samples", 1), ("width", 16)):
            if getattr(self, field) < least:
                raise ValueError(f"CertificateConfig.{field} is {getattr(self, field)}; expected at least {least}")
        for name, low in (("most_growth", 1.0), ("most_unsupported", 0.0)):
            if getattr(self, name) < low:
                raise ValueError(f"CertificateConfig.{name} is {getattr(self, name)}; expected at least {low:g}")


def novel_cameras(
    log: DrivingLog, views: Views, chosen: Int[np.ndarray, " view"], offset: float, yaw_deg: float
) -> Float[np.ndarray, "view 4 4"]:
    """Poses of some views' cameras were the car ``offset`` metres to the left and turned ``yaw_deg`` to the left."""
    world_from_ego = log.world_from_ego[np.asarray(views.frame)[chosen]]
    moved = rigid(yaw_to_matrix(np.array(np.deg2rad(yaw_deg))), np.array([0.0, offset, 0.0]))
    ego_from_camera = inverse(world_from_ego) @ np.asarray(views.world_from_camera[chosen], np.float64)
    return world_from_ego @ moved @ ego_from_camera


def survey_path(
    scene: Scene, log: DrivingLog, views: Views, support: Support, calibration: ConfidenceCalibration,
    frames: Int[np.ndarray, " sample"], config: CertificateConfig, scales: ConfidenceScales, render: RenderConfig,
) -> Float[np.ndarray, "3 offset yaw sample"]:  # fmt: skip
    """Look at the scene from places beside the recorded path, all in one compiled call.

    Args:
        scene: as fitted.
        log: what it was fitted to.
        views: of the fit, with corrected poses.
        support: of the same scene.
        calibration: from confidence to error.
        frames: of the log, from whose cameras the novel ones are moved.
        config: where to look.
        scales: of the confidence.
        render: the renderer; its room for pairs grows as needed.

    Returns:
        Mean predicted error, share of unsupported pixels, and share of those with a confidence below any that the
        calibration was fitted to; cameras of one frame averaged.

    Raises:
        ReconstructionError: if the views need more room than is sensible.
    """
    frame_of = np.asarray(views.frame)
    chosen = np.concatenate([np.flatnonzero(frame_of == frame) for frame in frames])
    poses = np.stack(
        [[novel_cameras(log, views, chosen, offset, yaw) for yaw in config.yaws_deg] for offset in config.offsets]
    )
    width = min(config.width, views.size[0])
    size = (width, max(round(views.size[1] * width / views.size[0]), 1))
    intrinsics = rescale_intrinsics(np.asarray(views.intrinsics[chosen], np.float64), views.size, size)
    grid = poses.shape[:2]
    cameras = (
        jnp.asarray(poses.reshape(-1, 4, 4), jnp.float32),
        jnp.asarray(np.tile(intrinsics, (grid[0] * grid[1], 1)), jnp.float32),
        jnp.asarray(np.tile(frame_of[chosen], grid[0] * grid[1]), jnp.int32),
    )
    # A smaller drawing samples everything more coarsely: what was recorded is rated as if it had been that small.
    support = dataclasses.replace(support, resolution=support.resolution * (width / views.size[0]))
    actors = (jnp.asarray(views.world_from_actor), jnp.asarray(views.actor_valid))
    knots = (jnp.asarray(calibration.confidence), jnp.asarray(calibration.error))
    limits = jnp.array([config.unsupported_below, calibration.lowest])
    for _ in range(MOST_GROWTHS):
        figures, overflow, pairs = _look(scene, support, cameras, actors, knots, limits, scales, size, render)
        if not bool(overflow):
            per_view = np.asarray(figures, np.float64).T.reshape(3, *grid, len(chosen))
            of_frames = [per_view[..., frame_of[chosen] == frame].mean(axis=-1) for frame in frames]
            return np.stack(of_frames, axis=-1)
        render = with_room_for(render, pairs)
    raise ReconstructionError(
        f"novel views need more than {render.raster.pairs_per_camera} (splat, tile) pairs; are the Gaussians huge?"
    )


@partial(jax.jit, static_argnames=("size", "render"))
def _look(
    scene: Scene, support: Support, cameras: tuple[Array, Array, Array], actors: tuple[Array, Array],
    knots: tuple[Array, Array], limits: Array, scales: ConfidenceScales, size: tuple[int, int], render: RenderConfig,
) -> tuple[Float[Array, "camera 3"], Bool[Array, ""], Int[Array, " camera"]]:  # fmt: skip
    """Figures of all novel views, one camera after the other; whether any overflowed, and the pairs they needed."""

    def one(camera: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        pose, intrinsics, frame = camera
        single = Cameras(pose[None], intrinsics[None], *size)
        drawn = render_confidence(
            scene, support, single, actors[0][frame][None], actors[1][frame][None], scales, render
        )
        confidence = drawn.confidence[0]
        error = jnp.mean(jnp.interp(confidence, *knots))
        figures = jnp.stack([error, jnp.mean(confidence < limits[0]), jnp.mean(confidence < limits[1])])
        return figures, drawn.overflow[0], drawn.pairs[0]

    figures, overflow, pairs = jax.lax.map(one, cameras)
    return figures, jnp.any(overflow), pairs
