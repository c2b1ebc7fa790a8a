"""The compiled descent: gradient steps through the renderer, density control, one scan over several views."""

import dataclasses
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from jaxrecon.metrics.image import psnr
from jaxrecon.reconstruct.exposure import Exposure
from jaxrecon.reconstruct.losses import LossWeights, regularisation, view_loss
from jaxrecon.reconstruct.relocate import exploration, relocate
from jaxrecon.reconstruct.score import render_view
from jaxrecon.reconstruct.views import Views
from jaxrecon.render import RenderConfig
from jaxrecon.scene.scene import Scene


@flax.struct.dataclass
class LearningRates:
    """Adam's step sizes; traced, so that a sweep compiles once.

    Attributes:
        means: metres; decays exponentially to ``means_final``. Not a share of the scene's extent as in 3DGS: a longer
            drive does not make its surfaces coarser.
        means_final: metres, at the end.
        quaternions: of the raw quaternions.
        log_scales: of the logarithms.
        opacity_logits: of the logits.
        sh: of the constant coefficient.
        sh_rest: of the others.
        sky: of the sky's colours.
        exposure: of gains and biases.
        exploration: noise on the means of the nearly transparent, in standard deviations; decays as ``means`` does.
    """

    means: float = 1e-2
    means_final: float = 1e-4
    quaternions: float = 1e-3
    log_scales: float = 5e-3
    opacity_logits: float = 5e-2
    sh: float = 2.5e-3
    sh_rest: float = 1.25e-4
    sky: float = 2.5e-3
    exposure: float = 1e-3
    exploration: float = 0.3


@flax.struct.dataclass
class DescentState:
    """Everything that changes from step to step.

    Attributes:
        scene: as far as fitted.
        exposure: of every frame.
        moments: the optimiser's.
        step: taken so far.
    """

    scene: Scene
    exposure: Exposure
    moments: Any
    step: Array


@dataclasses.dataclass(frozen=True)
class DescentStructure:
    """What shapes the compiled steps.

    Attributes:
        steps: in one call.
        density: ``none`` or ``relocate``.
        relocate_every: steps between relocations.
        exposure: whether gains and biases are fitted.
    """

    steps: int
    density: str
    relocate_every: int
    exposure: bool


def start(scene: Scene, exposure: Exposure) -> DescentState:
    """State before the first step."""
    return DescentState(scene, exposure, _optimiser().init(_parameters(scene, exposure)), jnp.zeros((), jnp.int32))


@partial(jax.jit, static_argnames=("structure", "render_config"))
def take_steps(
    state: DescentState,
    views: Views,
    training: Array,
    key: Array,
    rates: LearningRates,
    weights: LossWeights,
    pace: tuple[Array, Array],
    growth: Array,
    *,
    structure: DescentStructure,
    render_config: RenderConfig,
) -> tuple[DescentState, dict[str, Array]]:
    """Several steps in one compiled call.

    Args:
        state: before them.
        views: on the device.
        training: indices of the views to learn from.
        key: of the whole descent; each step folds its number in.
        rates: step sizes.
        weights: loss terms.
        pace: share of the descent that is done, and what each step adds to it.
        growth: share of the used slots that a relocation may add.
        structure: what is compiled in.
        render_config: the renderer.

    Returns:
        The state after them; mean loss and PSNR, most pairs needed, and whether any view overflowed.
    """
    start = state.step

    def body(state: DescentState, _: None) -> tuple[DescentState, dict[str, Array]]:
        done = jnp.clip(pace[0] + pace[1] * (state.step - start), 0.0, 1.0)
        step_key = jax.random.fold_in(key, state.step)
        view = _next_view(training, key, state.step)
        state, figures = _descent_step(state, views, view, done, rates, weights, step_key, structure, render_config)
        if structure.density == "relocate":
            due = (state.step % structure.relocate_every == 0) & (done > 0.05) & (done < 0.85)
            state = jax.lax.cond(due, partial(_relocate, key=step_key, growth=growth), lambda s: s, state)
        return state, figures

    state, figures = jax.lax.scan(body, state, length=structure.steps)
    return state, {
        "loss": jnp.mean(figures["loss"]),
        "psnr": jnp.mean(figures["psnr"]),
        "overflow": jnp.any(figures["overflow"]),
        "pairs": jnp.max(figures["pairs"]),
    }


