"""The street as one pytree for the device, and its solids posed for one instant."""

from typing import Any

import flax.struct
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jaxrecon.geometry import transforms
from jaxrecon.street.primitives import BOX, Primitives
from jaxrecon.street.roads import Road
from jaxrecon.street.sky import Light

Array = Any

EXACT = "highest"  # precision of matrix products: what accelerators choose is centimetres off in a long street


@flax.struct.dataclass
class StreetWorld:
    """Everything that the ray caster needs; actors are posed by the caller. Several may share a leading scene axis.

    Attributes:
        boxes: houses, car bodies, hedges, lamps.
        quadrics: trunks, poles, wheels, people.
        crowns: foliage.
        roads: the main road and a side road, stacked.
        light: sun and sky.
        urban: metres of paving beyond the kerb before grass begins.
        actor_sizes: (actor, 3) length, width, height of every actor's box, metres.
        actor_grounded: (actor,) 1 for actors that darken the ground below them.
    """

    boxes: Primitives
    quadrics: Primitives
    crowns: Primitives
    roads: Road
    light: Light
    urban: Float[Array, ""]
    actor_sizes: Float[Array, "actor 3"]
    actor_grounded: Float[Array, " actor"]

    @property
    def kinds(self) -> tuple[Primitives, Primitives, Primitives]:
        """The solids by kind: boxes, quadrics, crowns."""
        return self.boxes, self.quadrics, self.crowns


@flax.struct.dataclass
class Posed:
    """All solids at one instant, kinds concatenated in the order of ``StreetWorld.kinds``.

    Attributes:
        geometry: (n, 16) local-from-world rows (12), then shape (4).
        centre: (n, 3) of the bounding box, world.
        axes: (n, 3, 3) half-axes of the bounding box; ``axes[:, i]`` is the i-th, world.
        valid: (n,) present.
    """

    geometry: Float[Array, "n 16"]
    centre: Float[Array, "n 3"]
    axes: Float[Array, "n 3 3"]
    valid: Bool[Array, " n"]


def pose(world: StreetWorld, world_from_actor: Float[Array, "actor 4 4"], valid: Bool[Array, " actor"]) -> Posed:
    """Place the solids of the actors and join them with what stands still."""
    identity = jnp.eye(4, dtype=jnp.float32)[None]
    poses = jnp.concatenate([identity, world_from_actor.astype(jnp.float32)])
    inverses = transforms.inverse(poses)
    present = jnp.concatenate([jnp.ones((1,), bool), valid])
    posed = []
    for kind, solids in enumerate(world.kinds):
        bottom = jnp.broadcast_to(jnp.array([0.0, 0.0, 0.0, 1.0]), (*solids.actor.shape, 1, 4))
        forward = solids.local_from_parent @ inverses[solids.actor + 1]
        backward = poses[solids.actor + 1] @ jnp.concatenate([solids.parent_from_local, bottom], 1)
        axes, centre = jnp.swapaxes(backward[:, :3, :3], 1, 2), backward[:, :3, 3]
        if kind == BOX:
            axes = axes * jnp.array([1.0, 1.0, 0.5])[:, None]
            centre = centre + axes[:, 2]
        geometry = jnp.concatenate([forward.reshape(-1, 12), solids.shape], 1)
        posed.append(Posed(geometry, centre, axes, solids.valid & present[solids.actor + 1]))
    join = [jnp.concatenate([getattr(p, name) for p in posed]) for name in ("geometry", "centre", "axes", "valid")]
    return Posed(*join)


def looks(world: StreetWorld) -> Float[Array, "*scene n 15"]:
    """Per solid: size (3), offset (3), colour (3), accent (3), material, class, random; kinds concatenated."""
    rows = [jnp.concatenate([k.size, k.offset, k.colour, k.accent, k.traits], -1) for k in world.kinds]
    return jnp.concatenate(rows, -2)


def kind_ranges(world: StreetWorld) -> tuple[tuple[int, int], ...]:
    """First and one past the last slot of every kind in the concatenation."""
    counts = [k.actor.shape[-1] for k in world.kinds]
    starts = [sum(counts[:i]) for i in range(len(counts))]
    return tuple((start, start + count) for start, count in zip(starts, counts, strict=True))
