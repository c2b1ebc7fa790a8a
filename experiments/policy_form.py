"""A fitted scene's policy-resolution form: built, distilled, and judged as a policy's camera sees it."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int
from rasterizer_drawing import FINER
from rasterizer_quality import psnr

from jaxrecon.logs import DrivingLog
from jaxrecon.reconstruct import FitResult, heldout_frames
from jaxrecon.reconstruct.distil import DistilConfig, distil
from jaxrecon.reconstruct.policy_views import Path, draw_path, supersampled
from jaxrecon.render import Cameras, RasterConfig, RenderConfig, levels_arena, scene_arena
from jaxrecon.scene import Levels, build_levels
from jaxrecon.simulator import policy_rig
from jaxrecon.simulator.cameras import POLICY_RENDER

SIZE, TALL = (96, 32), (96, 64)  # pixels of a policy's image: of a wide recording, and of others
WIDE = 2.2  # a recorded image wider than this many times its height gets the wide one
ASIDE, TURNED = 1.0, np.deg2rad(3.0)  # metres and radians by which the path's cameras are moved to be judged beside it
CPU_LOOK = dataclasses.replace(POLICY_RENDER, raster=RasterConfig(pairs_per_camera=20_480))  # room costs time there
CPU_DISTIL = DistilConfig(steps=200, batch=4, steps_per_call=10, views=128, render=CPU_LOOK)
DISTIL = {
    "tiny": DistilConfig(steps=4, batch=2, steps_per_call=2, views=4, render=POLICY_RENDER),
    "cpu": CPU_DISTIL,
    "gpu": DistilConfig(steps=2000, seconds=25.0, render=POLICY_RENDER),
}


@dataclasses.dataclass(frozen=True)
class PolicyForm:
    """A scene's form for a policy's cameras.

    Attributes:
        built: merged by moments.
        distilled: fitted through the renderer; as built where that was not asked for.
        build_seconds: that merging took.
        distil_seconds: that fitting took, with compilation and drawing what it was fitted to; None without it.
    """

    built: Levels
    distilled: Levels
    build_seconds: float
    distil_seconds: float | None


def make_policy_form(
    result: FitResult, log: DrivingLog, camera: str, config: DistilConfig | None, key: Array
) -> PolicyForm:
    """Build a fitted scene's form, and distil it about the path of the frames that were learned from.

    Args:
        result: of a fit.
        log: that it was fitted to.
        camera: whose middle the policy sees.
        config: how to distil; None does not.
        key: of every random choice.
    """
    scene = jax.tree.map(jnp.asarray, result.scene)
    begin = time.perf_counter()
    built = jax.block_until_ready(build_levels(scene))
    build_seconds, begin = time.perf_counter() - begin, time.perf_counter()
    if config is None:
        return PolicyForm(built, built, build_seconds, None)
    learned = policy_path(result, log, camera).take(np.flatnonzero(~result.views.heldout[: log.frames]))
    config = dataclasses.replace(config, finer=finer_of(result, learned))
    distilled = jax.block_until_ready(distil(built, scene, learned, key, config))
    return PolicyForm(built, distilled, build_seconds, time.perf_counter() - begin)


def judge_policy_form(
    form: PolicyForm,
    result: FitResult,
    log: DrivingLog,
    camera: str,
    frames: Int[np.ndarray, " n"],
    exact: bool = False,
) -> dict[str, Any]:
    """Distance from the exact rendering at ``finer_of`` times the pixels along each side, box-filtered.

    Args:
        form: of the scene.
        result: of the fit.
        log: that it was fitted to.
        camera: whose middle the policy sees.
        frames: in which it is judged, actors where they are then.
        exact: judge exact rendering at the policy's resolution too, plain and antialiased.

    Returns:
        psnr of the distilled form in the fit's poses, likewise as it was built and of the others; each also
        ``_beside``: ``ASIDE`` to either side and ``TURNED``, and ``_heldout``: of the frames alone that were; what the
        form holds, and what making it took. Decibels from the mean error over all frames.
    """
    scene = jax.tree.map(jnp.asarray, result.scene)
    forms = {
        "": (levels_arena(form.distilled), POLICY_RENDER),
        "_undistilled": (levels_arena(form.built), POLICY_RENDER),
    }
    if exact:
        own = scene_arena(scene)
        forms |= {"_exact": (own, RenderConfig()), "_exact_antialiased": (own, RenderConfig(antialiased=True))}
    path, unseen = policy_path(result, log, camera).take(frames), heldout_frames(log.frames)[frames]
    finer = finer_of(result, path)
    figures: dict[str, Any] = {}
    for place, there in (("", path), ("_beside", beside(path))):
        truth = np.asarray(supersampled(scene, there, finer))
        for name, (arena, config) in forms.items():
            drawn = np.asarray(draw_path(arena, scene, there, config))
            figures[f"psnr{place}{name}"] = psnr(drawn, truth)
            if unseen.any():
                figures[f"psnr{place}{name}_heldout"] = psnr(drawn[unseen], truth[unseen])
    return figures | {
        "detail": POLICY_RENDER.detail,
        "antialiased": POLICY_RENDER.antialiased,
        "splats": int(jnp.sum(scene.gaussians.valid)),
        "splats_of_all_levels": int(jnp.sum(form.built.opacities > 0)),
        "build_seconds": form.build_seconds,
        "distil_seconds": form.distil_seconds,
        "frames": len(frames),
        "finer": finer,
        "size": f"{path.cameras.width}x{path.cameras.height}",
    }


def policy_path(result: FitResult, log: DrivingLog, camera: str) -> Path:
    """The policy's camera in every frame, where the fit has the car, and the actors where it has them."""
    recorded = log.camera(camera).size
    width, height = SIZE if recorded[0] > WIDE * recorded[1] else TALL
    rig = policy_rig(log, width, height, [camera])
    # Views are those of one camera after the other; frames are the log's.
    first = log.frames * _place(result, log, camera)
    poses = jnp.asarray(result.views.world_from_camera[first : first + log.frames])
    cameras = Cameras(poses, jnp.tile(rig.intrinsics, (log.frames, 1)), width, height)
    return Path(cameras, jnp.asarray(result.views.world_from_actor), jnp.asarray(result.views.actor_valid))


def finer_of(result: FitResult, path: Path) -> int:
    """Pixels along a policy's pixel that its truth is drawn with: at least those of the images that were fitted.

    Drawn with fewer, Gaussians that were fitted at that size are widened, and show a haze that no camera saw.
    """
    return max(FINER, -(-result.views.size[0] // path.cameras.width))


def beside(path: Path) -> Path:
    """The same moments beside the path: every other one to the left, turned left and right by turns of two."""
    moment = jnp.arange(path.moments)
    side = jnp.where(moment % 2 == 0, ASIDE, -ASIDE)
    yaw = jnp.where(moment // 2 % 2 == 0, TURNED, -TURNED)
    return path.moved(side, jnp.zeros_like(side), yaw)


def _place(result: FitResult, log: DrivingLog, camera: str) -> int:
    """Which of the fitted cameras it is."""
    several = len(result.views.frame) > log.frames
    return [stream.name for stream in log.cameras].index(camera) if several else 0
