"""Reality: what cameras see of procedural streets themselves, cast ray by ray, for the same worlds as their splats."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.geometry.padding import pad_axis
from jaxrecon.render import Cameras, quantise
from jaxrecon.simulator.cameras import Drawing
from jaxrecon.street import DrawConfig, StreetWorld, draw
from jaxrecon.street.groups import in_groups
from jaxrecon.street.primitives import Primitives

REALITY_DRAW = DrawConfig(
    supersampling=2, longest_list=512
)  # pixels average, as recordings do; small images crowd tiles


@flax.struct.dataclass
class StreetCameras:
    """Frames of several streets, whose actors are their logs' tracks in their order.

    Exposure and quantisation are those of the recordings and of splats fitted to them: sRGB of a fixed exposure,
    rounded to eight bits.

    Attributes:
        streets: with a leading scene axis, see ``stack_streets``.
        config: sampling.
        together: cameras drawn side by side.
        depth: whether to return it.
    """

    streets: StreetWorld
    config: DrawConfig = flax.struct.field(pytree_node=False, default=REALITY_DRAW)
    together: int = flax.struct.field(pytree_node=False, default=512)
    depth: bool = flax.struct.field(pytree_node=False, default=False)

    def draw(
        self,
        cameras: Cameras,
        scene: Int[Array, " camera"],
        world_from_actor: Float[Array, "camera actor 4 4"],
        actor_valid: Bool[Array, "camera actor"],
    ) -> Drawing:
        """Frames of a batch of cameras, each in its street with its own actor poses.

        Raises:
            ValueError: if the world has fewer actor slots than the streets.
        """
        slots, actors = world_from_actor.shape[1], self.streets.actor_sizes.shape[1]
        if slots < actors:
            raise ValueError(
                f"a street has {actors} actors but the world has only {slots} slots; build the worlds from the "
                "streets' own logs"
            )

        def some(pose: Array, lens: Array, place: Array, actor_pose: Array, valid: Array) -> tuple[Array, Array, Array]:
            size = (cameras.width, cameras.height)
            drawn = draw(self.streets, pose, lens, *size, actor_pose, valid, self.config, place)
            return quantise(drawn.rgb), drawn.depth, drawn.overflow

        there = (world_from_actor[:, :actors], actor_valid[:, :actors])
        batch = (cameras.world_from_camera, cameras.intrinsics, scene, *there)
        frames, depth, overflow = in_groups(some, batch, -(-len(scene) // self.together))
        return Drawing(frames, overflow, jnp.where(jnp.isfinite(depth), depth, 0.0) if self.depth else None)


def stack_streets(streets: Sequence[StreetWorld]) -> StreetWorld:
    """Several streets with a leading scene axis, padded to the most solids and actors of any.

    Raises:
        ValueError: if there are none, or their roads have different numbers of pieces.
    """
    if not streets:
        raise ValueError("stack_streets got no streets; expected at least one")
    roads = sorted({street.roads.curvature.shape for street in streets})
    if len(roads) > 1:
        raise ValueError(f"the streets' roads have different shapes, {roads}; expected as many pieces in all of them")

    most = [[kind.valid.shape[0] for kind in street.kinds] for street in streets]
    room = tuple(np.max(most, axis=0).tolist())
    actors = max(street.actor_sizes.shape[0] for street in streets)
    # By NumPy, as the padding.
    padded = (pad_street(street, room, actors) for street in streets)
    return jax.tree.map(lambda *leaves: jax.device_put(np.stack(leaves)), *padded)


def pad_street(street: StreetWorld, solids: tuple[int, int, int], actors: int) -> StreetWorld:
    """A street with room for so many boxes, quadrics and crowns, and so many actors; none of its own are dropped.

    What fills up solids is marked invalid, and nothing belongs to actors that fill up.
    """

    def padded(leaf: Array, to: int, fill: Literal["constant", "edge"] = "constant") -> Array:
        return pad_axis(leaf, 0, max(to, leaf.shape[0]), fill)

    def roomy(kind: Primitives, to: int) -> Primitives:
        # Every kind has a slot at least: its last, repeated, holds safe values.
        wide = jax.tree.map(lambda leaf: padded(leaf, to, "edge"), kind)
        return dataclasses.replace(wide, valid=padded(kind.valid, to))

    boxes, quadrics, crowns = (roomy(kind, to) for kind, to in zip(street.kinds, solids, strict=True))
    return dataclasses.replace(
        street,
        boxes=boxes,
        quadrics=quadrics,
        crowns=crowns,
        actor_sizes=padded(street.actor_sizes, actors),
        actor_grounded=padded(street.actor_grounded, actors),
    )