def _next_view(training: Array, key: Array, step: Array) -> Array:
    """Views in a fresh random order each time round."""
    count = training.shape[0]
    order = jax.random.permutation(jax.random.fold_in(key, step // count), count)
    return training[order[step % count]]


def _descent_step(
    state: DescentState, views: Views, view: Array, done: Array, rates: LearningRates,
    weights: LossWeights, key: Array, structure: DescentStructure, render_config: RenderConfig,
) -> tuple[DescentState, dict[str, Array]]:  # fmt: skip
    """One gradient step on one view."""
    reference = views.images[view].astype(jnp.float32) / 255.0
    lidar = (views.lidar_pixel[view], views.lidar_depth[view], views.lidar_valid[view])
    parameters = _parameters(state.scene, state.exposure)

    def loss_of(parameters: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        scene, exposure = _with_parameters(state.scene, parameters)
        rendering, rgb = render_view(scene, views, view, exposure, render_config)
        loss = view_loss(rendering, rgb, reference, lidar, weights)
        loss += regularisation(scene.gaussians, weights)
        loss += weights.exposure * jnp.mean(exposure.log_gain**2 + exposure.bias**2)
        figures = {"psnr": psnr(rgb, reference), "overflow": rendering.overflow[0], "pairs": rendering.pairs[0]}
        return loss, figures

    (loss, figures), gradients = jax.value_and_grad(loss_of, has_aux=True)(parameters)
    directions, moments = _optimiser().update(gradients, state.moments)
    sizes = _step_sizes(rates, done, structure.exposure)
    parameters = {name: value - sizes[name] * directions[name] for name, value in parameters.items()}
    if structure.density == "relocate":
        noise = exploration(state.scene.gaussians, key)
        parameters["means"] += rates.exploration * sizes["means"] / rates.means * noise
    scene, exposure = _with_parameters(state.scene, parameters)
    return DescentState(scene, exposure, moments, state.step + 1), figures | {"loss": loss}


def _relocate(state: DescentState, key: Array, growth: Array) -> DescentState:
    """Relocation, with the optimiser's memory of the changed slots wiped."""
    fresh = growth * jnp.sum(state.scene.gaussians.valid)
    scene, changed = relocate(state.scene, jax.random.fold_in(key, 1), fresh)

    def wipe(moment: Array) -> Array:
        per_slot = moment.ndim > 0 and moment.shape[0] == changed.shape[0]
        return jnp.where(changed.reshape(-1, *[1] * (moment.ndim - 1)), 0.0, moment) if per_slot else moment

    slotted = ("means", "quaternions", "log_scales", "opacity_logits", "sh", "sh_rest")
    moments = state.moments
    mu = {name: wipe(value) if name in slotted else value for name, value in moments.mu.items()}
    nu = {name: wipe(value) if name in slotted else value for name, value in moments.nu.items()}
    return dataclasses.replace(state, scene=scene, moments=moments._replace(mu=mu, nu=nu))


def _optimiser() -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-15)


def _parameters(scene: Scene, exposure: Exposure) -> dict[str, Array]:
    """What is fitted, by name."""
    gaussians = scene.gaussians
    return {
        "means": gaussians.means,
        "quaternions": gaussians.quaternions,
        "log_scales": gaussians.log_scales,
        "opacity_logits": gaussians.opacity_logits,
        "sh": gaussians.sh[:, :1],
        "sh_rest": gaussians.sh[:, 1:],
        "sky": scene.sky,
        "log_gain": exposure.log_gain,
        "bias": exposure.bias,
    }


def _with_parameters(scene: Scene, parameters: dict[str, Array]) -> tuple[Scene, Exposure]:
    gaussians = dataclasses.replace(
        scene.gaussians,
        means=parameters["means"],
        quaternions=parameters["quaternions"],
        log_scales=parameters["log_scales"],
        opacity_logits=parameters["opacity_logits"],
        sh=jnp.concatenate([parameters["sh"], parameters["sh_rest"]], axis=1),
    )
    return dataclasses.replace(scene, gaussians=gaussians, sky=parameters["sky"]), Exposure(
        parameters["log_gain"], parameters["bias"]
    )


def _step_sizes(rates: LearningRates, done: Array, exposure: bool) -> dict[str, Array | float]:
    """Adam's step for each parameter when a share of the fit is done."""
    means = jnp.exp((1 - done) * jnp.log(rates.means) + done * jnp.log(rates.means_final))
    colour = rates.exposure if exposure else 0.0
    return {
        "means": means,
        "quaternions": rates.quaternions,
        "log_scales": rates.log_scales,
        "opacity_logits": rates.opacity_logits,
        "sh": rates.sh,
        "sh_rest": rates.sh_rest,
        "sky": rates.sky,
        "log_gain": colour,
        "bias": colour,
    }
