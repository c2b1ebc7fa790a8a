"""The rasterizer's rows: a synthetic street, drawn exactly and in policy-resolution form, beside gsplat."""

import dataclasses
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache, partial
from typing import Any

import jax
import numpy as np
from benchmark_rows import images_per_second, milliseconds
from benchmark_timing import Timing
from gsplat_peer import Answer, GsplatPeer, PeerError
from rasterizer_drawing import (
    EXACT,
    FINER,
    Drawn,
    Look,
    drawn_slots,
    images_of,
    peak_memory,
    stage_times,
    supersampled,
    time_drawing,
    time_gradient,
)
from rasterizer_quality import agreement, gradient_agreement, psnr
from rasterizer_specs import SPECS, RowSpec
from splat_street import Splats, actor_poses, arena_of, intrinsics, join, road_cameras, scene_of, street, views_of

from jaxrecon.kernels import Arena, RasterConfig, Views, pick_backend, prepack
from jaxrecon.render import levels_arena
from jaxrecon.scene import build_levels, join_levels
from jaxrecon.scene.gaussians import SH_C0

POLICY_DETAIL = 3.5  # pixels that a merged cell may cover
POLICY_ANTIALIASED = True  # whether opacities make up for the blur
POLICY = Look(POLICY_DETAIL, POLICY_ANTIALIASED)
Measured = tuple[Timing, Answer | None, dict[str, Any]]


def _streets(gaussians: int, scenes: int, actors: int) -> list[Splats]:
    return [street(gaussians, seed, actors) for seed in range(scenes)]


@lru_cache(maxsize=1)  # two rows in a row share it
def _levels(gaussians: int, scenes: int, actors: int) -> tuple[Arena, float]:
    streets = [scene_of(splats) for splats in _streets(gaussians, scenes, actors)]
    begin = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        built = list(pool.map(build_levels, streets))
    arena = levels_arena(built[0]) if scenes == 1 else levels_arena(*join_levels(built))
    return jax.block_until_ready(prepack(arena)), time.perf_counter() - begin


class Inputs:
    """One row's scenes and cameras, each made when it is asked for."""

    def __init__(self, spec: RowSpec):
        self.spec = spec

    @cached_property
    def splats(self) -> list[Splats]:
        """Of each scene."""
        return _streets(self.spec.gaussians, self.spec.scenes, self.spec.actors)

    @cached_property
    def poses(self) -> list[np.ndarray]:
        """Camera poses of each set."""
        return [road_cameras(self.spec.cameras, 1 + number) for number in range(self.spec.sets)]

    def views(self, number: int, cameras: int | None = None, finer: int = 1) -> Views:
        """The first cameras of a set, or all."""
        spec = self.spec
        actors = actor_poses(self.poses[number], spec.actors, number)[:cameras] if spec.actors else None
        scene = (np.arange(spec.cameras, dtype=np.int32) % spec.scenes)[:cameras] if spec.scenes > 1 else None
        return views_of(self.poses[number][:cameras], spec.width, spec.height, actors, scene, finer)

    @property
    def sets(self) -> list[Views]:
        """All cameras."""
        return [self.views(number) for number in range(self.spec.sets)]

    @property
    def exact(self) -> Arena:
        """The scenes' own Gaussians."""
        arenas = [arena_of(splats) for splats in self.splats]
        return join(arenas) if self.spec.scenes > 1 else arenas[0]

    @property
    def levels(self) -> tuple[Arena, float]:
        """The scenes' policy-resolution form, and the seconds that it took to build."""
        return _levels(self.spec.gaussians, self.spec.scenes, self.spec.actors)

    def for_peer(self) -> dict[str, np.ndarray]:
        """The same numbers as gsplat takes them."""
        fx, fy, cx, cy = intrinsics(self.spec.width, self.spec.height)
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)
        poses = np.stack(self.poses)
        return {"viewmats": poses, "matrices": np.tile(matrix, (*poses.shape[:2], 1, 1)), **parameters(self.splats[0])}


def parameters(splats: Splats | Arena) -> dict[str, np.ndarray]:
    """What gsplat draws, colours without harmonics."""
    arrays = {name: np.asarray(getattr(splats, name)) for name in ("means", "quaternions", "scales", "opacities")}
    if isinstance(splats, Splats):
        return {**arrays, "colours": splats.colours}
    return {**arrays, "colours": np.maximum(0.5 + SH_C0 * np.asarray(splats.sh[:, 0]), 0)}


