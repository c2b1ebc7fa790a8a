"""What the training views saw of a scene: how often, from where, how finely, and how well each part redraws them."""

import dataclasses
import os
import pathlib
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxrecon.geometry.cameras import pixel_rays
from jaxrecon.geometry.transforms import inverse
from jaxrecon.reconstruct.exposure import Exposure
from jaxrecon.reconstruct.score import enlarge, render_view
from jaxrecon.reconstruct.views import ReconstructionError, Views
from jaxrecon.render import Cameras, RenderConfig, render
from jaxrecon.scene.gaussians import SH_C0
from jaxrecon.scene.scene import Scene, sky_colour
from jaxrecon.storage import read_folder, write_folder

Array = Any  # NumPy on the host, JAX on the device

MOST_GROWTHS = 8
KIND, VERSION = "support", 1
_ARRAYS = "support.npz"
_LEAST_PX = 0.25  # blended weight, in whole pixels, from which on a view counts as having seen a Gaussian
_LEAST_LOOKS_PX = 1.0  # pixels of a view that must look into a direction of the sky to judge it
_RENDER = RenderConfig()


@flax.struct.dataclass
class Support:
    """The evidence that training views give for each Gaussian, and for the sky in each direction.

    Attributes:
        views: how many of them saw the Gaussian.
        nearest: smallest distance from which it was seen, metres; 0 where it never was, as in what follows.
        distance: mean distance from which it was seen, metres.
        resolution: finest sampling with which it was seen, pixels a metre (focal length over distance).
        direction: mean of the unit vectors from it to the cameras that saw it, in its own group's frame. The closer
            its norm (the resultant length) is to one, the narrower the range of directions.
        error: mean absolute colour error of the pixels that it is blended into, weighted by its share of them.
        sky_share: largest share of a direction's pixels that any view saw as sky.
        sky_error: mean absolute colour error of the pixels that the sky is seen in.
    """

    views: Int[Array, " n"]
    nearest: Float[Array, " n"]
    distance: Float[Array, " n"]
    resolution: Float[Array, " n"]
    direction: Float[Array, "n 3"]
    error: Float[Array, " n"]
    sky_share: Float[Array, "row column"]
    sky_error: Float[Array, "row column"]


def view_support(
    scene: Scene,
    views: Views,
    chosen: Int[np.ndarray, " view"],
    exposure: Exposure,
    config: RenderConfig = _RENDER,
    least_px: float = _LEAST_PX,
) -> Support:
    """Ask every chosen view what it saw.

    The derivative of an image's sum with respect to a Gaussian's colour is that Gaussian's blended weight in it, in
    pixels; weighted with the image's error it says how wrong the pixels are that the Gaussian shows in. One backward
    pass a view gives both for all Gaussians and for the sky.

    Args:
        scene: as fitted.
        views: what it was fitted to.
        chosen: indices of the training views; at least one.
        exposure: of every frame of the log.
        config: of the renderer; its room for pairs grows as needed.
        least_px: blended weight, in whole pixels, from which on a view counts as having seen a Gaussian.

    Raises:
        ReconstructionError: if no view is chosen.
    """
    if not len(chosen):
        raise ReconstructionError("view_support needs at least one training view; none was chosen")
    on_device = jax.tree.map(jnp.asarray, views)
    index = jnp.asarray(chosen, jnp.int32)
    for _ in range(MOST_GROWTHS):
        support, overflow, pairs = _gather(scene, on_device, index, exposure, least_px, config)
        if not bool(overflow):
            return support
        config = enlarge(config, max(1.5, 1.3 * int(pairs) / config.raster.pairs_per_camera))
    raise ReconstructionError(
        f"views need more than {config.raster.pairs_per_camera} (splat, tile) pairs; are the Gaussians huge?"
    )


def towards_camera(
    scene: Scene, world_from_camera: Float[Array, "4 4"], world_from_actor: Float[Array, "actor 4 4"]
) -> tuple[Float[Array, "n 3"], Float[Array, " n"]]:
    """Unit vector from each Gaussian to a camera, in the Gaussian's own group's frame, and the distance in metres."""
    world_from_group = jnp.concatenate([jnp.eye(4)[None], world_from_actor])
    group_from_world = inverse(world_from_group)
    centre = world_from_camera[:3, 3]
    place = jnp.sum(group_from_world[:, :3, :3] * centre, axis=-1) + group_from_world[:, :3, 3]
    offset = place[scene.group] - scene.gaussians.means
    distance = jnp.sqrt(jnp.maximum(jnp.sum(offset * offset, axis=-1), 1e-12))
    return offset / distance[:, None], distance


def blended_weights(
    scene: Scene, views: Views, view: Int[Array, ""], pixel_values: Float[Array, "height width 3"], config: RenderConfig
) -> tuple[Float[Array, "n 3"], Float[Array, "row column 3"]]:
    """Sum over a view's pixels of the weight with which each Gaussian, and each texel of the sky, is blended into them,
    times each pixel's three values.
    """  # fmt: skip
    frame, (width, height) = views.frame[view], views.size
    cameras = Cameras(views.world_from_camera[view][None], views.intrinsics[view][None], width, height)

    def draw(sh: Array, sky: Array) -> Array:
        # Grey by nature: a colour of zero would be clipped there and have no derivative.
        bare = dataclasses.replace(scene, gaussians=dataclasses.replace(scene.gaussians, sh=sh), sky=sky)
        return render(bare, cameras, views.world_from_actor[frame][None], views.actor_valid[frame][None], config).rgb[0]

    grey = jnp.zeros((scene.gaussians.capacity, 1, 3))
    _, pull_back = jax.vjp(draw, grey, jnp.zeros_like(scene.sky))
    of_splats, of_sky = pull_back(pixel_values)
    return of_splats[:, 0] / SH_C0, of_sky


