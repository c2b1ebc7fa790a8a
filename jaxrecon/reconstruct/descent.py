"""The compiled descent: gradient steps through the renderer on one view each, several in one scan; density control."""

import dataclasses
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from jaxrecon.metrics.image import psnr
from jaxrecon.reconstruct.corrections import (
    Corrections,
    corrected_actors,
    corrected_camera,
    fill_corrections,
    place_between,
)
from jaxrecon.reconstruct.exposure import Exposure, expose, fill_exposure
from jaxrecon.reconstruct.losses import LossWeights, ground_loss, regularisation, view_loss
from jaxrecon.reconstruct.parameters import (
    PER_SPLAT,
    Fitted,
    LearningRates,
    means_step,
    parameters_of,
    step_sizes,
    with_parameters,
)
from jaxrecon.reconstruct.relocate import exploration, relocate
from jaxrecon.reconstruct.timeline import roughness
from jaxrecon.reconstruct.views import Views
from jaxrecon.render import Cameras, RenderConfig, render
from jaxrecon.scene.ground import HeightField
from jaxrecon.scene.scene import Scene

_NEAREST_REACH, _FARTHEST_REACH = 0.3, 10.0  # tens of metres


@flax.struct.dataclass
class DescentState:
    """Everything that changes from step to step.

    Attributes:
        fitted: scene, exposure, corrections.
        moments: the optimiser's.
        reach: how far each Gaussian is from the nearest training camera, in tens of metres; 1 for actors'.
        step: taken so far.
    """

    fitted: Fitted
    moments: Any
    reach: Float[Array, " n"]
    step: Array


@flax.struct.dataclass
class Material:
    """What a descent learns from, on the device.

    Attributes:
        views: images, poses, LiDAR.
        training: indices of the views to learn from.
        rig_weights: ``time_weights`` of the frames to learn from.
        actor_weights: likewise, of each actor's own.
        actor_between: frames at which an actor is placed by its neighbours in time, see ``place_between``.
        ground: surface of the road; None where nothing is known of it.
    """

    views: Views
    training: Array
    rig_weights: Float[Array, "frame frame"]
    actor_weights: Float[Array, "actor frame frame"]
    actor_between: Bool[Array, "actor frame"]
    ground: HeightField | None = None


@flax.struct.dataclass
class Schedule:
    """Where in the fit some steps lie.

    Attributes:
        done: share of the fit that is done.
        each: what a step adds to it.
    """

    done: Array | float
    each: Array | float


@dataclasses.dataclass(frozen=True)
class DescentStructure:
    """What shapes the compiled steps.

    Attributes:
        steps: in one call.
        explore: whether the nearly transparent wander, so that relocated ones find their place.
        fixed: parameters that stay as they are.
    """

    steps: int
    explore: bool
    fixed: tuple[str, ...]


def start(scene: Scene, exposure: Exposure, corrections: Corrections, material: Material) -> DescentState:
    """State before the first step."""
    fitted = Fitted(scene, exposure, corrections)
    moments = _optimiser().init(parameters_of(fitted))
    return DescentState(fitted, moments, _reach(scene, material), jnp.zeros((), jnp.int32))


@partial(jax.jit, static_argnames=("structure", "render_config"))
def take_steps(
    state: DescentState,
    material: Material,
    key: Array,
    rates: LearningRates,
    weights: LossWeights,
    schedule: Schedule,
    *,
    structure: DescentStructure,
    render_config: RenderConfig,
) -> tuple[DescentState, dict[str, Array]]:
    """Several steps in one compiled call.

    Args:
        state: before them.
        material: what to learn from.
        key: of the whole descent; each step folds its number in.
        rates: step sizes.
        weights: loss terms.
        schedule: where in the fit the steps lie.
        structure: what is compiled in.
        render_config: the renderer.

    Returns:
        The state after them; mean loss and PSNR, most pairs needed, whether any view overflowed, and slots in use.
    """
    start = state.step

    def body(state: DescentState, _: None) -> tuple[DescentState, dict[str, Array]]:
        done = jnp.clip(schedule.done + schedule.each * (state.step - start), 0.0, 1.0)
        view = _next_view(material.training, key, state.step)
        step_key = jax.random.fold_in(key, state.step)
        return _descent_step(state, material, view, done, rates, weights, step_key, structure, render_config)

    state, figures = jax.lax.scan(body, state, length=structure.steps)
    return state, {
        "loss": jnp.mean(figures["loss"]),
        "psnr": jnp.mean(figures["psnr"]),
        "overflow": jnp.any(figures["overflow"]),
        "pairs": jnp.max(figures["pairs"]),
        "splats": jnp.sum(state.fitted.scene.gaussians.valid),
    }