class RasterizerBench:
    """Measures rows; what several rows need is measured once.

    Args:
        backend: as ``kernels.rasterize`` takes it.
        repeats: timed samples.
        peer: asked where a row can be compared; None: no ratios.
        look: of the policy-resolution form.
    """

    def __init__(self, backend: str, repeats: int, peer: GsplatPeer | None, look: Look = POLICY):
        self.backend = pick_backend() if backend == "auto" else backend
        self.repeats, self.peer, self.look = repeats, peer, look
        self._answers: dict[Any, Answer] = {}
        self._failed = ""

    @property
    def measurements(self) -> dict[str, Callable[[], dict[str, Any] | None]]:
        """What measures each row of the suite, by name."""
        return {spec.name: partial(self.row, spec) for spec in SPECS}

    def row(self, spec: RowSpec) -> dict[str, Any] | None:
        """Measure one row; None, with a printed line, where it needs another device.

        Raises:
            BenchmarkError: if an image lacks splats.
        """
        device = jax.default_backend()
        if device != spec.device:
            print(f"[{spec.name}] skipped: it is measured on a {spec.device.upper()}, and JAX runs on {device} here")
            return None
        forms: dict[str, Callable[[RowSpec, Inputs], Measured]] = {
            "exact": self._exact,
            "gradient": self._gradient,
            "policy": self._policy,
            "own_splats": self._own_splats,
            "scenes": self._scenes,
        }
        self._failed = ""
        ours, peer, quality = forms[spec.form](spec, Inputs(spec))
        if self._failed:
            quality["gsplat_error"] = self._failed
        quality |= {"backend": self.backend, **ours.notes}
        if spec.device == "cpu" or spec.form == "scenes":
            return images_per_second(spec.name, ours, spec.cameras, quality)
        quality["images_per_second"] = 1e3 * spec.cameras / ours.median
        if peer is None:
            return milliseconds(spec.name, ours, quality, None, "")
        spread = {"low": peer.timing.low, "high": peer.timing.high, **peer.timing.notes}
        quality["gsplat"] = {**peer.notes, **spread}
        return milliseconds(spec.name, ours, quality, peer.timing, f"gsplat {peer.version}")

    def _ask(self, spec: RowSpec, kind: str, arrays: dict[str, np.ndarray], **more: Any) -> Answer | None:
        """Ask the peer, before the row takes device memory here."""
        if self.peer is None or spec.device == "cpu":
            return None
        options = {"width": spec.width, "height": spec.height, "shown": spec.shown, "repeats": self.repeats, **more}
        key = (kind, spec.gaussians, spec.cameras, spec.sets, *options.values())
        if key not in self._answers:
            try:
                self._answers[key] = self.peer.ask(kind, arrays, **options)
            except PeerError as error:
                # What is measured here stands without a ratio.
                print(f"  {error}", flush=True)
                self._failed = str(error)
                return None
        return self._answers[key]

    def _draw(self, spec: RowSpec, inputs: Inputs, arena: Arena, look: Look = EXACT) -> tuple[Drawn, dict[str, Any]]:
        config = RasterConfig(cameras_per_pass=spec.cameras_per_pass)
        sets = inputs.sets
        drawn = time_drawing(arena, sets, look, self.backend, config, self.repeats, spec.shown)
        quality: dict[str, Any] = {"overflow": drawn.overflow, "pairs_per_camera": drawn.pairs}
        if spec.memory:
            quality |= peak_memory(arena, sets[0], look, self.backend, drawn.config)
        if spec.staged and self.backend == "gpu":
            quality |= stage_times(arena, sets[0], look, drawn.config, self.repeats)
        return drawn, quality

    def _exact(self, spec: RowSpec, inputs: Inputs) -> Measured:
        peer = self._ask(spec, "images", inputs.for_peer())
        arena = inputs.exact
        drawn, quality = self._draw(spec, inputs, arena)
        if peer is not None:
            quality |= agreement(drawn.images, peer.arrays, "gsplat")
        elif spec.device == "cpu":
            few = inputs.views(0, spec.shown)
            quality |= agreement(drawn.images, images_of(arena, few, "reference", RasterConfig()), "reference")
        return drawn.timing, peer, quality

    def _gradient(self, spec: RowSpec, inputs: Inputs) -> Measured:
        random = np.random.default_rng(7)
        weights = random.normal(size=(spec.cameras, spec.height, spec.width, 5)).astype(np.float32)
        weights[..., 3] *= 0.02  # depth is some fifty times what the others are
        peer = self._ask(spec, "gradient", {**inputs.for_peer(), "weights": weights})
        config = RasterConfig(cameras_per_pass=spec.cameras_per_pass)
        drawn = time_gradient(inputs.exact, inputs.sets, weights, self.backend, config, self.repeats, spec.shown)
        quality: dict[str, Any] = {"overflow": drawn.overflow, "pairs_per_camera": drawn.pairs}
        if peer is not None:
            quality |= agreement(drawn.images, peer.arrays, "gsplat")
            others = {name: peer.arrays[f"d_{name}"] for name in drawn.gradients}
            quality["gradient_relative_l2_against_gsplat"] = gradient_agreement(drawn.gradients, others)
        return drawn.timing, peer, quality

    def _policy(self, spec: RowSpec, inputs: Inputs) -> Measured:
        peer = self._ask(spec, "images", inputs.for_peer())
        arena, seconds = inputs.levels
        drawn, quality = self._draw(spec, inputs, arena, self.look)
        truth, judged = self._judge(spec, inputs, drawn)
        quality |= {
            **dataclasses.asdict(self.look),
            "build_seconds": seconds,
            "splats_of_all_levels": arena.count,
            **judged,
        }
        if peer is not None:
            quality |= {
                "psnr_gsplat": psnr(peer.arrays["rgb"], truth),
                "psnr_gsplat_antialiased": psnr(peer.arrays["antialiased_rgb"], truth),
                **agreement(drawn.images, peer.arrays, "gsplat"),
            }
        return drawn.timing, peer, quality

    def _judge(self, spec: RowSpec, inputs: Inputs, drawn: Drawn) -> tuple[np.ndarray, dict[str, float]]:
        """The supersampled exact images, and how much closer to them the drawing is than exact images of its size."""
        exact = inputs.exact
        truth = supersampled(exact, inputs.views(0, spec.shown, FINER), self.backend)
        plain = images_of(exact, inputs.views(0, spec.shown), self.backend, RasterConfig())
        ours, theirs = psnr(drawn.images["rgb"], truth), psnr(plain["rgb"], truth)
        return truth, {"psnr": ours, "psnr_exact": theirs, "psnr_gain": ours - theirs}

    def _own_splats(self, spec: RowSpec, inputs: Inputs) -> Measured:
        arena, _ = inputs.levels
        slots = drawn_slots(arena, inputs.views(0), self.look)
        peer = self._ask(
            spec,
            "own_splats",
            {**inputs.for_peer(), **parameters(arena), "slots": slots},
            antialiased=self.look.antialiased,
        )
        drawn, quality = self._draw(spec, inputs, arena, self.look)
        own = (slots >= 0).sum(axis=1)
        quality |= {
            **dataclasses.asdict(self.look),
            "splats_per_camera": float(own.mean()),
            "splats_most": int(own.max()),
        }
        if peer is not None:
            quality["gsplat_is_given"] = (
                "a batch of its scenes, each camera's own splats in one: of the levels drawn, in view and opaque, "
                "laid out and padded beforehand; not packed, since 1.5.3 draws packed batches wrongly"
            )
            quality |= agreement(drawn.images, peer.arrays, "gsplat")
        return drawn.timing, peer, quality

    def _scenes(self, spec: RowSpec, inputs: Inputs) -> Measured:
        arena, seconds = inputs.levels
        drawn, quality = self._draw(spec, inputs, arena, self.look)
        _, judged = self._judge(spec, inputs, drawn)
        quality |= {
            **dataclasses.asdict(self.look),
            "build_seconds": seconds,
            "splats_of_all_levels": arena.count,
            **judged,
        }
        quality |= {"scenes": spec.scenes, "splats_per_scene": spec.gaussians, "actors_per_camera": spec.actors}
        return drawn.timing, None, quality