@partial(jax.jit, static_argnames="config")
def _gather(
    scene: Scene, views: Views, chosen: Array, exposure: Exposure, least_px: Array, config: RenderConfig
) -> tuple[Support, Array, Array]:
    """Support by one scan over the views; whether any view overflowed, and the most pairs that one needed."""
    count, texels = scene.gaussians.capacity, scene.sky.shape[:2]
    sums = {name: jnp.zeros(count) for name in ("seen", "distance", "weight", "error", "resolution")}
    sums |= {"direction": jnp.zeros((count, 3)), "nearest": jnp.full(count, jnp.inf)}
    sums |= {name: jnp.zeros(texels) for name in ("sky_weight", "sky_error", "sky_share")}

    def add(sums: dict[str, Array], view: Array) -> tuple[dict[str, Array], tuple[Array, Array]]:
        rendering, rgb = render_view(scene, views, view, exposure, config)
        error = jnp.mean(jnp.abs(jnp.clip(rgb, 0, 1) - views.images[view] / 255.0), axis=-1)
        values = jnp.stack([jnp.ones_like(error), error, jnp.zeros_like(error)], axis=-1)
        splats, sky = blended_weights(scene, views, view, values, config)
        unit, distance = towards_camera(scene, views.world_from_camera[view], views.world_from_actor[views.frame[view]])
        seen = splats[:, 0] >= least_px
        resolution = views.intrinsics[view, 0] / distance
        looks = _looks(scene, views, view)
        share = jnp.where(looks >= _LEAST_LOOKS_PX, sky[..., 0] / jnp.maximum(looks, _LEAST_LOOKS_PX), 0.0)
        return {
            "seen": sums["seen"] + seen,
            "distance": sums["distance"] + seen * distance,
            "weight": sums["weight"] + splats[:, 0],
            "error": sums["error"] + splats[:, 1],
            "resolution": jnp.maximum(sums["resolution"], seen * resolution),
            "direction": sums["direction"] + seen[:, None] * unit,
            "nearest": jnp.minimum(sums["nearest"], jnp.where(seen, distance, jnp.inf)),
            "sky_weight": sums["sky_weight"] + sky[..., 0],
            "sky_error": sums["sky_error"] + sky[..., 1],
            "sky_share": jnp.maximum(sums["sky_share"], share),
        }, (rendering.overflow[0], rendering.pairs[0])

    sums, (overflow, pairs) = jax.lax.scan(add, sums, chosen)
    times = jnp.maximum(sums["seen"], 1)
    support = Support(
        views=sums["seen"].astype(jnp.int32),
        nearest=jnp.where(sums["seen"] > 0, sums["nearest"], 0.0),
        distance=sums["distance"] / times,
        resolution=sums["resolution"],
        direction=sums["direction"] / times[:, None],
        error=jnp.where(sums["seen"] > 0, sums["error"] / jnp.maximum(sums["weight"], 1e-6), 0.0),
        sky_share=jnp.minimum(sums["sky_share"], 1.0),
        sky_error=sums["sky_error"] / jnp.maximum(sums["sky_weight"], 1e-6),
    )
    return support, jnp.any(overflow), jnp.max(pairs)


def _looks(scene: Scene, views: Views, view: Array) -> Array:
    """How many pixels of a view look into the direction of each texel of the sky."""
    rays = pixel_rays(views.intrinsics[view], *views.size)
    directions = jnp.sum(views.world_from_camera[view, :3, :3] * rays[..., None, :], axis=-1)
    total = jax.grad(lambda sky: jnp.sum(sky_colour(sky, directions)[..., 0]))(jnp.zeros_like(scene.sky))
    return total[..., 0]


def save_support(
    support: Support, path: str | os.PathLike[str], metadata: dict[str, Any] | None = None, overwrite: bool = False
) -> str:
    """Write a scene's support as a folder with checksums.

    Args:
        support: of all slots of a scene.
        path: folder to create.
        metadata: anything JSON can hold, say the content hash of the scene's folder.
        overwrite: replace a folder that exists.

    Returns:
        Content hash of the folder.

    Raises:
        StorageError: if the path exists and ``overwrite`` is false.
    """
    arrays = {field.name: np.asarray(getattr(support, field.name)) for field in dataclasses.fields(support)}

    def write(folder: pathlib.Path) -> None:
        np.savez(folder / _ARRAYS, **arrays)  # type: ignore[arg-type]

    return write_folder(path, write, kind=KIND, version=VERSION, metadata=metadata or {}, overwrite=overwrite)


def load_support(path: str | os.PathLike[str]) -> tuple[Support, dict[str, Any]]:
    """Read a scene's support and the metadata it was saved with.

    Raises:
        StorageError: if the folder is missing, incomplete, altered or of another kind or version.
    """
    manifest = read_folder(path, kind=KIND, version=VERSION)
    with np.load(pathlib.Path(path) / _ARRAYS, allow_pickle=False) as archive:
        fields = {field.name: jnp.asarray(archive[field.name]) for field in dataclasses.fields(Support)}
    return Support(**fields), dict(manifest.metadata)
