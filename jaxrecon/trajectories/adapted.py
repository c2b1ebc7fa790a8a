"""The others around a cousin: as they were recorded, or late where they had to brake for it."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.dynamics import VehicleState
from jaxrecon.geometry.boxes import Boxes, overlap
from jaxrecon.simulator import World
from jaxrecon.traffic.reacting import LATE, Following, as_recorded, follow, late_actors, late_poses
from jaxrecon.traffic.replay import Actors, Replay
from jaxrecon.trajectories.checks import outline


@flax.struct.dataclass
class Adapted:
    """What the others do around cousins.

    Attributes:
        lag: (cousin, step, actor) log frames by which each is behind its recording.
        pace: (cousin, step, actor) share of the recorded speed.
        sound: (cousin,) bool, nobody who is late drives into somebody else.
    """

    lag: Float[Array, "cousin step actor"]
    pace: Float[Array, "cousin step actor"]
    sound: Bool[Array, " cousin"]

    @property
    def following(self) -> Following:
        """The same as the traffic's functions take it."""
        return Following(lag=self.lag, pace=self.pace)


def as_logged(traffic: Replay, frame: Int[Array, "cousin step"]) -> Adapted:
    """Nobody is late."""
    following = as_recorded(frame.shape, traffic.capacity)
    return Adapted(lag=following.lag, pace=following.pace, sound=jnp.ones(frame.shape[0], bool))


def adapt(world: World, vehicle: VehicleState, frame: Int[Array, "cousin step"]) -> Adapted:
    """Let the others brake for cousins, and for those who are late, by the Intelligent Driver Model on their own ways.

    Args:
        world: of one scene.
        vehicle: the cousins, fields (cousin, step, ...).
        frame: of the log at each step.
    """
    traffic, boxes = world.traffic, outline(world, vehicle)
    velocity = vehicle.speed[..., None] * jnp.stack([jnp.cos(vehicle.yaw), jnp.sin(vehicle.yaw)], axis=-1)
    scene = jnp.zeros(frame.shape[:1], jnp.int32)
    nobody = jnp.zeros((frame.shape[0], traffic.capacity), bool)

    def body(following: Following, now: tuple[Boxes, Array, Array]) -> tuple[Following, Following]:
        ego, moving, at = now
        actors = late_actors(traffic, scene, at, following)
        after = follow(traffic, scene, at, following, actors, nobody, ego, moving, world.dt)
        return after, following

    inputs = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), (boxes, velocity, frame))
    _, along = jax.lax.scan(body, as_recorded(frame.shape[:1], traffic.capacity), inputs)
    lag, pace = (jnp.moveaxis(leaf, 0, 1) for leaf in (along.lag, along.pace))
    return Adapted(lag=lag, pace=pace, sound=_sound(traffic, frame, lag, pace))


def others(traffic: Replay, adapted: Adapted, frame: Int[Array, "cousin step"]) -> Actors:
    """Where they are, (cousin, step, actor)."""
    return late_actors(traffic, jnp.zeros_like(frame), frame, adapted.following)


def adapted_replay(traffic: Replay, adapted: Adapted, frame: Int[Array, " step"], cousin: Array | int) -> Replay:
    """One cousin's traffic as a recording of its own, whose frames are the cousin's steps."""
    following = jax.tree.map(lambda leaf: leaf[cousin], adapted.following)
    scene = jnp.zeros_like(frame)
    actors = late_actors(traffic, scene, frame, following)
    pose, valid = late_poses(traffic, scene, frame, following)
    return dataclasses.replace(
        traffic,
        world_from_actor=pose[None],
        valid=valid[None],
        heading=actors.heading[None],
        centre=actors.centre[None],
        velocity=actors.velocity[None],
    )


def _sound(traffic: Replay, frame: Array, lag: Array, pace: Array) -> Bool[Array, " cousin"]:
    """Whether no late actor overlaps another more than they do in the log (labels of neighbours sometimes overlap)."""

    def pairs(following: Following, at: Array) -> Array:
        actors = late_actors(traffic, jnp.zeros_like(at), at, following)

        def one(step: Actors) -> Array:
            first = jax.tree.map(lambda leaf: leaf[:, None], step.boxes)
            second = jax.tree.map(lambda leaf: leaf[None], step.boxes)
            return overlap(first, second) & step.valid[:, None] & step.valid[None]

        return jax.vmap(one)(actors)

    every = jnp.arange(traffic.frames)
    logged = jnp.any(pairs(as_recorded(every.shape, traffic.capacity), every), axis=0)
    late = lag > LATE

    def cousin(inputs: tuple[Array, Array, Array, Array]) -> Array:
        at, behind, pacing, slow = inputs
        hit = pairs(Following(lag=behind, pace=pacing), at) & ~logged
        return ~jnp.any(hit & (slow[:, :, None] | slow[:, None, :]))

    return jax.lax.map(cousin, (frame, lag, pace, late))
