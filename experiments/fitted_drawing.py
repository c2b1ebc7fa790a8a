"""A fitted scene as cameras of its log's world see it, wherever they stand."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from jaxrecon.geometry.transforms import inverse
from jaxrecon.logs import CameraStream, DrivingLog
from jaxrecon.reconstruct import FitResult
from jaxrecon.reconstruct.exposure import expose
from jaxrecon.reconstruct.score import enlarge
from jaxrecon.render import Cameras, RenderConfig, quantise, render

MOST_GROWTHS = 6


@dataclasses.dataclass(frozen=True)
class Picture:
    """What a camera sees.

    Attributes:
        rgb: as the log's camera would have recorded it in that frame.
        depth: expected z-depth, metres; infinite where less than half of a pixel is covered.
    """

    rgb: UInt8[np.ndarray, "height width 3"]
    depth: Float[np.ndarray, "height width"]


class FittedDrawing:
    """Draws a fitted scene, one camera after the other.

    A fit corrects where the recording car was. A camera beside the path moves with the car of its frame: its place is
    given in the log's world, relative to what the log says of the car.

    Args:
        result: of a fit.
        log: that it was fitted to.
        camera: the first or only camera that it was fitted to.
        config: of the renderer; its room for pairs grows as needed.
    """

    def __init__(self, result: FitResult, log: DrivingLog, camera: CameraStream, config: RenderConfig):
        recorded = log.world_from_camera(camera)
        corrected = result.views.world_from_camera[: log.frames].astype(np.float64)
        self._corrected_from_log = corrected @ inverse(recorded)
        self._result, self._config = result, config

    def __call__(
        self,
        frame: int,
        world_from_camera: Float[np.ndarray, "4 4"],
        intrinsics: Float[np.ndarray, "4"],
        size: tuple[int, int],
    ) -> Picture:
        """The scene in a frame of the log.

        Args:
            frame: of the log; its actors and its exposure.
            world_from_camera: in the log's world.
            intrinsics: in pixels.
            size: (width, height) in pixels.

        Raises:
            ValueError: if the image needs more room than is sensible.
        """
        return self._draw(frame, self._corrected_from_log[frame] @ world_from_camera, intrinsics, size)

    def of_view(self, view: int) -> Picture:
        """The scene as one of the fitted views shows it."""
        views = self._result.views
        return self._draw(int(views.frame[view]), views.world_from_camera[view], views.intrinsics[view], views.size)

    def _draw(self, frame: int, pose: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int]) -> Picture:
        views, exposure = self._result.views, self._result.exposure
        cameras = Cameras(jnp.asarray(pose[None], jnp.float32), jnp.asarray(intrinsics[None], jnp.float32), *size)
        moment = slice(frame, frame + 1)
        actors, valid = jnp.asarray(views.world_from_actor[moment]), jnp.asarray(views.actor_valid[moment])
        colours = jax.tree.map(lambda leaf: leaf[moment], exposure)
        for _ in range(MOST_GROWTHS):
            rgb, depth, overflow, pairs = _picture(self._result.scene, cameras, actors, valid, colours, self._config)
            if not bool(overflow):
                return Picture(np.asarray(rgb), np.asarray(depth))
            self._config = enlarge(self._config, max(1.5, 1.3 * int(pairs) / self._config.raster.pairs_per_camera))
        raise ValueError(f"frame {frame} needs more than {self._config.raster.pairs_per_camera} pairs")


@partial(jax.jit, static_argnames="config")
def _picture(
    scene: Any, cameras: Cameras, actors: jax.Array, valid: jax.Array, exposure: Any, config: RenderConfig
) -> tuple[jax.Array, ...]:
    drawn = render(scene, cameras, actors, valid, config)
    rgb = expose(exposure, jnp.zeros((), jnp.int32), drawn.rgb[0])
    depth = jnp.where(drawn.alpha[0] > 0.5, drawn.depth[0], jnp.inf)
    return quantise(rgb), depth, drawn.overflow[0], drawn.pairs[0]
