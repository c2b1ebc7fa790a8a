"""gsplat's front door with its checks of shapes, drawing with the reference: shows that it gets the same scene."""

import jax.numpy as jnp
import numpy as np
import torch

from jaxrecon.kernels import Arena, Views, rasterize
from jaxrecon.scene.gaussians import SH_C0

__version__ = "stand-in"
LARGEST_CALL = 2  # cameras; more do not fit this device's memory


def rasterization(
    means,
    quats,
    scales,
    opacities,
    colors,
    viewmats,
    Ks,
    width,
    height,
    near_plane,
    far_plane,
    eps2d,
    packed,
    render_mode,
    rasterize_mode,
):
    """Images with expected depth, alphas, and nothing else."""
    batch, count, cameras = means.shape[:-2], means.shape[-2], viewmats.shape[-3]
    assert (near_plane, far_plane, eps2d, render_mode) == (0.01, 1e10, 0.3, "RGB+ED")
    shapes = [(means, (count, 3)), (quats, (count, 4)), (scales, (count, 3)), (opacities, (count,))]
    shapes += [(colors, (count, 3)), (viewmats, (cameras, 4, 4)), (Ks, (cameras, 3, 3))]
    for tensor, shape in shapes:
        assert tensor.shape == (*batch, *shape) and tensor.dtype == np.float32 and isinstance(tensor, torch.Tensor)
    if cameras > LARGEST_CALL and not packed:
        raise torch.cuda.OutOfMemoryError("too many cameras at once")
    if not batch:
        return _draw(means, quats, scales, opacities, colors, viewmats, Ks, width, height, rasterize_mode)
    assert not packed, "a packed batch is drawn wrongly"
    arrays = zip(means, quats, scales, opacities, colors, viewmats, Ks, strict=True)
    drawn = [_draw(*one, width, height, rasterize_mode)[:2] for one in arrays]
    images, alphas = (np.stack(some).view(torch.Tensor) for some in zip(*drawn, strict=True))
    return images, alphas, {}


def _draw(means, quats, scales, opacities, colors, viewmats, Ks, width, height, mode):
    arrays = [jnp.asarray(np.asarray(leaf)) for leaf in (means, quats, scales, opacities)]
    sh = (jnp.asarray(np.asarray(colors))[:, None] - 0.5) / SH_C0
    arena = Arena(*arrays, sh, jnp.zeros(len(means), jnp.int32))
    pinhole = np.stack([Ks[:, 0, 0], Ks[:, 1, 1], Ks[:, 0, 2], Ks[:, 1, 2]], axis=1)
    poses = jnp.asarray(np.asarray(viewmats))[:, None]
    views = Views(poses, jnp.ones(poses.shape[:2], bool), jnp.asarray(np.asarray(pinhole)), None, width, height)
    raster = rasterize(arena, views, antialiased=mode == "antialiased", backend="reference")
    images = np.concatenate([np.asarray(raster.rgb), np.asarray(raster.depth)[..., None]], axis=-1)
    return images.view(torch.Tensor), np.asarray(raster.alpha)[..., None].view(torch.Tensor), {}
