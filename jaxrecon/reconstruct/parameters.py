"""What a fit changes, by name, and how fast."""

import dataclasses

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.reconstruct.corrections import Corrections
from jaxrecon.reconstruct.exposure import Exposure
from jaxrecon.scene.scene import Scene

PER_SPLAT = ("means", "quaternions", "log_scales", "opacity_logits", "sh", "sh_rest")
PER_FRAME = ("log_gain", "bias", "rig_rotation", "rig_shift", "actor_yaw", "actor_shift")


@flax.struct.dataclass
class LearningRates:
    """Adam's step sizes; traced, so that a sweep compiles once.

    Attributes:
        means: metres, of a Gaussian 10 m from the nearest camera, and in proportion to that distance; decays
            exponentially to ``means_final``. Not a share of the scene's extent as in 3DGS: a longer drive does not
            make its surfaces coarser.
        means_final: metres, at the end.
        quaternions: of the raw quaternions.
        log_scales: of the logarithms.
        opacity_logits: of the logits.
        sh: of the constant coefficient.
        sh_rest: of the others.
        sky: of the sky's colours.
        exposure: of gains and biases.
        rig_rotation: radians; this and what follows fall to a tenth.
        rig_shift: metres.
        actor_yaw: radians.
        actor_shift: metres.
        exploration: noise on the means of the nearly transparent, in standard deviations; decays as ``means`` does.
    """

    means: float = 5e-3
    means_final: float = 5e-5
    quaternions: float = 1e-3
    log_scales: float = 5e-3
    opacity_logits: float = 5e-2
    sh: float = 2.5e-3
    sh_rest: float = 1.25e-4
    sky: float = 2.5e-3
    exposure: float = 1e-3
    rig_rotation: float = 1e-5
    rig_shift: float = 1e-4
    actor_yaw: float = 1e-4
    actor_shift: float = 5e-4
    exploration: float = 0.3


@flax.struct.dataclass
class Fitted:
    """Everything that gradients change.

    Attributes:
        scene: Gaussians and sky.
        exposure: of every frame.
        corrections: of every frame.
    """

    scene: Scene
    exposure: Exposure
    corrections: Corrections


def parameters_of(fitted: Fitted) -> dict[str, Array]:
    """What is fitted, by name."""
    gaussians, corrections = fitted.scene.gaussians, fitted.corrections
    return {
        "means": gaussians.means,
        "quaternions": gaussians.quaternions,
        "log_scales": gaussians.log_scales,
        "opacity_logits": gaussians.opacity_logits,
        "sh": gaussians.sh[:, :1],
        "sh_rest": gaussians.sh[:, 1:],
        "sky": fitted.scene.sky,
        "log_gain": fitted.exposure.log_gain,
        "bias": fitted.exposure.bias,
        "rig_rotation": corrections.rig_rotation,
        "rig_shift": corrections.rig_shift,
        "actor_yaw": corrections.actor_yaw,
        "actor_shift": corrections.actor_shift,
    }


def with_parameters(fitted: Fitted, parameters: dict[str, Array]) -> Fitted:
    """The same with other parameters."""
    names = ("means", "quaternions", "log_scales", "opacity_logits")
    gaussians = dataclasses.replace(
        fitted.scene.gaussians,
        sh=jnp.concatenate([parameters["sh"], parameters["sh_rest"]], axis=1),
        **{name: parameters[name] for name in names},
    )
    return Fitted(
        dataclasses.replace(fitted.scene, gaussians=gaussians, sky=parameters["sky"]),
        Exposure(parameters["log_gain"], parameters["bias"]),
        Corrections(*(parameters[name] for name in ("rig_rotation", "rig_shift", "actor_yaw", "actor_shift"))),
    )


def means_step(rates: LearningRates, done: Array) -> Array:
    """Step of a mean 10 m from the nearest camera, metres, when a share of the fit is done."""
    return jnp.exp((1 - done) * jnp.log(rates.means) + done * jnp.log(rates.means_final))


def step_sizes(
    rates: LearningRates, done: Array, reach: Float[Array, " n"], fixed: tuple[str, ...]
) -> dict[str, Array | float]:
    """Adam's step for each parameter.

    Args:
        rates: at the start.
        done: share of the fit.
        reach: how far each Gaussian is from the nearest camera, in tens of metres.
        fixed: parameters that stay as they are.
    """
    falling = 0.1**done
    sizes: dict[str, Array | float] = {
        "means": means_step(rates, done) * reach[:, None],
        "quaternions": rates.quaternions,
        "log_scales": rates.log_scales,
        "opacity_logits": rates.opacity_logits,
        "sh": rates.sh,
        "sh_rest": rates.sh_rest,
        "sky": rates.sky,
        "log_gain": rates.exposure * falling,
        "bias": rates.exposure * falling,
        "rig_rotation": rates.rig_rotation * falling,
        "rig_shift": rates.rig_shift * falling,
        "actor_yaw": rates.actor_yaw * falling,
        "actor_shift": rates.actor_shift * falling,
    }
    return {name: 0.0 if name in fixed else size for name, size in sizes.items()}
