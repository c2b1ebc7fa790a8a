"""The camera policy: frames, ego state and navigation in; two action heads and one value for each reward out."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8

from jaxrecon.agents import heads, normalisers
from jaxrecon.agents.encoders import CameraEncoder
from jaxrecon.agents.layers import INITIALISER, dense
from jaxrecon.agents.normalisers import STATE_MOMENTS, VALUE_MOMENTS, Moments
from jaxrecon.agents.outputs import HEADS, ContinuousOutput, Output, PolicyOutput
from jaxrecon.agents.policy_config import PolicyConfig
from jaxrecon.dynamics import DEFAULT_LIMITS, anchors

# Typical magnitudes, so that the network sees numbers of order one: speed, acceleration, steering, yaw rate;
# the four commands, then the route target's x and y.
EGO_SCALE = (10.0, 3.0, 0.3, 0.3)
NAVIGATION_SCALE = (1.0, 1.0, 1.0, 1.0, 30.0, 10.0)
# Of continuous actions, (steering rad, acceleration m/s2): how far a head's unit reaches, and a new policy's spread.
ACTION_SCALE, ACTION_DEVIATION = (0.1, 2.0), (0.03, 0.7)
NARROWEST, WIDEST = -3.0, 1.5  # logarithm of the factor on that spread

__all__ = [
    "HEADS",
    "CameraPolicy",
    "ContinuousOutput",
    "Policy",
    "PolicyConfig",
    "PolicyOutput",
    "create_policy",
    "parameter_count",
    "policy_of",
    "policy_shape",
    "state_vector",
]


class AnchorHeads(nnx.Module):
    """RAD's decoupled categorical heads, anchors that the car cannot reach masked."""

    def __init__(self, inputs: int, rngs: nnx.Rngs):
        # Small last layers: a new policy is close to uniform over feasible anchors, and its values to zero.
        small = nnx.initializers.normal(1e-3)
        self.lateral = nnx.Linear(inputs, len(anchors.LATERAL), kernel_init=small, rngs=rngs)
        self.longitudinal = nnx.Linear(inputs, len(anchors.LONGITUDINAL), kernel_init=small, rngs=rngs)

    def __call__(self, x: Float[Array, "b f"], speed: Float[Array, " b"], values: Float[Array, "b r"]) -> PolicyOutput:
        """Both heads over what a car of this speed (m/s) can reach."""
        lateral, longitudinal = anchors.feasible(speed)
        return PolicyOutput(
            lateral_logits=heads.mask_logits(self.lateral(x), lateral),
            longitudinal_logits=heads.mask_logits(self.longitudinal(x), longitudinal),
            values=values,
        )


class ContinuousHeads(nnx.Module):
    """Steering and acceleration, each a Gaussian whose mean the car's limits bound."""

    def __init__(self, inputs: int, rngs: nnx.Rngs):
        small = nnx.initializers.normal(1e-3)
        self.lateral = nnx.Linear(inputs, 2, kernel_init=small, rngs=rngs)
        self.longitudinal = nnx.Linear(inputs, 2, kernel_init=small, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b f"], speed: Float[Array, " b"], values: Float[Array, "b r"]
    ) -> ContinuousOutput:
        """Both heads; the speed masks nothing."""
        raw = jnp.stack([self.lateral(x), self.longitudinal(x)], axis=1)
        limits = jnp.asarray([DEFAULT_LIMITS.steering, DEFAULT_LIMITS.braking])
        mean = limits * jnp.tanh(jnp.asarray(ACTION_SCALE) * raw[..., 0] / limits)
        spread = jnp.log(jnp.asarray(ACTION_DEVIATION)) + jnp.clip(raw[..., 1], NARROWEST, WIDEST)
        return ContinuousOutput(mean=mean, log_deviation=spread, values=values)


