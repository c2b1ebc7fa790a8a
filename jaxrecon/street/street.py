"""One procedural street: what stands, who moves, and what any camera would see of it."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxrecon.logs.driving_log import VEHICLE, EgoVehicle
from jaxrecon.street.config import DEFAULT, StreetConfig
from jaxrecon.street.draw import DrawConfig, Drawing, draw
from jaxrecon.street.layout import Layout, make_layout
from jaxrecon.street.primitives import BOX, CROWN, QUADRIC, stack
from jaxrecon.street.roads import stacked
from jaxrecon.street.script import Actor, populate
from jaxrecon.street.world import StreetWorld

Array = Any


@dataclasses.dataclass(frozen=True)
class Street:
    """A street on the host.

    Attributes:
        config: what was asked for.
        seed: what decided the rest.
        layout: roads and what stands still.
        actors: road users with their motion; the order of all actor arrays.
        world_from_ego: (frame, 4, 4) poses of the recording car.
        ego: its size.
        world: the same street for the device.
    """

    config: StreetConfig
    seed: int
    layout: Layout
    actors: tuple[Actor, ...]
    world_from_ego: np.ndarray
    ego: EgoVehicle
    world: StreetWorld

    def actor_poses(self, frame: int) -> tuple[Float[np.ndarray, "actor 4 4"], Bool[np.ndarray, " actor"]]:
        """World-from-box of all actors in a frame, float32, and which are there."""
        poses = np.stack([a.poses[frame] for a in self.actors]) if self.actors else np.zeros((0, 4, 4))
        return poses.astype(np.float32), np.ones(len(self.actors), dtype=bool)


def generate(config: StreetConfig = DEFAULT, seed: int = 0) -> Street:
    """Make the street of a seed.

    Args:
        config: what it should hold.
        seed: decides layout, looks and traffic; the same seed gives the same street.
    """
    layout_random, actor_random = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    layout = make_layout(config, layout_random)
    ego = EgoVehicle()
    actors, world_from_ego = populate(config, layout, ego, actor_random)
    return Street(config, seed, layout, actors, world_from_ego, ego, build_world(layout, actors))


def build_world(layout: Layout, actors: tuple[Actor, ...]) -> StreetWorld:
    """The device form of a street."""
    parts = [(part, -1) for part in layout.parts]
    parts += [(part, i) for i, actor in enumerate(actors) for part in actor.parts]
    sizes = np.array([a.size for a in actors], dtype=np.float32).reshape(-1, 3)
    return StreetWorld(
        boxes=stack(parts, BOX),
        quadrics=stack(parts, QUADRIC),
        crowns=stack(parts, CROWN),
        roads=stacked(layout.roads),
        light=layout.light,
        urban=jnp.asarray(layout.urban, jnp.float32),
        actor_sizes=jnp.asarray(sizes),
        actor_grounded=jnp.asarray(np.array([a.category == VEHICLE for a in actors], dtype=np.float32)),
    )


@functools.partial(jax.jit, static_argnames=("width", "height", "config"))
def draw_jit(
    world: StreetWorld,
    world_from_camera: Array,
    intrinsics: Array,
    width: int,
    height: int,
    world_from_actor: Array,
    actor_valid: Array,
    config: DrawConfig,
) -> Drawing:
    """``draw``, compiled."""
    return draw(world, world_from_camera, intrinsics, width, height, world_from_actor, actor_valid, config)


def ground_truth(
    street: Street,
    frame: int,
    world_from_camera: Float[Array, "camera 4 4"],
    intrinsics: Float[Array, "camera 4"],
    width: int,
    height: int,
    supersampling: int | None = None,
) -> Drawing:
    """What cameras at any poses see of the street in a frame of its recording.

    Args:
        street: which one.
        frame: whose traffic.
        world_from_camera: poses.
        intrinsics: (fx, fy, cx, cy) in pixels.
        width: pixels.
        height: pixels.
        supersampling: rays a pixel along each axis; None takes the street's.

    Raises:
        ValueError: the street has no such frame.
    """
    cameras = world_from_camera.shape[0]
    return draw_frames(
        street, np.full(cameras, frame), world_from_camera, intrinsics, width, height, supersampling=supersampling
    )


def draw_frames(
    street: Street,
    frames: Int[np.ndarray, " camera"],
    world_from_camera: Float[Array, "camera 4 4"],
    intrinsics: Float[Array, "camera 4"],
    width: int,
    height: int,
    supersampling: int | None = None,
) -> Drawing:
    """``ground_truth`` of cameras that each look at a frame of their own.

    Raises:
        ValueError: the street has no such frame.
    """
    for frame in frames:
        if not 0 <= frame < street.config.frames:
            raise ValueError(f"frame: received {frame}, expected 0 to {street.config.frames - 1}")
    moments, camera_moment = np.unique(frames, return_inverse=True)
    actors = [street.actor_poses(int(frame)) for frame in moments]
    config = DrawConfig(supersampling=supersampling or street.config.supersampling)
    return draw_jit(
        street.world,
        jnp.asarray(world_from_camera, jnp.float32),
        jnp.asarray(intrinsics, jnp.float32),
        width,
        height,
        jnp.asarray(np.stack([poses for poses, _ in actors])[camera_moment]),
        jnp.asarray(np.stack([valid for _, valid in actors])[camera_moment]),
        config,
    )
