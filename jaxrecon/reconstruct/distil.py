"""A policy-resolution form fitted through the renderer to what the exact scene shows at its resolution.

Merging keeps each cell's moments; what a blend of many cells shows also depends on what hides what. Gradient steps on
the merged colours, opacities and sizes make up for it. The exact scene can be drawn from anywhere, so the truth needs
no recorded image: cameras are scattered about the path.
"""

import dataclasses
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from jaxtyping import Array, Bool, Float

from jaxrecon.geometry.transforms import rigid
from jaxrecon.reconstruct.corrections import rotation_of
from jaxrecon.reconstruct.score import enlarge
from jaxrecon.render import Cameras, RenderConfig, Rendering, levels_arena, render, render_arena
from jaxrecon.scene.levels import Levels
from jaxrecon.scene.scene import Scene


@flax.struct.dataclass
class Path:
    """Where a policy's camera is along a drive, and the actors with it.

    Attributes:
        cameras: one a moment, at the policy's resolution.
        world_from_actor: poses of all boxes at each moment.
        actor_valid: which are there.
    """

    cameras: Cameras
    world_from_actor: Float[Array, "moment actor 4 4"]
    actor_valid: Bool[Array, "moment actor"]

    def take(self, chosen: Array) -> "Path":
        """Some moments."""
        cameras = dataclasses.replace(
            self.cameras,
            world_from_camera=self.cameras.world_from_camera[chosen],
            intrinsics=self.cameras.intrinsics[chosen],
        )
        return Path(cameras, self.world_from_actor[chosen], self.actor_valid[chosen])


@dataclasses.dataclass(frozen=True)
class DistilConfig:
    """How to distil.

    Attributes:
        steps: gradient steps.
        batch: cameras of a step.
        steps_per_call: steps of one compiled call.
        finer: pixels of the truth along a pixel's side; their mean is the truth.
        scatter: standard deviation of the cameras' shift from the path, sideways and along it, metres.
        turn: standard deviation of their yaw, radians.
        colour: Adam's step of the colours, falling to a tenth.
        opacity: likewise of the opacities' logits.
        size: likewise of the logarithms of the standard deviations.
        render: look of the form: ``antialiased`` and ``detail``; the truth takes its backend and room.
    """

    steps: int = 400
    batch: int = 8
    steps_per_call: int = 20
    finer: int = 4
    scatter: float = 0.5
    turn: float = 0.1
    colour: float = 5e-3
    opacity: float = 2e-2
    size: float = 5e-3
    render: RenderConfig = dataclasses.field(default_factory=lambda: RenderConfig(antialiased=True, detail=3.5))

    def __post_init__(self) -> None:
        for field in ("steps", "batch", "steps_per_call", "finer"):
            if not isinstance(getattr(self, field), int) or getattr(self, field) < 1:
                raise ValueError(f"DistilConfig.{field} is {getattr(self, field)!r}; expected a positive integer")

    @property
    def exact(self) -> RenderConfig:
        """Look of the truth."""
        return dataclasses.replace(self.render, antialiased=False, detail=1.0)


def distil(
    levels: Levels, scene: Scene, path: Path, key: Array, config: DistilConfig | None = None, progress: bool = True
) -> Levels:
    """Fit a form's colours, opacities and sizes to the scene's supersampled exact images.

    Args:
        levels: from ``build_levels``.
        scene: what it is a form of.
        path: where cameras are scattered about.
        key: of every random choice.
        config: how.
        progress: show a progress bar.
    """
    config = config or DistilConfig()
    arena = levels_arena(levels)
    values = {
        "sh": arena.sh,
        "opacity_logits": jnp.log(jnp.maximum(arena.opacities, 1e-6))
        - jnp.log1p(-jnp.minimum(arena.opacities, 1 - 1e-4)),
        "log_scales": jnp.log(jnp.maximum(arena.scales, 1e-9)),
    }
    moments, truth, form = _optimiser().init(values), config.exact, config.render
    with tqdm.tqdm(total=config.steps, desc="distil", unit="step", disable=not progress) as bar:
        done = 0
        while done < config.steps:
            call = (values, moments, levels, scene, path, key, jnp.int32(done))
            after, kept, figures = _steps(*call, config=config, truth=truth, form=form)
            overflow, error = jax.device_get((figures["overflow"], figures["error"]))
            if overflow.any():
                # Those steps saw images that lacked splats: take them again with room.
                truth = enlarge(truth, 2.0) if overflow[0] else truth
                form = enlarge(form, 2.0) if overflow[1] else form
                continue
            values, moments, done = after, kept, done + config.steps_per_call
            bar.update(config.steps_per_call)
            bar.set_postfix(psnr=f"{-10 * np.log10(error):.2f} dB")
    return _with(levels, values)