class CameraPolicy(nnx.Module):
    """The decoupled policy of RAD with one critic for each reward.

    Source:
        Gao et al. 2025 (RAD, arXiv 2502.13144), section 3.
    """

    def __init__(self, config: PolicyConfig, rngs: nnx.Rngs):
        self.config = config
        self.encoder = CameraEncoder(config, rngs)
        state_inputs = len(EGO_SCALE) + len(NAVIGATION_SCALE)
        self.state = dense(state_inputs, config.state_features, config, rngs)
        widths = (config.cameras * config.camera_features + config.state_features, *config.trunk)
        self.trunk = nnx.List([dense(a, b, config, rngs) for a, b in itertools.pairwise(widths)])
        build = AnchorHeads if config.action == "anchors" else ContinuousHeads
        self.heads = build(widths[-1], rngs)
        self.critic_hidden = nnx.Linear(widths[-1], widths[-1], kernel_init=INITIALISER, rngs=rngs)
        self.critic = nnx.Linear(widths[-1], config.rewards, kernel_init=nnx.initializers.normal(1e-3), rngs=rngs)
        # Named as in ``normalisers.FIXED``.
        self.state_moments = Moments(state_inputs) if config.normalise_state else None
        self.value_moments = Moments(config.rewards) if config.normalise_values else None

    def __call__(self, observation: Any) -> Output:
        cameras = self.encode(observation.frames)
        x = jnp.concatenate([cameras.astype(jnp.dtype(self.config.compute)), self._state(observation)], axis=-1)
        for layer in self.trunk:
            x = nnx.relu(layer(x))
        x = x.astype(jnp.float32)
        values = self.critic(nnx.relu(self.critic_hidden(x)))
        if self.value_moments is not None:
            centre, scale = self.value_moments.centre_and_deviation()
            values = values * scale + centre
        return self.heads(x, observation.ego[:, 0], values)

    def encode(self, frames: UInt8[Array, "b *slot camera h w 3"]) -> Float[Array, "b feature"]:
        """All cameras' features side by side; an axis ``slot``, newest first, where the policy has a history."""
        config = self.config
        wanted: tuple[int, ...] = (config.cameras, config.height, config.width, 3)
        if config.history > 1 or frames.ndim == 6:
            wanted = (config.history, *wanted)
        if frames.shape[1:] != wanted:
            names = "(slot, camera, height, width, 3)" if len(wanted) == 5 else "(camera, height, width, 3)"
            raise ValueError(
                f"observation.frames has shape {names} = {frames.shape[1:]}, the policy was built for {wanted}: give "
                "PolicyConfig the cameras, width and height of the camera rig, and the policy its history "
                "(agents.histories)"
            )
        stack = frames if frames.ndim == 6 else frames[:, None]
        b, slots, cameras, h, w, _ = stack.shape
        images = stack.transpose(0, 2, 3, 4, 1, 5).reshape(b * cameras, h, w, 3 * slots)
        return self.encoder(images).reshape(b, -1)

    def _state(self, observation: Any) -> Float[Array, "b feature"]:
        vector = state_vector(observation)
        if self.state_moments is None:
            vector = vector / jnp.array(EGO_SCALE + NAVIGATION_SCALE)
        else:
            vector = self.state_moments(vector)
        return nnx.relu(self.state(vector))


def state_vector(observation: Any) -> Float[Array, "*b 10"]:
    """Ego state and navigation side by side."""
    return jnp.concatenate([observation.ego, observation.navigation], axis=-1)


@flax.struct.dataclass
class Policy:
    """A network as a pure pytree: call it with a batch of observations, differentiate it by its parameters.

    Attributes:
        parameters: nested dictionary of arrays.
        graph: the module without its arrays.
        config: what the network was built from; says whether two policies have the same architecture.
    """

    parameters: Any
    graph: Any = flax.struct.field(pytree_node=False)
    config: Any = flax.struct.field(pytree_node=False)

    def __call__(self, observation: Any) -> Output:
        """Heads and values of a batch of observations."""
        return nnx.merge(self.graph, self.parameters)(observation)

    def having_seen(
        self, observation: Any, returns: Float[Array, "*b reward"] | None, valid: Bool[Array, "*b"]
    ) -> "Policy":
        """The policy with what it has just seen among its moments; itself where it keeps none."""
        parameters = dict(self.parameters) if isinstance(self.parameters, dict) else {}
        if STATE_MOMENTS in parameters:
            moments = normalisers.absorb(parameters[STATE_MOMENTS], state_vector(observation), valid)
            parameters[STATE_MOMENTS] = moments
        if VALUE_MOMENTS in parameters and returns is not None:
            before = parameters[VALUE_MOMENTS]
            after = normalisers.absorb(before, returns, valid)
            critic = normalisers.rescaled_critic(parameters["critic"], before, after)
            parameters |= {VALUE_MOMENTS: after, "critic": critic}
        return dataclasses.replace(self, parameters=parameters) if parameters else self

    @property
    def value_deviation(self) -> Float[Array, " reward"] | float:
        """Unit of the critics' errors."""
        if isinstance(self.parameters, dict) and VALUE_MOMENTS in self.parameters:
            return normalisers.deviation(self.parameters[VALUE_MOMENTS]["variance"])
        return 1.0


def policy_of(module: nnx.Module, config: Any) -> Policy:
    """The pure form of a module that maps observations to an ``Output``."""
    graph, state = nnx.split(module)
    return Policy(parameters=nnx.to_pure_dict(state), graph=graph, config=config)


def create_policy(
    config: PolicyConfig, key: PRNGKeyArray, build: Callable[[PolicyConfig, nnx.Rngs], nnx.Module] = CameraPolicy
) -> Policy:
    """A policy with random parameters."""
    return dataclasses.replace(policy_shape(config, build), parameters=_initialiser(config, build)(key))


def policy_shape(config: PolicyConfig, build: Callable[[PolicyConfig, nnx.Rngs], nnx.Module] = CameraPolicy) -> Policy:
    """A policy whose parameters are shapes and types without numbers."""
    return policy_of(nnx.eval_shape(lambda: build(config, nnx.Rngs(jax.random.key(0)))), config)


@functools.cache
def _initialiser(config: PolicyConfig, build: Callable[[PolicyConfig, nnx.Rngs], nnx.Module]) -> Callable[[Any], Any]:
    """All parameters from a key, compiled once: layer by layer it would be many compilations."""
    return jax.jit(lambda key: nnx.to_pure_dict(nnx.split(build(config, nnx.Rngs(key)))[1]))


def parameter_count(policy: Policy) -> int:
    """How many numbers a policy has."""
    return sum(leaf.size for leaf in jax.tree.leaves(policy.parameters))
