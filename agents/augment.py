"""Augmentation of demonstrations that keeps geometry true: light changes, and mirroring where the rig allows it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, UInt8

from jaxrecon.dynamics import anchors


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Which changes are made.

    Attributes:
        brightness: frames are shifted by up to this fraction of the range, either way.
        contrast: and stretched about their mean by up to this fraction, either way.
        mirror_cameras: for each camera, the one that takes its place when the world is mirrored left to right, (0,) for
            a single camera that looks ahead. Empty mirrors nothing. It is true only for rigs whose mirror image is
            itself: positions and headings symmetric about the car's length, principal points in the middle column.
    """

    brightness: float = 0.1
    contrast: float = 0.2
    mirror_cameras: tuple[int, ...] = ()

    def __post_init__(self):
        for name in ("brightness", "contrast"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"AugmentConfig.{name} is {getattr(self, name)}, expected 0 <= {name} < 1")
        pairs = self.mirror_cameras
        if sorted(pairs) != list(range(len(pairs))) or any(pairs[pairs[i]] != i for i in range(len(pairs))):
            raise ValueError(f"AugmentConfig.mirror_cameras is {pairs}, expected each camera once and pairs that swap")


def jitter_light(
    frames: UInt8[Array, "b *slot camera h w 3"], key: PRNGKeyArray, config: AugmentConfig
) -> UInt8[Array, "b *slot camera h w 3"]:
    """Change brightness and contrast of each row, the same for all its cameras and all its history."""
    key_shift, key_stretch = jax.random.split(key)
    others = tuple(range(1, frames.ndim))
    shape = (frames.shape[0], *[1] * len(others))
    shift = 255 * jax.random.uniform(key_shift, shape, minval=-config.brightness, maxval=config.brightness)
    stretch = 1 + jax.random.uniform(key_stretch, shape, minval=-config.contrast, maxval=config.contrast)
    light = frames.astype(jnp.float32)
    mean = jnp.mean(light, axis=others, keepdims=True)
    return jnp.clip(jnp.round((light - mean) * stretch + mean + shift), 0, 255).astype(jnp.uint8)


def mirror(observation: Any, action: Int[Array, "b 2"], cameras: tuple[int, ...]) -> tuple[Any, Int[Array, "b 2"]]:
    """Observation and action as they would be in the world's mirror image, left and right exchanged.

    Frames are flipped, steering and yaw rate change sign, commands left and right swap, the target's y and the lateral
    anchor change sign.
    """
    frames = observation.frames[..., jnp.array(cameras), :, :, :][..., ::-1, :]
    ego = observation.ego * jnp.array([1.0, 1.0, -1.0, -1.0])
    navigation = observation.navigation[:, jnp.array([0, 2, 1, 3, 4, 5])] * jnp.array([1.0, 1.0, 1.0, 1.0, 1.0, -1.0])
    lateral = len(anchors.LATERAL) - 1 - action[:, 0]
    mirrored = observation.replace(frames=frames, ego=ego, navigation=navigation)
    return mirrored, jnp.stack([lateral, action[:, 1]], axis=-1)


def augment(
    observation: Any, action: Int[Array, "b 2"], key: PRNGKeyArray, config: AugmentConfig
) -> tuple[Any, Int[Array, "b 2"]]:
    """Each row with its own changes, drawn from ``key``."""
    key_light, key_mirror = jax.random.split(key)
    if config.mirror_cameras:
        if observation.frames.shape[-4] != len(config.mirror_cameras):
            raise ValueError(
                f"AugmentConfig.mirror_cameras names {len(config.mirror_cameras)} cameras, the frames have "
                f"{observation.frames.shape[-4]}"
            )
        flip = jax.random.bernoulli(key_mirror, 0.5, (action.shape[0],))
        original = (observation, action)
        flipped = mirror(observation, action, config.mirror_cameras)
        observation, action = jax.tree.map(
            lambda a, b: jnp.where(flip.reshape(-1, *[1] * (a.ndim - 1)), a, b), flipped, original
        )
    if config.brightness or config.contrast:
        observation = observation.replace(frames=jitter_light(observation.frames, key_light, config))
    return observation, action
