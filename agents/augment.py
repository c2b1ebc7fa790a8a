"""Changes of what is seen that keep geometry true: light, colour, sharpness, a turned mount, and a mirrored world."""

import dataclasses
import math
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

from jaxrecon.dynamics import anchors
from jaxrecon.simulator.starts import select


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Which changes are made.

    Attributes:
        brightness: frames are shifted by up to this fraction of the range, either way.
        contrast: and stretched about their mean by up to this fraction, either way.
        colour: each channel is multiplied by up to this fraction more or less.
        sharpness: fine detail, what a binomial blur of 3x3 pixels takes away, is multiplied by one to one plus this:
            splats show less of it than cameras do.
        mount: frames are moved by up to so many pixels up or down and left or right, edges repeated, as if the camera
            sat a little turned.
        mirror_cameras: for each camera, the one that takes its place when the world is mirrored left to right, (0,) for
            a single camera that looks ahead. Empty mirrors nothing. It is true only for rigs whose mirror image is
            itself: positions and headings symmetric about the car's length, principal points in the middle column.
    """

    brightness: float = 0.1
    contrast: float = 0.2
    colour: float = 0.0
    sharpness: float = 0.0
    mount: int = 0
    mirror_cameras: tuple[int, ...] = ()

    def __post_init__(self):
        for name in ("brightness", "contrast", "colour"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"AugmentConfig.{name} is {getattr(self, name)}, expected 0 <= {name} < 1")
        if not 0 <= self.sharpness < math.inf:
            raise ValueError(f"AugmentConfig.sharpness is {self.sharpness}, expected a number of 0 or more")
        if self.mount < 0:
            raise ValueError(f"AugmentConfig.mount is {self.mount}, expected 0 pixels or more")
        pairs = self.mirror_cameras
        if sorted(pairs) != list(range(len(pairs))) or any(pairs[pairs[i]] != i for i in range(len(pairs))):
            raise ValueError(f"AugmentConfig.mirror_cameras is {pairs}, expected each camera once and pairs that swap")


@flax.struct.dataclass
class Look:
    """What is changed in each row, the same for all its cameras and all its history.

    Attributes:
        shift: (b,) of the light, in steps of a uint8.
        stretch: (b,) of the light, about its mean.
        gain: (b, 3) on each channel.
        detail: (b,) on what is fine.
        offset: (b, 2) int32 pixels by which a frame's content moves down and to the right.
        mirrored: (b,) bool.
    """

    shift: Float[Array, " b"]
    stretch: Float[Array, " b"]
    gain: Float[Array, "b 3"]
    detail: Float[Array, " b"]
    offset: Int[Array, "b 2"]
    mirrored: Bool[Array, " b"]


def draw_look(key: PRNGKeyArray, rows: int, config: AugmentConfig) -> Look:
    """Changes of so many rows, each with its own."""
    keys = jax.random.split(key, 5)

    def uniform(key: PRNGKeyArray, reach: float, *shape: int) -> Float[Array, "..."]:
        return jax.random.uniform(key, (rows, *shape), minval=-reach, maxval=reach)

    return Look(
        shift=255 * uniform(keys[0], config.brightness),
        stretch=1 + uniform(keys[1], config.contrast),
        gain=1 + uniform(keys[2], config.colour, 3),
        detail=jax.random.uniform(jax.random.fold_in(key, 5), (rows,), minval=1.0, maxval=1.0 + config.sharpness),
        offset=jax.random.randint(keys[3], (rows, 2), -config.mount, config.mount + 1),
        mirrored=jax.random.bernoulli(keys[4], 0.5 if config.mirror_cameras else 0.0, (rows,)),
    )


def relight(frames: UInt8[Array, "b *slot camera h w 3"], look: Look) -> UInt8[Array, "b *slot camera h w 3"]:
    """Change brightness, contrast and colours."""
    others = tuple(range(1, frames.ndim))
    of_row = (-1, *[1] * len(others))
    light = frames.astype(jnp.float32) * look.gain.reshape(*of_row[:-1], 3)
    mean = jnp.mean(light, axis=others, keepdims=True)
    light = (light - mean) * look.stretch.reshape(of_row) + mean + look.shift.reshape(of_row)
    return jnp.clip(jnp.round(light), 0, 255).astype(jnp.uint8)


def sharpen(frames: UInt8[Array, "b *slot camera h w 3"], look: Look) -> UInt8[Array, "b *slot camera h w 3"]:
    """Show more of what is fine; pixels at the edges repeat for the blur."""
    sharp = frames.astype(jnp.float32)
    smooth = sharp
    for axis in (-3, -2):
        size = frames.shape[axis]
        before, after = (jnp.clip(jnp.arange(size) + step, 0, size - 1) for step in (-1, 1))
        smooth = 0.5 * smooth + 0.25 * (jnp.take(smooth, before, axis) + jnp.take(smooth, after, axis))
    detail = look.detail.reshape(-1, *[1] * (frames.ndim - 1))
    return jnp.clip(jnp.round(smooth + detail * (sharp - smooth)), 0, 255).astype(jnp.uint8)


def remount(frames: UInt8[Array, "b *slot camera h w 3"], look: Look) -> UInt8[Array, "b *slot camera h w 3"]:
    """Move each row's frames by its offset; pixels at the edges repeat."""
    for axis, offset in ((-3, look.offset[:, 0]), (-2, look.offset[:, 1])):
        size = frames.shape[axis]
        source = jnp.clip(jnp.arange(size) - offset[:, None], 0, size - 1)
        shape = [1] * frames.ndim
        shape[0], shape[axis] = source.shape
        frames = jnp.take_along_axis(frames, source.reshape(shape), axis=axis)
    return frames


