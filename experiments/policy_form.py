"""A fitted scene's policy-resolution form, judged as a policy's camera sees it along the recorded path."""

import dataclasses
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benchmark_rows import BenchmarkError
from jaxtyping import Float
from rasterizer_drawing import FINER
from rasterizer_quality import box_filtered, psnr

from jaxrecon.kernels import Arena, prepack
from jaxrecon.logs import DrivingLog
from jaxrecon.reconstruct import FitResult
from jaxrecon.reconstruct.score import enlarge
from jaxrecon.render import Cameras, RenderConfig, levels_arena, render_arena, scene_arena
from jaxrecon.scene import Scene, build_levels
from jaxrecon.simulator import policy_rig

WIDTH, HEIGHT = 96, 32  # pixels
POLICY = RenderConfig(antialiased=True, detail=3.5)  # pixels that a merged cell may cover
MOST_GROWTHS = 8
TOGETHER = 16  # cameras of a call


def judge_policy_form(result: FitResult, log: DrivingLog, camera: str) -> dict[str, Any]:
    """Distance from the exact rendering of ``FINER`` times the pixels along each side, box-filtered.

    Args:
        result: of a fit.
        log: that it was fitted to.
        camera: the one camera that it was fitted to, whose middle the policy sees.

    Returns:
        psnr of the policy-resolution form; beside it that of exact rendering at the policy's resolution, plain and
        antialiased, what the form holds, and what building it took. Decibels from the mean error over all frames.
    """
    scene = jax.tree.map(jnp.asarray, result.scene)
    begin = time.perf_counter()
    levels = build_levels(scene)
    seconds = time.perf_counter() - begin
    policy, exact = prepack(levels_arena(levels)), prepack(scene_arena(scene))
    cameras = path_cameras(result, log, camera)
    draw = partial(_draw, scene=scene, result=result)
    truth = box_filtered(draw(exact, finer(cameras), config=RenderConfig(), together=1), FINER)
    forms = {
        "": (policy, POLICY),
        "_exact": (exact, RenderConfig()),
        "_exact_antialiased": (exact, RenderConfig(antialiased=True)),
    }
    figures: dict[str, Any] = {
        f"psnr{name}": psnr(draw(arena, cameras, config=config, together=TOGETHER), truth)
        for name, (arena, config) in forms.items()
    }
    return figures | {
        "detail": POLICY.detail,
        "antialiased": POLICY.antialiased,
        "splats": int(jnp.sum(scene.gaussians.valid)),
        "splats_of_all_levels": int(jnp.sum(levels.opacities > 0)),
        "build_seconds": seconds,
        "frames": log.frames,
        "size": f"{WIDTH}x{HEIGHT}",
    }


def path_cameras(result: FitResult, log: DrivingLog, camera: str) -> Cameras:
    """The policy's camera in every frame, where the fit has the car."""
    poses = jnp.asarray(result.views.world_from_camera[: log.frames])
    rig = policy_rig(log, WIDTH, HEIGHT, [camera])
    return Cameras(poses, jnp.tile(rig.intrinsics, (log.frames, 1)), WIDTH, HEIGHT)


def finer(cameras: Cameras) -> Cameras:
    """The same fields of view in ``FINER`` times the pixels along each side."""
    size = {"width": FINER * cameras.width, "height": FINER * cameras.height}
    return dataclasses.replace(cameras, intrinsics=FINER * cameras.intrinsics, **size)


def _draw(
    arena: Arena, cameras: Cameras, *, scene: Scene, result: FitResult, config: RenderConfig, together: int
) -> Float[np.ndarray, "camera height width 3"]:
    """Colours of a form of a scene in every frame, as a camera would hold them, some frames in a call.

    Raises:
        BenchmarkError: if they need more room than is sensible.
    """
    count = cameras.intrinsics.shape[0]
    together, images = min(together, count), []
    for first in range(0, count, together):
        index = np.minimum(first + np.arange(together), count - 1)
        part = dataclasses.replace(
            cameras, world_from_camera=cameras.world_from_camera[index], intrinsics=cameras.intrinsics[index]
        )
        actors = jnp.asarray(result.views.world_from_actor[index]), jnp.asarray(result.views.actor_valid[index])
        for _ in range(MOST_GROWTHS):
            drawn = _render(arena, scene, part, *actors, config=config)
            if not bool(drawn.overflow.any()):
                break
            # The cameras of a call share their room.
            config = enlarge(config, max(1.3, 1.3 * float(drawn.pairs.mean()) / config.raster.pairs_per_camera))
        else:
            raise BenchmarkError(f"images still lack splats at {config.raster.pairs_per_camera} pairs a camera")
        images.append(np.clip(np.asarray(drawn.rgb)[: count - first], 0, 1))
    return np.concatenate(images)


_render = partial(jax.jit, static_argnames="config")(render_arena)
