"""A policy-resolution form fitted through the renderer to what the exact scene shows at its resolution.

Merging keeps each cell's moments; what a blend of many cells shows also depends on what hides what, and small
Gaussians drawn at few pixels alias. Gradient steps on the merged Gaussians make up for both. The exact scene can be
drawn from anywhere, so the truth needs no recorded image: cameras are scattered about the path. Their images are drawn
once, and only Gaussians that some camera draws are fitted.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from jaxtyping import Array, Bool

from jaxrecon.reconstruct.loop import Clock
from jaxrecon.reconstruct.policy_views import Path, draw_moments, supersampled, with_room
from jaxrecon.render import RenderConfig, levels_arena
from jaxrecon.render.drawn import clusters_drawn
from jaxrecon.scene.levels import REACH, Levels
from jaxrecon.scene.scene import Scene

SMALLEST = 1e-3  # metres, of the size that a place's step is measured by: Gaussians on surfaces are flat
_CULLED_TOGETHER = 32  # cameras
_MORE_CLUSTERS = 1.3  # room over what the cameras draw of the form as it was built
_FINAL = 0.1  # of a step size, at the end


@dataclasses.dataclass(frozen=True)
class FormRates:
    """Adam's step sizes, falling to a tenth.

    Attributes:
        colour: of spherical harmonics.
        opacity: of logits.
        size: of logarithms of standard deviations.
        place: in units of each Gaussian's size at the start.
        axes: of quaternions.
    """

    colour: float = 2e-2
    opacity: float = 5e-2
    size: float = 2e-2
    place: float = 5e-3
    axes: float = 5e-3

    def __post_init__(self) -> None:
        for field, value in dataclasses.asdict(self).items():
            if not value >= 0:
                raise ValueError(f"FormRates.{field} is {value!r}; expected a step size of at least 0")


@dataclasses.dataclass(frozen=True)
class DistilConfig:
    """How to distil.

    Attributes:
        steps: gradient steps; rounded up to whole calls.
        seconds: most seconds of gradient steps, compilation and the truth not counted; step sizes fall in that time.
            None: no limit.
        batch: cameras of a step.
        steps_per_call: steps of one compiled call.
        views: cameras whose truth is drawn.
        finer: pixels of the truth along a pixel's side; their mean is the truth.
        side: standard deviation of the cameras' shift to the side of the path, metres.
        ahead: likewise along it.
        yaw: likewise of their turn, radians.
        rates: step sizes.
        render: look of the form: ``antialiased`` and ``detail``; the truth takes its backend. Room for
            pairs grows as needed; less of it is faster on a CPU.
    """

    steps: int = 600
    seconds: float | None = None
    batch: int = 8
    steps_per_call: int = 20
    views: int = 512
    finer: int = 4
    side: float = 1.0
    ahead: float = 0.5
    yaw: float = 0.08
    rates: FormRates = dataclasses.field(default_factory=FormRates)
    render: RenderConfig = dataclasses.field(default_factory=lambda: RenderConfig(antialiased=True, detail=3.5))

    def __post_init__(self) -> None:
        for field in ("steps", "batch", "steps_per_call", "views", "finer"):
            if not isinstance(getattr(self, field), int) or getattr(self, field) < 1:
                raise ValueError(f"DistilConfig.{field} is {getattr(self, field)!r}; expected a positive integer")
        for field in ("side", "ahead", "yaw"):
            if not getattr(self, field) >= 0:
                raise ValueError(f"DistilConfig.{field} is {getattr(self, field)!r}; expected at least 0")
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"DistilConfig.seconds is {self.seconds!r}; expected a positive number or None")

    @property
    def exact(self) -> RenderConfig:
        """Look of the truth; its room is not the form's, whose images are smaller."""
        return RenderConfig(backend=self.render.backend)


