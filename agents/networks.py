"""The camera policy: frames, ego state and navigation in; two anchor heads and one value for each reward out."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from jaxrecon.agents import heads
from jaxrecon.dynamics import anchors

# Typical magnitudes, so that the network sees numbers of order one: speed, acceleration, steering, yaw rate;
# the four commands, then the route target's x and y.
EGO_SCALE = (10.0, 3.0, 0.3, 0.3)
NAVIGATION_SCALE = (1.0, 1.0, 1.0, 1.0, 30.0, 10.0)
COMPUTE_TYPES = ("float32", "bfloat16")
CONVOLUTIONS = ("matrix", "native")
HEADS = ("lateral", "longitudinal")
INITIALISER = nnx.initializers.lecun_uniform()


@dataclasses.dataclass(frozen=True)
class PolicyConfig:
    """Shape of a ``CameraPolicy``.

    Attributes:
        cameras: how many cameras a frame has; they share one encoder.
        width, height: of a frame, in pixels; multiples of ``patch``.
        patch: side of the square patches that the encoder first embeds, in pixels.
        channels: features of the patch embedding, then of each stride-2 convolution after it.
        camera_features: features that summarise one camera.
        state_features: features of ego state and navigation together.
        trunk: widths of the layers between the features and the heads.
        rewards: how many values there are.
        compute: type that the layers compute in; parameters and outputs are float32 always.
        convolution: "matrix" convolves by a matrix product over gathered windows, "native" by XLA's convolution. They
            agree but for rounding. On CPUs XLA differentiates a convolution inside a loop ten times more slowly than
            the product; on accelerators the native one needs less memory.
    """

    cameras: int = 1
    width: int = 48
    height: int = 32
    patch: int = 4
    channels: tuple[int, ...] = (24, 32, 48)
    camera_features: int = 128
    state_features: int = 64
    trunk: tuple[int, ...] = (128,)
    rewards: int = 4
    compute: str = "float32"
    convolution: str = "matrix"

    def __post_init__(self):
        for name in ("cameras", "patch", "camera_features", "state_features", "rewards"):
            if getattr(self, name) < 1:
                raise ValueError(f"PolicyConfig.{name} is {getattr(self, name)}, expected at least 1")
        for name in ("width", "height"):
            size = getattr(self, name)
            if size < self.patch or size % self.patch:
                raise ValueError(f"PolicyConfig.{name} is {size}, expected a multiple of patch = {self.patch}")
        for name in ("channels", "trunk"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise ValueError(f"PolicyConfig.{name} is {getattr(self, name)}, expected one or more positive widths")
        if self.compute not in COMPUTE_TYPES:
            raise ValueError(f"PolicyConfig.compute is {self.compute!r}, expected one of {COMPUTE_TYPES}")
        if self.convolution not in CONVOLUTIONS:
            raise ValueError(f"PolicyConfig.convolution is {self.convolution!r}, expected one of {CONVOLUTIONS}")

    @property
    def encoded_size(self) -> tuple[int, int]:
        """(rows, columns) of the encoder's last feature map."""
        shrink = 2 ** (len(self.channels) - 1)
        return math.ceil(self.height / self.patch / shrink), math.ceil(self.width / self.patch / shrink)


@flax.struct.dataclass
class PolicyOutput:
    """What a policy says about a batch of observations.

    Attributes:
        lateral_logits: Float (b, lateral anchor), infeasible anchors masked.
        longitudinal_logits: Float (b, longitudinal anchor), infeasible anchors masked.
        values: Float (b, reward), the discounted sum expected of each reward.
    """

    lateral_logits: Any
    longitudinal_logits: Any
    values: Any

    @property
    def logits(self) -> tuple[Array, Array]:
        """Both heads' logits, in the order of ``HEADS``."""
        return self.lateral_logits, self.longitudinal_logits

    def sample(self, key: PRNGKeyArray) -> Int[Array, "b 2"]:
        """An action drawn from each head independently, in the order of ``HEADS``."""
        keys = jax.random.split(key)
        return jnp.stack([heads.sample(k, x) for k, x in zip(keys, self.logits, strict=True)], axis=-1)

    def mode(self) -> Int[Array, "b 2"]:
        """The most probable action of each head."""
        return jnp.stack([heads.mode(x) for x in self.logits], axis=-1)

    def log_prob(self, action: Int[Array, "b 2"]) -> Float[Array, "b 2"]:
        """Log-probability of an action under each head, nats."""
        return jnp.stack([heads.log_prob(x, action[:, i]) for i, x in enumerate(self.logits)], axis=-1)

    def entropy(self) -> Float[Array, "b 2"]:
        """Entropy of each head, nats."""
        return jnp.stack([heads.entropy(x) for x in self.logits], axis=-1)


