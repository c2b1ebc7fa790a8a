"""The suite's images, and how near they are to the truth."""

import jax
import numpy as np
from benchmark_rows import BenchmarkError
from rasterizer_drawing import FINER
from rasterizer_quality import box_filtered, psnr
from rooms import GROWTHS, splats_of, views_of, with_room

from jaxrecon.geometry.cameras import rescale_intrinsics
from jaxrecon.render import Cameras
from jaxrecon.simulator import SplatCameras, State, World


def judge(policy: World, exact: World, state: State) -> dict[str, float]:
    """Distance of the policy-resolution form, and of exact images, from exact ones of 4x4 the pixels, box-filtered.

    Args:
        policy: world drawn in its policy-resolution form.
        exact: the same with every splat drawn.
        state: of the environments that are looked at.

    Returns:
        psnr of the form and ``psnr_exact``, decibels from the mean error over all images.
    """
    truth = box_filtered(_images(exact, state, FINER), FINER)
    ours, plain = (_images(world, state, 1) for world in (policy, exact))
    figures = {"psnr": psnr(ours, truth), "psnr_exact": psnr(plain, truth)}
    return figures | {"psnr_gain": figures["psnr"] - figures["psnr_exact"], "judged_images": len(truth)}


def _images(world: World, state: State, finer: int) -> np.ndarray:
    """Colours in [0, 1], camera by camera, with whatever room each needs."""
    cameras, scene, poses, valid = views_of(world, state)
    size, large = (cameras.width, cameras.height), (finer * cameras.width, finer * cameras.height)
    intrinsics = rescale_intrinsics(cameras.intrinsics, size, large)
    images, pairs = [], 1 << 16
    for number in range(len(scene)):
        one = slice(number, number + 1)
        view = Cameras(cameras.world_from_camera[one], intrinsics[one], *large)
        for _ in range(GROWTHS):
            drawn = _draw(splats_of(with_room(world, pairs)), view, scene[one], poses[one], valid[one])
            if not bool(drawn.overflow.any()):
                break
            pairs *= 2
        else:
            raise BenchmarkError(f"an image still lacks splats with room for {pairs} pairs")
        images.append(np.clip(np.asarray(drawn.rgb), 0.0, 1.0))
    return np.concatenate(images)


_draw = jax.jit(SplatCameras.render)
