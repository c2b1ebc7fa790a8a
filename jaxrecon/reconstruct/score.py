"""How well a scene redraws recorded views."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.metrics.image import psnr, ssim
from jaxrecon.reconstruct.exposure import Exposure, expose
from jaxrecon.reconstruct.views import Views, box_mask
from jaxrecon.render import Cameras, RenderConfig, Rendering, quantise, render
from jaxrecon.scene.scene import Scene

_MOST_GROWTHS = 6
_RENDER = RenderConfig()


@dataclasses.dataclass(frozen=True)
class Score:
    """Quality of some views, one entry a view.

    Attributes:
        view: which views of the ``Views`` they are.
        psnr: decibels, whole image.
        psnr_static: decibels, outside the rectangles of all boxes; not a number where boxes fill the image.
        psnr_actors: decibels, inside them; not a number where there is none.
        ssim: structural similarity.
        rendered: what the scene gives.
        recorded: what the camera gave.
    """

    view: Int[np.ndarray, " view"]
    psnr: Float[np.ndarray, " view"]
    psnr_static: Float[np.ndarray, " view"]
    psnr_actors: Float[np.ndarray, " view"]
    ssim: Float[np.ndarray, " view"]
    rendered: UInt8[np.ndarray, "view height width 3"]
    recorded: UInt8[np.ndarray, "view height width 3"]

    def summary(self) -> dict[str, Any]:
        """Means over the views in which they are defined, None where in none; keys as the attributes' names."""
        names = ("psnr", "psnr_static", "psnr_actors", "ssim")
        defined = {name: getattr(self, name)[~np.isnan(getattr(self, name))] for name in names}
        return {name: float(values.mean()) if len(values) else None for name, values in defined.items()}


def score(
    scene: Scene,
    log: DrivingLog,
    views: Views,
    chosen: Int[np.ndarray, " n"],
    exposure: Exposure,
    config: RenderConfig = _RENDER,
) -> Score:
    """Render some views, actors where the log has them, and compare with what was recorded.

    Args:
        scene: the reconstruction.
        log: whose boxes bound the actors.
        views: what to compare with.
        chosen: indices of the views; at least one.
        exposure: of every frame of the log.
        config: of the renderer; its room for pairs grows as needed.

    Raises:
        ValueError: if no view is chosen.
    """
    if not len(chosen):
        raise ValueError("score needs at least one view; none was chosen")
    rendered, values = [], []
    for view in chosen:
        rgb, config = _draw(scene, views, int(view), exposure, config)
        mask = ~box_mask(log, int(views.frame[view]), views.world_from_camera[view].astype(np.float64),
                         views.intrinsics[view].astype(np.float64), views.size)  # fmt: skip
        rendered.append(np.asarray(quantise(rgb)))
        values.append(np.asarray(_compare(rgb, views.images[view], mask)))
    whole, static, actors, similarity = np.stack(values).astype(np.float64).T
    return Score(
        view=np.asarray(chosen),
        psnr=whole,
        psnr_static=static,
        psnr_actors=actors,
        ssim=similarity,
        rendered=np.stack(rendered),
        recorded=np.asarray(views.images[np.asarray(chosen)]),
    )


def render_view(
    scene: Scene, views: Views, view: Int[Array, ""], exposure: Exposure, config: RenderConfig
) -> tuple[Rendering, Float[Array, "height width 3"]]:
    """One view as the renderer gives it, and its colours as the camera would have recorded them."""
    width, height = views.size
    frame = views.frame[view]
    cameras = Cameras(views.world_from_camera[view][None], views.intrinsics[view][None], width, height)
    rendering = render(scene, cameras, views.world_from_actor[frame][None], views.actor_valid[frame][None], config)
    return rendering, expose(exposure, frame, rendering.rgb[0])


def enlarge(config: RenderConfig, factor: float = 1.5) -> RenderConfig:
    """The same renderer with more room for (splat, tile) pairs."""
    pairs = int(config.raster.pairs_per_camera * factor)
    return dataclasses.replace(config, raster=dataclasses.replace(config.raster, pairs_per_camera=pairs))


def _draw(
    scene: Scene, views: Views, view: int, exposure: Exposure, config: RenderConfig
) -> tuple[Array, RenderConfig]:
    """One view's colours, and the renderer with as much room as it took."""
    moment = views.frame[view : view + 1]
    single, change = views.only(view), Exposure(exposure.log_gain[moment], exposure.bias[moment])
    for _ in range(_MOST_GROWTHS):
        rgb, overflow = _render_single(scene, single, change, config)
        if not bool(overflow):
            return rgb, config
        config = enlarge(config, 2.0)
    raise ValueError(f"view {view} needs more than {config.raster.pairs_per_camera} pairs; are the Gaussians huge?")


@partial(jax.jit, static_argnames="config")
def _render_single(scene: Scene, views: Views, exposure: Exposure, config: RenderConfig) -> tuple[Array, Array]:
    rendering, rgb = render_view(scene, views, jnp.zeros((), jnp.int32), exposure, config)
    return jnp.clip(rgb, 0.0, 1.0), rendering.overflow[0]


@jax.jit
def _compare(rgb: Array, image: Array, mask: Array) -> Array:
    reference = jnp.asarray(image, jnp.float32) / 255.0
    return jnp.stack(
        [psnr(rgb, reference), psnr(rgb, reference, mask), psnr(rgb, reference, ~mask), ssim(rgb, reference)]
    )
