"""Small rigid corrections of the recorded poses, fitted with the scene: of the camera rig and of the actors' boxes."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.geometry.transforms import compose, rigid
from jaxrecon.reconstruct.timeline import in_time
from jaxrecon.reconstruct.views import Views


@flax.struct.dataclass
class Corrections:
    """What is added to recorded poses.

    Attributes:
        rig_rotation: rotation vector of the whole rig about its own place, in the world, radians.
        rig_shift: shift of the whole rig in the world, metres.
        actor_yaw: rotation of each box about its own z axis, radians.
        actor_shift: shift of each box in its own frame, metres.
    """

    rig_rotation: Float[Array, "frame 3"]
    rig_shift: Float[Array, "frame 3"]
    actor_yaw: Float[Array, "frame actor"]
    actor_shift: Float[Array, "frame actor 3"]


def no_corrections(frames: int, actors: int) -> Corrections:
    """Poses as recorded."""
    return Corrections(
        jnp.zeros((frames, 3)), jnp.zeros((frames, 3)), jnp.zeros((frames, actors)), jnp.zeros((frames, actors, 3))
    )


def fill_corrections(
    corrections: Corrections, rig_weights: Float[Array, "frame frame"], actor_weights: Float[Array, "actor frame frame"]
) -> Corrections:
    """Corrections of every frame, those of held-out frames from their neighbours.

    Args:
        corrections: as fitted.
        rig_weights: from ``time_weights``.
        actor_weights: likewise, of each actor's own frames.
    """
    rotation, shift = (in_time(rig_weights, one) for one in (corrections.rig_rotation, corrections.rig_shift))
    # Sums of products: a matrix product would round its factors on some devices.
    yaw = jnp.sum(actor_weights * corrections.actor_yaw.T[:, None], axis=-1).T
    moved = jnp.sum(actor_weights[..., None] * jnp.moveaxis(corrections.actor_shift, 0, 1)[:, None], axis=2)
    return Corrections(rotation, shift, yaw, jnp.moveaxis(moved, 0, 1))


def place_between(
    corrections: Corrections,
    views: Views,
    actor_weights: Float[Array, "actor frame frame"],
    between: Bool[Array, "actor frame"],
) -> Corrections:
    """Corrections that put boxes where their neighbours in time, as corrected, say that they are.

    A box's own record is off by centimetres that have nothing to do with those of the frame before, and a frame that
    nothing is learned from cannot tell by how much; a tenth of a second of a car's way is straight to a centimetre.

    Args:
        corrections: of every frame, from ``fill_corrections``.
        views: what was recorded.
        actor_weights: from ``time_weights``.
        between: frames and actors to place so, from ``lies_between``.
    """
    recorded = views.world_from_actor
    corrected = jax.vmap(lambda frame: corrected_actors(corrections, views, frame))(jnp.arange(recorded.shape[0]))
    weights = jnp.swapaxes(actor_weights, 0, 1)[..., None]  # (frame, actor, frame, 1)
    nose, place = (
        jnp.sum(weights * jnp.swapaxes(corrected[:, :, :3, column], 0, 1)[None], axis=2) for column in (0, 3)
    )
    axes = recorded[..., :3, :3]
    nose, moved = (jnp.sum(axes * one[..., :, None], axis=-2) for one in (nose, place - recorded[..., :3, 3]))
    chosen = between.T
    return dataclasses.replace(
        corrections,
        actor_yaw=jnp.where(chosen, jnp.arctan2(nose[..., 1], nose[..., 0]), corrections.actor_yaw),
        actor_shift=jnp.where(chosen[..., None], moved, corrections.actor_shift),
    )


def corrected_camera(corrections: Corrections, views: Views, view: Int[Array, ""]) -> Float[Array, "4 4"]:
    """Pose of a view's camera: its rig turned about the rig's place, then shifted."""
    frame, pose = views.frame[view], views.world_from_camera[view]
    turn = rotation_of(corrections.rig_rotation[frame])
    together = (views.frame == frame)[:, None]
    place = jnp.sum(jnp.where(together, views.world_from_camera[:, :3, 3], 0.0), axis=0) / jnp.sum(together)
    offset = jnp.sum(turn * (pose[:3, 3] - place)[None], axis=-1)
    turned = jnp.sum(turn[:, :, None] * pose[None, :3, :3], axis=1)
    return rigid(turned, place + offset + corrections.rig_shift[frame])


def corrected_actors(corrections: Corrections, views: Views, frame: Int[Array, ""]) -> Float[Array, "actor 4 4"]:
    """Poses of all boxes in a frame."""
    yaw = corrections.actor_yaw[frame]
    turn = rotation_of(jnp.stack([jnp.zeros_like(yaw), jnp.zeros_like(yaw), yaw], axis=-1))
    return compose(views.world_from_actor[frame], rigid(turn, corrections.actor_shift[frame]))


def correct_views(views: Views, corrections: Corrections) -> Views:
    """The views with corrected poses of cameras and boxes."""
    on_device = jax.tree.map(jnp.asarray, views)
    frames = jnp.arange(on_device.world_from_actor.shape[0])
    cameras = jax.vmap(lambda view: corrected_camera(corrections, on_device, view))(jnp.arange(len(views.frame)))
    actors = jax.vmap(lambda frame: corrected_actors(corrections, on_device, frame))(frames)
    return dataclasses.replace(views, world_from_camera=np.asarray(cameras), world_from_actor=np.asarray(actors))


def rotation_of(vector: Float[Array, "*b 3"]) -> Float[Array, "*b 3 3"]:
    """Rotation matrix of a rotation vector (radians), by Rodrigues' formula; differentiable at zero."""
    squared = jnp.sum(vector * vector, axis=-1)[..., None, None]
    near_zero = squared < 1e-8
    angle = jnp.sqrt(jnp.where(near_zero, 1.0, squared))
    first = jnp.where(near_zero, 1 - squared / 6, jnp.sin(angle) / angle)
    second = jnp.where(near_zero, 0.5 - squared / 24, (1 - jnp.cos(angle)) / (angle * angle))
    x, y, z = (vector[..., i] for i in range(3))
    zero = jnp.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    cross = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
    outer = vector[..., :, None] * vector[..., None, :]
    return jnp.eye(3) + first * cross + second * (outer - squared * jnp.eye(3))