class Convolution(nnx.Module):
    """A 3x3 convolution that halves the size (rounded up), zeros around the edge."""

    def __init__(self, inputs: int, outputs: int, config: PolicyConfig, rngs: nnx.Rngs):
        self.kernel = nnx.Param(INITIALISER(rngs.params(), (3, 3, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros((outputs,)))
        self.kind = jnp.dtype(config.compute)
        self.native = config.convolution == "native"

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
        kernel, bias = self.kernel[...].astype(self.kind), self.bias[...].astype(self.kind)
        if self.native:
            sides = ((1, 1), (1, 1))
            return (
                jax.lax.conv_general_dilated(x, kernel, (2, 2), sides, dimension_numbers=("NHWC", "HWIO", "NHWC"))
                + bias
            )
        _, h, w, _ = x.shape
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = jnp.concatenate(
            [padded[:, i : i + h : 2, j : j + w : 2] for i in range(3) for j in range(3)], axis=-1
        )
        # Flat rows: XLA's CPU backend differentiates products of higher rank several times more slowly.
        y = windows.reshape(-1, windows.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1]) + bias
        return y.reshape(*windows.shape[:-1], -1)


class CameraEncoder(nnx.Module):
    """Patches, strided convolutions and one dense layer: a frame becomes a feature vector."""

    def __init__(self, config: PolicyConfig, rngs: nnx.Rngs):
        kind = jnp.dtype(config.compute)
        widths = config.channels
        self.patch = config.patch
        self.kind = kind
        self.embed = nnx.Linear(3 * config.patch**2, widths[0], dtype=kind, kernel_init=INITIALISER, rngs=rngs)
        self.convolutions = nnx.List(
            [Convolution(narrow, wide, config, rngs) for narrow, wide in itertools.pairwise(widths)]
        )
        rows, columns = config.encoded_size
        self.dense = nnx.Linear(
            rows * columns * widths[-1], config.camera_features, dtype=kind, kernel_init=INITIALISER, rngs=rngs
        )
        self.norm = nnx.LayerNorm(config.camera_features, rngs=rngs)

    def __call__(self, frames: UInt8[Array, "b h w 3"]) -> Float[Array, "b feature"]:
        b, h, w, _ = frames.shape
        size = self.patch
        # A flat matrix product over patches: several times faster on a CPU than the equal strided convolution.
        patches = frames.reshape(b, h // size, size, w // size, size, 3).transpose(0, 1, 3, 2, 4, 5)
        x = patches.reshape(-1, 3 * size * size).astype(self.kind) / 127.5 - 1.0
        x = nnx.relu(self.embed(x)).reshape(b, h // size, w // size, -1)
        for convolution in self.convolutions:
            x = nnx.relu(convolution(x))
        return nnx.relu(self.norm(self.dense(x.reshape(b, -1)).astype(jnp.float32)))


class CameraPolicy(nnx.Module):
    """The decoupled discrete policy of RAD with one critic for each reward.

    Source:
        Gao et al. 2025 (RAD, arXiv 2502.13144), section 3.
    """

    def __init__(self, config: PolicyConfig, rngs: nnx.Rngs):
        kind = jnp.dtype(config.compute)
        self.shape = (config.cameras, config.height, config.width, 3)
        self.kind = kind
        self.encoder = CameraEncoder(config, rngs)
        state_inputs = len(EGO_SCALE) + len(NAVIGATION_SCALE)
        self.state = nnx.Linear(state_inputs, config.state_features, dtype=kind, kernel_init=INITIALISER, rngs=rngs)
        widths = (config.cameras * config.camera_features + config.state_features, *config.trunk)
        self.trunk = nnx.List(
            [nnx.Linear(a, b, dtype=kind, kernel_init=INITIALISER, rngs=rngs) for a, b in itertools.pairwise(widths)]
        )
        # Small last layers: a new policy is close to uniform over feasible anchors, and its values to zero.
        small = nnx.initializers.normal(1e-3)
        self.lateral = nnx.Linear(widths[-1], len(anchors.LATERAL), kernel_init=small, rngs=rngs)
        self.longitudinal = nnx.Linear(widths[-1], len(anchors.LONGITUDINAL), kernel_init=small, rngs=rngs)
        self.critic_hidden = nnx.Linear(widths[-1], widths[-1], kernel_init=INITIALISER, rngs=rngs)
        self.critic = nnx.Linear(widths[-1], config.rewards, kernel_init=small, rngs=rngs)

    def __call__(self, observation: Any) -> PolicyOutput:
        frames = observation.frames
        if frames.shape[1:] != self.shape:
            raise ValueError(
                f"observation.frames has shape (camera, height, width, 3) = {frames.shape[1:]}, the policy was built "
                f"for {self.shape}: give PolicyConfig the cameras, width and height of the camera rig"
            )
        cameras = self.encoder(frames.reshape(-1, *frames.shape[2:])).reshape(frames.shape[0], -1)
        ego = observation.ego / jnp.array(EGO_SCALE)
        navigation = observation.navigation / jnp.array(NAVIGATION_SCALE)
        state = nnx.relu(self.state(jnp.concatenate([ego, navigation], axis=-1)))
        x = jnp.concatenate([cameras.astype(self.kind), state], axis=-1)
        for layer in self.trunk:
            x = nnx.relu(layer(x))
        x = x.astype(jnp.float32)
        lateral_feasible, longitudinal_feasible = anchors.feasible(observation.ego[:, 0])
        return PolicyOutput(
            lateral_logits=heads.mask_logits(self.lateral(x), lateral_feasible),
            longitudinal_logits=heads.mask_logits(self.longitudinal(x), longitudinal_feasible),
            values=self.critic(nnx.relu(self.critic_hidden(x))),
        )


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

    def __call__(self, observation: Any) -> PolicyOutput:
        """Heads and values of a batch of observations."""
        return nnx.merge(self.graph, self.parameters)(observation)


def policy_of(module: nnx.Module, config: Any) -> Policy:
    """The pure form of a module that maps observations to ``PolicyOutput``."""
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