@jax.jit
def control_density(state: DescentState, material: Material, key: Array, growth: Array) -> DescentState:
    """Relocate dead Gaussians and bring in unused slots, with the optimiser's memory of the changed slots wiped.

    Args:
        state: between two calls of ``take_steps``.
        material: what is learned from.
        key: of the whole descent.
        growth: share of the used slots that may be added.
    """
    fresh = growth * jnp.sum(state.fitted.scene.gaussians.valid)
    scene, changed = relocate(state.fitted.scene, jax.random.fold_in(jax.random.fold_in(key, state.step), 1), fresh)

    def wipe(moment: Array) -> Array:
        return jnp.where(changed.reshape(-1, *[1] * (moment.ndim - 1)), 0.0, moment)

    moments = state.moments
    mu = {name: wipe(value) if name in PER_SPLAT else value for name, value in moments.mu.items()}
    nu = {name: wipe(value) if name in PER_SPLAT else value for name, value in moments.nu.items()}
    return dataclasses.replace(
        state,
        fitted=dataclasses.replace(state.fitted, scene=scene),
        moments=moments._replace(mu=mu, nu=nu),
        reach=_reach(scene, material),
    )


def fill_in(fitted: Fitted, material: Material) -> Fitted:
    """What is fitted by frame, for every frame: held-out ones take theirs from their neighbours."""
    filled = _interpolated(fitted, material)
    placed = place_between(filled.corrections, material.views, material.actor_weights, material.actor_between)
    return dataclasses.replace(filled, corrections=placed)


def _interpolated(fitted: Fitted, material: Material) -> Fitted:
    return dataclasses.replace(
        fitted,
        exposure=fill_exposure(fitted.exposure, material.rig_weights),
        corrections=fill_corrections(fitted.corrections, material.rig_weights, material.actor_weights),
    )


def _reach(scene: Scene, material: Material) -> Float[Array, " n"]:
    means = scene.gaussians.means
    eyes = material.views.world_from_camera[material.training, :3, 3]

    def nearer(nearest: Array, eye: Array) -> tuple[Array, None]:
        return jnp.minimum(nearest, jnp.sum((means - eye) ** 2, axis=-1)), None

    squared, _ = jax.lax.scan(nearer, jnp.full(means.shape[0], jnp.inf), eyes)
    reach = jnp.clip(jnp.sqrt(squared) / 10, _NEAREST_REACH, _FARTHEST_REACH)
    return jnp.where(scene.group > 0, 1.0, reach)


def _next_view(training: Array, key: Array, step: Array) -> Array:
    """Views in a fresh random order each time round."""
    count = training.shape[0]
    order = jax.random.permutation(jax.random.fold_in(key, step // count), count)
    return training[order[step % count]]


def _descent_step(
    state: DescentState, material: Material, view: Array, done: Array, rates: LearningRates,
    weights: LossWeights, key: Array, structure: DescentStructure, render_config: RenderConfig,
) -> tuple[DescentState, dict[str, Array]]:  # fmt: skip
    """One gradient step on one view."""
    views, parameters = material.views, parameters_of(state.fitted)
    reference = views.images[view].astype(jnp.float32) / 255.0
    lidar = (views.lidar_pixel[view], views.lidar_depth[view], views.lidar_valid[view])
    frame = views.frame[view]
    width, height = views.size

    def loss_of(parameters: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        fitted = with_parameters(state.fitted, parameters)
        cameras = Cameras(
            corrected_camera(fitted.corrections, views, view)[None], views.intrinsics[view][None], width, height
        )
        actors = corrected_actors(fitted.corrections, views, frame)[None]
        rendering = render(fitted.scene, cameras, actors, views.actor_valid[frame][None], render_config)
        rgb = expose(fitted.exposure, frame, rendering.rgb[0])
        loss = view_loss(rendering, rgb, reference, lidar, weights)
        loss += regularisation(fitted.scene.gaussians, weights)
        if material.ground is not None:
            loss += weights.ground * ground_loss(fitted.scene.gaussians, fitted.scene.group, material.ground)
        loss += _smoothness(_interpolated(fitted, material), weights)
        figures = {"psnr": psnr(rgb, reference), "overflow": rendering.overflow[0], "pairs": rendering.pairs[0]}
        return loss, figures

    (loss, figures), gradients = jax.value_and_grad(loss_of, has_aux=True)(parameters)
    directions, moments = _optimiser().update(gradients, state.moments)
    sizes = step_sizes(rates, done, state.reach, structure.fixed)
    parameters = {name: value - sizes[name] * directions[name] for name, value in parameters.items()}
    if structure.explore:
        noise = exploration(state.fitted.scene.gaussians, key)
        parameters["means"] += rates.exploration * means_step(rates, done) / rates.means * noise
    fitted = with_parameters(state.fitted, parameters)
    return DescentState(fitted, moments, state.reach, state.step + 1), figures | {"loss": loss}


def _smoothness(filled: Fitted, weights: LossWeights) -> Array:
    """Cost of exposure and corrections that jump from frame to frame, and of large ones."""
    exposure, moved = filled.exposure, filled.corrections
    loss = weights.exposure * jnp.mean(exposure.log_gain**2 + exposure.bias**2)
    loss += weights.exposure_roughness * (roughness(exposure.log_gain) + roughness(exposure.bias))
    loss += weights.rotation_roughness * roughness(moved.rig_rotation)
    loss += weights.shift_roughness * roughness(moved.rig_shift)
    if moved.actor_yaw.shape[1]:
        loss += weights.rotation_roughness * roughness(moved.actor_yaw)
        loss += weights.shift_roughness * roughness(moved.actor_shift)
    return loss


def _optimiser() -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-15)