def mirror_observation(observation: Any, cameras: tuple[int, ...]) -> Any:
    """An observation as it would be in the world's mirror image, left and right exchanged.

    Frames are flipped, steering and yaw rate change sign, commands left and right swap, the target's y changes sign.
    """
    frames = observation.frames[..., jnp.array(cameras), :, :, :][..., ::-1, :]
    ego = observation.ego * jnp.array([1.0, 1.0, -1.0, -1.0])
    navigation = observation.navigation[:, jnp.array([0, 2, 1, 3, 4, 5])] * jnp.array([1.0, 1.0, 1.0, 1.0, 1.0, -1.0])
    return observation.replace(frames=frames, ego=ego, navigation=navigation)


def mirror_action(action: Int[Array, "b 2"] | Float[Array, "b 2"]) -> Int[Array, "b 2"] | Float[Array, "b 2"]:
    """An action in the world's mirror image: the lateral anchor, or the steering of a continuous action, changes sign.

    Args:
        action: anchors (lateral, longitudinal), or (steering, acceleration).
    """
    lateral = action[:, 0]
    turned = len(anchors.LATERAL) - 1 - lateral if jnp.issubdtype(action.dtype, jnp.integer) else -lateral
    return jnp.stack([turned, action[:, 1]], axis=-1)


def observation_in(look: Look, observation: Any, config: AugmentConfig) -> Any:
    """An observation with each row's changes.

    Raises:
        ValueError: the frames have other cameras than those to mirror.
    """
    if config.mirror_cameras:
        if observation.frames.shape[-4] != len(config.mirror_cameras):
            raise ValueError(
                f"AugmentConfig.mirror_cameras names {len(config.mirror_cameras)} cameras, the frames have "
                f"{observation.frames.shape[-4]}"
            )
        observation = select(look.mirrored, mirror_observation(observation, config.mirror_cameras), observation)
    frames = observation.frames
    if config.sharpness:
        frames = sharpen(frames, look)
    if config.mount:
        frames = remount(frames, look)
    if config.brightness or config.contrast or config.colour:
        frames = relight(frames, look)
    return observation.replace(frames=frames)


def augment(
    observation: Any, action: Int[Array, "b 2"], key: PRNGKeyArray, config: AugmentConfig
) -> tuple[Any, Int[Array, "b 2"]]:
    """Demonstrations, each row with its own changes, drawn from ``key``."""
    look = draw_look(key, action.shape[0], config)
    return observation_in(look, observation, config), select(look.mirrored, mirror_action(action), action)