def distil(
    levels: Levels, scene: Scene, path: Path, key: Array, config: DistilConfig | None = None, progress: bool = True
) -> Levels:
    """Fit a form's Gaussians to the scene's supersampled exact images; what no camera draws stays as it was.

    Args:
        levels: from ``build_levels``.
        scene: what it is a form of.
        path: where cameras are scattered about.
        key: of every random choice.
        config: how.
        progress: show a progress bar.

    Raises:
        ValueError: if the path has no moments.
    """
    config = config or DistilConfig()
    if not path.moments:
        raise ValueError("distil got a path of no moments; expected one camera at least to scatter others about")
    where, which = jax.random.split(key)
    at = scattered(path, where, config)
    truth = supersampled(scene, at, config.finer, config.exact)
    drawn = _drawn(levels, at, config.render.detail)
    used = np.flatnonzero(drawn.any(axis=0))
    if not len(used):
        return levels
    part = jax.tree.map(lambda leaf: _rows(leaf, levels, used), levels)
    room = min(len(used), int(np.ceil(_MORE_CLUSTERS * drawn.sum(axis=1).max())))
    raster = dataclasses.replace(config.render.raster, clusters_per_camera=room)
    config = dataclasses.replace(config, render=dataclasses.replace(config.render, raster=raster))
    fitted = _descend(part, scene, at, truth, which, config, progress)
    return jax.tree.map(lambda leaf, new: _put_back(leaf, new, levels, used), levels, fitted)


def scattered(path: Path, key: Array, config: DistilConfig) -> Path:
    """Moments spread evenly over the path, the cameras shifted over the ground and turned about the vertical."""
    when, aside, ahead, turned = jax.random.split(key, 4)
    # One draw from each of equal spans leaves no stretch of the path out.
    share = (jnp.arange(config.views) + jax.random.uniform(when, (config.views,))) / config.views
    moment = jnp.minimum((share * path.moments).astype(jnp.int32), path.moments - 1)
    side, forward, yaw = (
        size * jax.random.normal(one, (config.views,))
        for size, one in ((config.side, aside), (config.ahead, ahead), (config.yaw, turned))
    )
    return path.take(moment).moved(side, forward, yaw)


def _drawn(levels: Levels, at: Path, detail: float) -> Bool[np.ndarray, "moment cluster"]:
    """Which clusters each camera draws."""
    arena, rows = levels_arena(levels), []
    for first in range(0, at.moments, _CULLED_TOGETHER):
        some = at.take(np.minimum(first + np.arange(_CULLED_TOGETHER), at.moments - 1))
        rows.append(np.asarray(clusters_drawn(arena, some.cameras, some.world_from_actor, some.actor_valid, detail)))
    return np.concatenate(rows)[: at.moments]


def _rows(leaf: Array, levels: Levels, used: np.ndarray) -> Array:
    """A leaf's entries of some clusters, be it one a cluster or one a Gaussian."""
    clusters = levels.near.shape[0]
    return leaf.reshape(clusters, -1, *leaf.shape[1:])[used].reshape(-1, *leaf.shape[1:])


def _put_back(leaf: Array, new: Array, levels: Levels, used: np.ndarray) -> Array:
    clusters = levels.near.shape[0]
    blocks = leaf.reshape(clusters, -1, *leaf.shape[1:])
    return blocks.at[used].set(new.reshape(len(used), *blocks.shape[1:])).reshape(leaf.shape)


def _descend(
    part: Levels, scene: Scene, at: Path, truth: Array, key: Array, config: DistilConfig, progress: bool
) -> Levels:
    """The part after all steps."""
    values, form, steps, done = _values(part), config.render, None, 0
    moments, clock = _optimiser().init(values), Clock()
    with tqdm.tqdm(total=config.steps, desc="distil", unit="step", disable=not progress) as bar:
        while (share := _share(done, clock, config)) < 1 or not done:
            call = (values, moments, part, scene, at, truth, key, jnp.int32(done), jnp.float32(share))
            if steps is None:
                with clock.paused(compiling=True):
                    steps = _steps.lower(*call, config=config, form=form).compile()
            after, kept, figures = steps(*call)
            error, overflow, pairs = jax.device_get([figures[name] for name in ("error", "overflow", "pairs")])
            if overflow:
                # Those steps saw images that lacked splats: take them again with room.
                form, steps = _roomier(form, float(pairs), part.near.shape[0]), None
                continue
            values, moments = after, kept
            bar.update(min(config.steps_per_call, config.steps - done))
            done += config.steps_per_call
            bar.set_postfix(psnr=f"{-10 * np.log10(max(error, 1e-12)):.2f} dB")
    return _with(part, values, normalised=True)