@partial(jax.jit, static_argnames=("config", "truth", "form"))
def _steps(
    values: dict[str, Array], moments: optax.OptState, levels: Levels, scene: Scene, path: Path, key: Array,
    first: Array, *, config: DistilConfig, truth: RenderConfig, form: RenderConfig,
) -> tuple[dict[str, Array], optax.OptState, dict[str, Array]]:  # fmt: skip
    def body(carry: tuple, step: Array) -> tuple[tuple, dict[str, Array]]:
        values, moments = carry
        at = _scattered(path, jax.random.fold_in(key, step), config)
        target, target_overflow = _target(scene, at, config.finer, truth)

        def error_of(values: dict[str, Array]) -> tuple[Array, Array]:
            rendering = _draw(_with(levels, values), scene, at, form)
            return jnp.mean((rendering.rgb - target) ** 2), jnp.any(rendering.overflow)

        (error, overflow), gradient = jax.value_and_grad(error_of, has_aux=True)(values)
        direction, moments = _optimiser().update(gradient, moments)
        falling = 0.1 ** (step / config.steps)
        sizes = {"sh": config.colour, "opacity_logits": config.opacity, "log_scales": config.size}
        values = {name: value - falling * sizes[name] * direction[name] for name, value in values.items()}
        return (values, moments), {"error": error, "overflow": jnp.stack([target_overflow, overflow])}

    steps = first + jnp.arange(config.steps_per_call)
    (values, moments), figures = jax.lax.scan(body, (values, moments), steps)
    return values, moments, {"error": jnp.mean(figures["error"]), "overflow": jnp.any(figures["overflow"], axis=0)}


def _scattered(path: Path, key: Array, config: DistilConfig) -> Path:
    """Random moments, with the cameras shifted over the ground and turned about the vertical."""
    which, where, turned = jax.random.split(key, 3)
    at = path.take(jax.random.randint(which, (config.batch,), 0, path.actor_valid.shape[0]))
    shift = config.scatter * jax.random.normal(where, (config.batch, 3)).at[:, 2].set(0.0)
    yaw = config.turn * jax.random.normal(turned, (config.batch,))
    turn = rotation_of(jnp.stack([jnp.zeros_like(yaw), jnp.zeros_like(yaw), yaw], axis=-1))
    pose = at.cameras.world_from_camera
    rotation = jnp.sum(turn[..., :, :, None] * pose[:, None, :3, :3], axis=2)
    cameras = dataclasses.replace(at.cameras, world_from_camera=rigid(rotation, pose[:, :3, 3] + shift))
    return dataclasses.replace(at, cameras=cameras)


def _target(scene: Scene, at: Path, finer: int, config: RenderConfig) -> tuple[Array, Array]:
    """What the policy's pixels would show of the exact scene, camera by camera to bound the memory."""
    width, height = at.cameras.width, at.cameras.height

    def one(index: Array) -> tuple[Array, Array]:
        single = at.take(index[None])
        cameras = dataclasses.replace(
            single.cameras, intrinsics=finer * single.cameras.intrinsics, width=finer * width, height=finer * height
        )
        rendering = render(scene, cameras, single.world_from_actor, single.actor_valid, config)
        mean = jnp.mean(rendering.rgb.reshape(height, finer, width, finer, 3), axis=(1, 3))
        return mean, jnp.any(rendering.overflow)

    images, overflow = jax.lax.map(one, jnp.arange(at.actor_valid.shape[0]))
    return jax.lax.stop_gradient(images), jnp.any(overflow)


def _draw(levels: Levels, scene: Scene, at: Path, config: RenderConfig) -> Rendering:
    return render_arena(levels_arena(levels), scene, at.cameras, at.world_from_actor, at.actor_valid, config)


def _with(levels: Levels, values: dict[str, Array]) -> Levels:
    """Other colours, opacities and sizes; slots that fill a cluster up stay empty."""
    used = levels.opacities > 0
    return dataclasses.replace(
        levels,
        sh=values["sh"],
        opacities=jnp.where(used, jax.nn.sigmoid(values["opacity_logits"]), 0.0),
        scales=jnp.exp(values["log_scales"]),
    )


def _optimiser() -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=0.9, b2=0.99, eps=1e-12)