def _share(done: int, clock: Clock, config: DistilConfig) -> float:
    """How much of the budget is spent."""
    return max(done / config.steps, 0.0 if config.seconds is None else clock.seconds / config.seconds)


def _roomier(form: RenderConfig, pairs: float, clusters: int) -> RenderConfig:
    """With more room for what may have been too little: pairs, or clusters where pairs were enough."""
    if pairs > form.raster.pairs_per_camera:
        return with_room(form, pairs)
    more = min(clusters, 1 + int(_MORE_CLUSTERS * form.raster.clusters_per_camera))
    form = with_room(form, pairs)
    return dataclasses.replace(form, raster=dataclasses.replace(form.raster, clusters_per_camera=more))


@partial(jax.jit, static_argnames=("config", "form"))
def _steps(
    values: dict[str, Array], moments: optax.OptState, part: Levels, scene: Scene, at: Path, truth: Array, key: Array,
    first: Array, share: Array, *, config: DistilConfig, form: RenderConfig,
) -> tuple[dict[str, Array], optax.OptState, dict[str, Array]]:  # fmt: skip
    falling = _FINAL**share
    rates = {name: falling * rate for name, rate in dataclasses.asdict(config.rates).items()}

    def body(carry: tuple, step: Array) -> tuple[tuple, dict[str, Array]]:
        values, moments = carry
        chosen = jax.random.randint(jax.random.fold_in(key, step), (config.batch,), 0, config.views)
        some, wanted = at.take(chosen), truth[chosen]

        def error_of(values: dict[str, Array]) -> tuple[Array, Any]:
            drawn = draw_moments(levels_arena(_with(part, values)), scene, some, form)
            return jnp.mean((drawn.rgb - wanted) ** 2), (jnp.any(drawn.overflow), jnp.mean(drawn.pairs))

        (error, (overflow, pairs)), gradient = jax.value_and_grad(error_of, has_aux=True)(values)
        direction, moments = _optimiser().update(gradient, moments)
        values = {name: value - rates[name] * direction[name] for name, value in values.items()}
        return (values, moments), {"error": error, "overflow": overflow, "pairs": pairs}

    (values, moments), figures = jax.lax.scan(body, (values, moments), first + jnp.arange(config.steps_per_call))
    error, overflow, pairs = (figures[name] for name in ("error", "overflow", "pairs"))
    return values, moments, {"error": jnp.mean(error), "overflow": jnp.any(overflow), "pairs": jnp.max(pairs)}


def _values(part: Levels) -> dict[str, Array]:
    """What is fitted, named as its rates are."""
    opacities = jnp.clip(part.opacities, 1e-6, 1 - 1e-4)
    return {
        "colour": part.sh,
        "opacity": jnp.log(opacities) - jnp.log1p(-opacities),
        "size": jnp.log(jnp.maximum(part.scales, 1e-9)),
        "place": jnp.zeros_like(part.means),
        "axes": part.quaternions,
    }


def _with(part: Levels, values: dict[str, Array], normalised: bool = False) -> Levels:
    """The part as the values have it; slots that fill a cluster up stay empty, and spheres hold their clusters."""
    used = part.opacities > 0
    unit = jnp.exp(jnp.mean(jnp.log(jnp.maximum(part.scales, SMALLEST)), axis=1, keepdims=True))
    means, scales, axes = part.means + unit * values["place"], jnp.exp(values["size"]), values["axes"]
    if normalised:
        axes = axes / jnp.maximum(jnp.linalg.norm(axes, axis=1, keepdims=True), 1e-12)
    runs = part.near.shape[0], -1
    offset = jnp.linalg.norm(jax.lax.stop_gradient(means).reshape(*runs, 3) - part.cluster_centre[:, None], axis=-1)
    reach = jnp.where(used, REACH * jnp.max(jax.lax.stop_gradient(scales), axis=1), 0.0).reshape(runs)
    return dataclasses.replace(
        part,
        means=means,
        quaternions=axes,
        scales=scales,
        opacities=jnp.where(used, jax.nn.sigmoid(values["opacity"]), 0.0),
        sh=values["colour"],
        cluster_radius=jnp.max(offset + reach, axis=1) * (1 + 1e-5),  # as it is built: rounding must not shrink it
    )


def _optimiser() -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=0.9, b2=0.99, eps=1e-12)
